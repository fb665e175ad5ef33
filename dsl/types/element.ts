import type { DType } from '../../compiler/ir/types.ts';
import type { ShapeError } from './mistake.ts';

/**
 * Nothing to say of the shapes (`[]`) where two element types are the same, as far as they are known.
 * Mistake: `add: float32 and int64 are different element types`.
 */
export type sameElement<Op extends string, A extends DType, B extends DType> = [A] extends [B]
  ? []
  : [B] extends [A]
    ? []
    : ShapeError<`${Op}: ${A} and ${B} are different element types`>;
