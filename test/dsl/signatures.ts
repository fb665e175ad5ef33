import type { DType, Shape } from '../../compiler/ir/types.ts';
import * as dsl from '../../dsl/index.ts';
import { apply, applyAll, type Tensor } from '../../dsl/tensor.ts';
import type {
  broadcastShape,
  ConvWindow,
  concatShape,
  convShape,
  fitting,
  flattenShape,
  gatherShape,
  globalPoolShape,
  groupNormShape,
  linearShape,
  made,
  madeAll,
  matmulShape,
  oneHotShape,
  PoolWindow,
  padShape,
  poolShape,
  ResizeTarget,
  reduceShape,
  reshapeShape,
  resizeShape,
  sameShape,
  sliceShape,
  splitShape,
  transposeShape,
} from '../../dsl/types/index.ts';

/*
 * An operator has one overload with its types, and an implementation without: errors then speak of the one overload only.
 */

export type Operand = Tensor | number;
type shapeOf<X extends Operand> = X extends Tensor ? X['shape'] : [];
type dtypeOf<A extends Operand, B extends Operand> = A extends Tensor ? A['dtype'] : B extends Tensor ? B['dtype'] : DType;
type shapesOf<L extends readonly Tensor[]> = { readonly [I in keyof L]: L[I]['shape'] };
type tensorsOf<Shapes extends readonly Shape[], D extends DType> = { -readonly [I in keyof Shapes]: Tensor<Shapes[I], D> };

export function add<A extends Operand, B extends Operand>(
  a: A,
  b: fitting<B, broadcastShape<'add', shapeOf<A>, shapeOf<B>>>,
): Tensor<made<broadcastShape<'add', shapeOf<A>, shapeOf<B>>>, dtypeOf<A, B>>;
export function add(a: Operand, b: Operand): Tensor {
  return dsl.add(a, b);
}

/** The type of an element-wise operator, for operators that are made by one function: `binary('mul') as Binary<'mul'>`. */
export type Binary<Op extends string> = <A extends Operand, B extends Operand>(
  a: A,
  b: fitting<B, broadcastShape<Op, shapeOf<A>, shapeOf<B>>>,
) => Tensor<made<broadcastShape<Op, shapeOf<A>, shapeOf<B>>>, dtypeOf<A, B>>;

export const mul = ((a: Operand, b: Operand) => dsl.mul(a, b)) as Binary<'mul'>;

export function relu<X extends Tensor>(x: X): Tensor<X['shape'], X['dtype']>;
export function relu(x: Tensor): Tensor {
  return dsl.relu(x);
}

export interface ConvOptions extends ConvWindow {
  readonly bias?: boolean;
}

export function conv2d<X extends Tensor, const O extends ConvOptions>(
  x: fitting<X, convShape<X['shape'], O>>,
  name: string,
  options: O,
): Tensor<made<convShape<X['shape'], O>>, 'float32'>;
export function conv2d(x: Tensor, name: string, options: ConvOptions): Tensor {
  return dsl.conv2d(x, name, options as dsl.ConvOptions);
}

export function maxPool<X extends Tensor, const O extends PoolWindow>(
  x: fitting<X, poolShape<'maxPool', X['shape'], O>>,
  options: O,
): Tensor<made<poolShape<'maxPool', X['shape'], O>>, X['dtype']>;
export function maxPool(x: Tensor, { kernel, stride = kernel, pad = 0 }: PoolWindow): Tensor {
  const rank = x.shape.length - 2;
  const list = (value: number | readonly number[]) => (typeof value === 'number' ? new Array<number>(rank).fill(value) : value);
  const pads = list(pad as number | readonly number[]);
  return apply('maxPool', [x], {
    kernel: list(kernel),
    strides: list(stride),
    pads: pads.length === rank ? [...pads, ...pads] : pads,
  });
}

export function globalAveragePool<X extends Tensor>(x: X): Tensor<globalPoolShape<X['shape']>, X['dtype']>;
export function globalAveragePool(x: Tensor): Tensor {
  return dsl.mean(x, [2, 3], true);
}

export function groupNorm<X extends Tensor, G extends number>(
  x: fitting<X, groupNormShape<X['shape'], G>>,
  name: string,
  options: { readonly groups: G; readonly epsilon?: number },
): Tensor<made<groupNormShape<X['shape'], G>>, X['dtype']>;
export function groupNorm(x: Tensor, name: string, options: { readonly groups: number; readonly epsilon?: number }): Tensor {
  return dsl.groupNorm(x, name, options);
}

export function linear<X extends Tensor, U extends number>(
  x: X,
  name: string,
  options: { readonly units: U; readonly bias?: boolean },
): Tensor<linearShape<X['shape'], U>, X['dtype']>;
export function linear(x: Tensor, name: string, options: { readonly units: number; readonly bias?: boolean }): Tensor {
  return dsl.linear(x, name, options);
}

export function matmul<A extends Tensor, B extends Tensor>(
  a: A,
  b: fitting<B, matmulShape<A['shape'], B['shape']>>,
): Tensor<made<matmulShape<A['shape'], B['shape']>>, A['dtype']>;
export function matmul(a: Tensor, b: Tensor): Tensor {
  return apply('matmul', [a, b]);
}

export function concat<const L extends readonly Tensor[], Axis extends number = 1>(
  tensors: L & fitting<unknown, concatShape<shapesOf<L>, Axis>>,
  axis?: Axis,
): Tensor<made<concatShape<shapesOf<L>, Axis>>, L[number]['dtype']>;
export function concat(tensors: readonly Tensor[], axis = 1): Tensor {
  return dsl.concat(tensors, axis);
}

export function split<X extends Tensor, const Sizes extends readonly number[], Axis extends number = 1>(
  x: fitting<X, splitShape<X['shape'], Sizes, Axis>>,
  sizes: Sizes,
  axis?: Axis,
): tensorsOf<madeAll<splitShape<X['shape'], Sizes, Axis>>, X['dtype']>;
export function split(x: Tensor, sizes: readonly number[], axis = 1): Tensor[] {
  return applyAll('split', [x], { axis, sizes });
}

export function slice<X extends Tensor, Start extends number, End extends number, Axis extends number, Step extends number = 1>(
  x: fitting<X, sliceShape<X['shape'], Axis, Start, End, Step>>,
  axis: Axis,
  start: Start,
  end: End,
  step?: Step,
): Tensor<made<sliceShape<X['shape'], Axis, Start, End, Step>>, X['dtype']>;
export function slice(x: Tensor, axis: number, start: number, end: number, step = 1): Tensor {
  return apply('slice', [x], { axes: [axis], starts: [start], ends: [end], steps: [step] });
}

export function reshape<X extends Tensor, const To extends Shape>(
  x: fitting<X, reshapeShape<X['shape'], To>>,
  shape: To,
): Tensor<made<reshapeShape<X['shape'], To>>, X['dtype']>;
export function reshape(x: Tensor, shape: Shape): Tensor {
  return dsl.reshape(x, shape);
}

export function flatten<X extends Tensor>(x: X): Tensor<flattenShape<X['shape']>, X['dtype']>;
export function flatten(x: Tensor): Tensor {
  return dsl.reshape(x, [x.shape[0], -1]);
}

export function transpose<X extends Tensor, const Perm extends readonly number[]>(
  x: fitting<X, transposeShape<X['shape'], Perm>>,
  perm: Perm,
): Tensor<made<transposeShape<X['shape'], Perm>>, X['dtype']>;
export function transpose(x: Tensor, perm: readonly number[]): Tensor {
  return apply('transpose', [x], { perm });
}

export function mean<X extends Tensor, const Axes extends readonly number[], Keep extends boolean = false>(
  x: fitting<X, reduceShape<'reduceMean', X['shape'], Axes, Keep>>,
  axes: Axes,
  keepdims?: Keep,
): Tensor<made<reduceShape<'reduceMean', X['shape'], Axes, Keep>>, X['dtype']>;
export function mean(x: Tensor, axes: readonly number[], keepdims = false): Tensor {
  return dsl.mean(x, axes, keepdims);
}

export function pad<X extends Tensor, const Pads extends readonly number[]>(
  x: fitting<X, padShape<X['shape'], Pads>>,
  pads: Pads,
): Tensor<made<padShape<X['shape'], Pads>>, X['dtype']>;
export function pad(x: Tensor, pads: readonly number[]): Tensor {
  return apply('pad', [x], { pads });
}

export function gather<X extends Tensor, I extends Tensor, Axis extends number = 0>(
  x: fitting<X, gatherShape<X['shape'], I['shape'], Axis>>,
  indices: I,
  axis?: Axis,
): Tensor<made<gatherShape<X['shape'], I['shape'], Axis>>, X['dtype']>;
export function gather(x: Tensor, indices: Tensor, axis = 0): Tensor {
  return apply('gather', [x, indices], { axis });
}

export function oneHot<X extends Tensor, Depth extends number>(
  x: X,
  depth: Depth,
): Tensor<oneHotShape<X['shape'], Depth>, 'float32'>;
export function oneHot(x: Tensor, depth: number): Tensor {
  return dsl.oneHot(x, depth);
}

export function resize<X extends Tensor, const To extends ResizeTarget>(
  x: fitting<X, resizeShape<X['shape'], To>>,
  to: To,
): Tensor<made<resizeShape<X['shape'], To>>, X['dtype']>;
export function resize(x: Tensor, to: ResizeTarget): Tensor {
  return apply('resize', [x], { ...to, mode: 'nearest' } as never);
}

/** `y`, of which it is said that it has the shape of `x`. */
export function shapedLike<X extends Tensor, Y extends Tensor>(
  x: X,
  y: fitting<Y, sameShape<'shapedLike', X['shape'], Y['shape']>>,
): Tensor<X['shape'], Y['dtype']>;
export function shapedLike(_x: Tensor, y: Tensor): Tensor {
  return y;
}
