import type { ShapeError } from './mistake.ts';

/**
 * A rule's answer to the options `O` of an operator that has those called `Known`: a shape of nothing, or the mistake
 * `conv2d: has no option padding`. TypeScript itself does not look for excess properties where options are a type parameter.
 */
export type knownOptions<Op extends string, O, Known extends PropertyKey> = [Exclude<keyof O, Known>] extends [never]
  ? []
  : ShapeError<`${Op}: has no option ${Exclude<keyof O, Known> & string}`>;
