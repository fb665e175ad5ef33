import { type DType, elementCount } from './types.ts';

/**
 * A dense row-major array in double precision: what operators' reference implementations compute on, and what constants hold.
 * `dtype` says which element type the values stand for (integers are exact up to 2^53, booleans are 0 and 1).
 */
export interface NDArray {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

export function ndarray(shape: readonly number[], data: ArrayLike<number>, dtype: DType = 'float32'): NDArray {
  return { dtype, shape, data: data instanceof Float64Array ? data : new Float64Array(data) };
}

export function scalar(value: number, dtype: DType = 'float32'): NDArray {
  return ndarray([], [value], dtype);
}

export function zeros(shape: readonly number[], dtype: DType = 'float32'): NDArray {
  return { dtype, shape, data: new Float64Array(elementCount(shape)) };
}

export function full(shape: readonly number[], value: number, dtype: DType = 'float32'): NDArray {
  return { dtype, shape, data: new Float64Array(elementCount(shape)).fill(value) };
}

/** Row-major strides in elements: [C·H·W, H·W, W, 1] for [N,C,H,W]. */
export function stridesOf(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = stride;
    stride *= shape[axis];
  }
  return strides;
}

/** Strides that read an array of shape `from` as if it had the shape `to` (numpy broadcasting): 0 where a size-1 axis is repeated. */
export function broadcastStrides(from: readonly number[], to: readonly number[]): number[] {
  const strides = stridesOf(from);
  const lead = to.length - from.length;
  return to.map((_, axis) => (axis < lead || from[axis - lead] === 1 ? 0 : strides[axis - lead]));
}

/** Calls `visit(offsetOut, indices)` for every element of `shape` in row-major order. */
export function forEachIndex(shape: readonly number[], visit: (offset: number, index: readonly number[]) => void): void {
  const index = new Array<number>(shape.length).fill(0);
  const count = elementCount(shape);
  for (let offset = 0; offset < count; offset++) {
    visit(offset, index);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      if (++index[axis] < shape[axis]) break;
      index[axis] = 0;
    }
  }
}
