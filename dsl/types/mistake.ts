/*
 * How a shape rule says no. Every rule of this folder (`convShape`, `broadcastShape`, …) answers with the result's shape, or with
 * `ShapeError<sentence>`; the sentence is the one that the operator's own rule says when a graph is built. An operator puts the
 * answer into its signature twice:
 *
 *   declare function relu6<X extends Tensor, const O extends Options>(
 *     x: fitting<X, ruleShape<X['shape'], O>>, options: O,
 *   ): Tensor<made<ruleShape<X['shape'], O>>, X['dtype']>;
 *
 * `fitting` turns the parameter's type into the sentence, so that the editor says
 *   Argument of type 'Tensor<["N", 64, 56, 56]>' is not assignable to parameter of type
 *   '"add: [N,32,56,56] and [N,64,56,56] have different shapes"'.
 * and `made` gives the result of a mistake a shape of which nothing is known, so that it is not followed by others.
 */
import type { Dim, Shape } from '../../compiler/ir/types.ts';

declare const sentence: unique symbol;

/** What a shape rule answers to inputs that do not fit: the sentence that the build would stop with. */
export interface ShapeError<out Sentence extends string = string> {
  readonly [sentence]: Sentence;
}

/** A shape, or a list of shapes (of an operator with several results); not a ShapeError. */
type Valid = readonly unknown[];

/**
 * The type of a parameter whose argument has type `T`: `T` where the rule's answer is a shape, the sentence where it is a ShapeError
 * (or one of several, for a union), and `T` where the answer is not known yet, as inside a generic function.
 */
export type fitting<T, Answer> = [Answer] extends [Valid] ? T : Refusal<Answer>[outcome<settled<certain<Answer>>>];

interface Refusal<Answer> {
  accepted: unknown;
  refused: Answer extends ShapeError<infer Sentence> ? Sentence : never;
}

/*
 * TypeScript lets an argument pass a conditional type that it cannot decide yet when both branches take it. The second branch is
 * an indexed access, which is judged by its key's constraint. Constraints leave `any` branches of conditional types out: that of
 * `certain` is 'accepted', and so is the key's. Once the answer is known, `any` takes both ways in `settled`, which adds up to
 * `string` and to 'refused'.
 */
// biome-ignore lint/suspicious/noExplicitAny: a constraint leaves out `any` only, see above
type certain<Answer> = [Answer] extends [Valid] ? 'accepted' : any;
type settled<Certain> = Certain extends 'accepted' ? 'accepted' : string;
type outcome<Settled> = Settled extends 'accepted' ? 'accepted' : 'refused';

/**
 * The shape of a result: a rule's answer; in place of a ShapeError a shape of which nothing is known but the sentence. So a mistake inside a
 * generic function, which is known only where the function is called, is shown by the next operator that takes its result (and a mistake that
 * was shown already once more, in the same expression mostly; then no more).
 */
export type made<Answer> = Answer extends Shape ? Answer : Answer extends Repeated ? Dim[] : Dim[] & Answer;

/** The shapes of several results, like {@link made}. */
export type madeAll<Answer> = Answer extends readonly Shape[] ? Answer : made<Answer>[];

/** A mistake that an operator before has made. */
interface Repeated {
  readonly [repeated]: true;
}
declare const repeated: unique symbol;

/** The shape of the result of an operator that has no mistakes of its own, for an input of unknown rank. */
export type lost<S extends Shape> = S extends ShapeError ? S : Dim[];

/** A rule's answer to an input of unknown rank: its mistake, if that is why. */
export type unranked<S extends Shape> = Dim[] extends S
  ? Dim[]
  : S extends ShapeError<infer Sentence>
    ? ShapeError<Sentence> & Repeated
    : Dim[];

/**
 * A rule's answers for the members of a union, of which one that fits is enough: `b` of `add(a, b)` may have been made by the same
 * condition as `a`.
 */
export type anyThatFits<Answer> = [Answer] extends [ShapeError] ? Answer : Exclude<Answer, ShapeError>;

/** `['N', 32, 56, 56]` → `[N,32,56,56]`; a size that is not known is written `?`. */
export type formatShape<S extends Shape> = number extends S['length'] ? '[...]' : `[${formatDims<S, ','>}]`;

/** `[7, 7]` → `7x7` with `x` between; a size that is not known is written `?`. */
export type formatDims<S extends Shape, Between extends string, Text extends string = ''> = S extends readonly [
  infer Head extends Dim,
  ...infer Tail extends Shape,
]
  ? formatDims<Tail, Between, Text extends '' ? formatDim<Head> : `${Text}${Between}${formatDim<Head>}`>
  : Text;

type formatDim<D extends Dim> = isOpen<D> extends true ? '?' : `${D}`;

/** Whether nothing is known of a size: `number`, `string` or both, no literal. */
export type isOpen<D extends Dim> = number extends D ? true : string extends D ? true : false;

/** Whether the number of axes is not known: `Dim[]`. */
export type isUnranked<S extends Shape> = number extends S['length'] ? true : false;
