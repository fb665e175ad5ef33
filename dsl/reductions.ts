import { type AnyTensor, apply, type DType, type Shape, type Tensor } from './tensor.ts';
import type { fits, made, reduceShape } from './types/index.ts';

/** A reduction over `axes` (negative ones count from the end), which are left out, or kept with the size 1 where `keepdims` is true. */
export type Reduction<Op extends string, D extends DType = 'float32' | 'int64' | 'int32'> = <
  X extends Tensor<Shape, D>,
  const Axes extends readonly number[],
  Keep extends boolean = false,
>(
  x: X & fits<reduceShape<Op, X['shape'], Axes, Keep>>,
  axes: Axes,
  keepdims?: Keep,
) => Tensor<made<reduceShape<Op, X['shape'], Axes, Keep>>, X['dtype']>;

const reduction =
  (op: string) =>
  (x: AnyTensor, axes: readonly number[], keepdims = false): AnyTensor =>
    apply(op, [x], { axes, keepdims });

/** Sum over `axes`. */
export const sum = reduction('reduceSum') as Reduction<'reduceSum'>;
/** Mean over `axes`. */
export const mean = reduction('reduceMean') as Reduction<'reduceMean', 'float32'>;
/** Greatest value over `axes`; the gradient is shared evenly among equal ones. */
export const max = reduction('reduceMax') as Reduction<'reduceMax'>;
/** Least value over `axes`; the gradient is shared evenly among equal ones. */
export const min = reduction('reduceMin') as Reduction<'reduceMin'>;
