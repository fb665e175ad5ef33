import { apply, applyAll, contextOf, type DType, type Tensor, tensor } from './tensor.ts';
import { scalar as scalarArray } from '../compiler/ir/ndarray.ts';

/** A number where a tensor is expected becomes a constant of the other operand's element type. */
export type Operand = Tensor | number;

function operands(a: Operand, b: Operand): [Tensor, Tensor] {
  const known = typeof a === 'number' ? (b as Tensor) : a;
  const lift = (x: Operand) => (typeof x === 'number' ? tensor(contextOf(known), contextOf(known).graph.constant(scalarArray(x, known.dtype))) : x);
  return [lift(a), lift(b)];
}

/** a + b, with broadcasting. */
export const add = (a: Operand, b: Operand): Tensor => apply('add', operands(a, b));
/** a − b, with broadcasting. */
export const sub = (a: Operand, b: Operand): Tensor => apply('sub', operands(a, b));
/** a · b, with broadcasting. */
export const mul = (a: Operand, b: Operand): Tensor => apply('mul', operands(a, b));
/** a / b, with broadcasting. */
export const div = (a: Operand, b: Operand): Tensor => apply('div', operands(a, b));
export const relu = (x: Tensor): Tensor => apply('relu', [x]);
export const sigmoid = (x: Tensor): Tensor => apply('sigmoid', [x]);
export const tanh = (x: Tensor): Tensor => apply('tanh', [x]);
export const softmax = (x: Tensor, axis = -1): Tensor => apply('softmax', [x], { axis });
export const logSoftmax = (x: Tensor, axis = -1): Tensor => apply('logSoftmax', [x], { axis });
export const concat = (xs: readonly Tensor[], axis = 1): Tensor => apply('concat', xs, { axis });
export const mean = (x: Tensor, axes: readonly number[], keepdims = false): Tensor => apply('reduceMean', [x], { axes, keepdims });
export const sum = (x: Tensor, axes: readonly number[], keepdims = false): Tensor => apply('reduceSum', [x], { axes, keepdims });
export const max = (x: Tensor, axes: readonly number[], keepdims = false): Tensor => apply('reduceMax', [x], { axes, keepdims });
export const cast = (x: Tensor, to: DType): Tensor => apply('cast', [x], { to });
export const oneHot = (indices: Tensor, depth: number): Tensor => apply('oneHot', [indices], { depth });
export const split = (x: Tensor, sizes: readonly number[], axis: number): Tensor[] => applyAll('split', [x], { axis, sizes });
export const reshape = (x: Tensor, shape: readonly (number | string)[]): Tensor => apply('reshape', [x], { shape });
export const maxPool2d = (x: Tensor, { kernel, stride = kernel, pad = 0 }: { kernel: number; stride?: number; pad?: number }): Tensor =>
  apply('maxPool', [x], { kernel: [kernel, kernel], strides: [stride, stride], pads: [pad, pad, pad, pad] });
