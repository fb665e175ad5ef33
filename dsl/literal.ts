import { scalar } from '../compiler/ir/ndarray.ts';
import type { DType } from '../compiler/ir/types.ts';
import { shapeError } from '../compiler/ops/shapes.ts';
import { type AnyTensor, check, contextOf, tensor } from './tensor.ts';

/** Least and greatest number of each element type that has them; of int64 those that a JavaScript number holds exactly. */
const ranges: Partial<Record<DType, readonly [least: number, greatest: number]>> = {
  int64: [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  int32: [-(2 ** 31), 2 ** 31 - 1],
  uint8: [0, 255],
  bool: [0, 1],
};

/**
 * What keeps `value` from being an element of type `dtype`, or null: `0.5 is not a whole number of int32`.
 */
function misfit(value: number, dtype: DType): string | null {
  if (Number.isNaN(value)) return `NaN is not a number of ${dtype}`;
  if (dtype === 'float32' && Number.isFinite(value) && !Number.isFinite(Math.fround(value)))
    return `${value} is beyond the largest number of float32`;
  const range = ranges[dtype];
  if (!range) return null;
  if (!Number.isInteger(value)) return `${value} is not a whole number of ${dtype}`;
  return value < range[0] || value > range[1] ? `${value} is not from ${range[0]} to ${range[1]}, the numbers of ${dtype}` : null;
}

/**
 * Refuses a number that `op` is to use beside elements of `x` and that is none of their type.
 * @throws DdrcError DTYPE_MISMATCH
 */
export function requireLiteral(op: string, x: AnyTensor, value: number): void {
  check(op, [x], (types, site) => {
    const sentence = misfit(value, x.dtype);
    const hint =
      Number.isNaN(value) || x.dtype === 'float32'
        ? 'look where the number comes from'
        : "cast the tensor first: cast(x, 'float32')";
    if (sentence) throw shapeError(site, 'DTYPE_MISMATCH', sentence, types, hint);
  });
}

/**
 * The number `value` as a constant of the element type of `x`, for the operator `op`.
 * @throws DdrcError DTYPE_MISMATCH
 */
export function literal(op: string, x: AnyTensor, value: number): AnyTensor {
  requireLiteral(op, x, value);
  const context = contextOf(x);
  return tensor(context, context.graph.constant(scalar(value, x.dtype)));
}
