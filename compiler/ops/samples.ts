import { type NDArray, ndarray } from '../ir/ndarray.ts';
import { elementCount } from '../ir/types.ts';

/** Values in [−1, 1] of both signs, without a symmetry or a pattern along an axis: sin(1.7·i + phase). */
export function wave(shape: readonly number[], phase = 0): NDArray {
  return ndarray(
    shape,
    Array.from({ length: elementCount(shape) }, (_, i) => Math.sin(1.7 * i + phase)),
  );
}
