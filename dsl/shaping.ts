import { requireSameShape, shapeError } from '../compiler/ops/shapes.ts';
import { requireOptions } from './known-options.ts';
import { requireLiteral } from './literal.ts';
import { type AnyTensor, apply, applyAll, check, contextOf, type DType, type Shape, type Tensor } from './tensor.ts';
import type {
  concatShape,
  fits,
  flattenShape,
  gatherShape,
  made,
  madeAll,
  matmulShape,
  oneHotShape,
  oneTarget,
  padShape,
  ResizeTarget,
  reshapeShape,
  resizeShape,
  sameShape,
  sliceShape,
  splitShape,
  transposeShape,
} from './types/index.ts';
import { perAxis } from './window.ts';

type shapesOf<L extends readonly AnyTensor[]> = { readonly [I in keyof L]: L[I]['shape'] };
type tensorsOf<Shapes extends readonly Shape[], D extends DType> = {
  -readonly [I in keyof Shapes]: Tensor<Shapes[I], D>;
};

/** The elements of x in row-major order with another shape; `'N'` is the batch, and one size may be −1, which is worked out. */
export function reshape<X extends AnyTensor, const To extends Shape>(
  x: X & fits<reshapeShape<X['shape'], To>>,
  shape: To,
): Tensor<made<reshapeShape<X['shape'], To>>, X['dtype']>;
export function reshape(x: AnyTensor, shape: Shape): AnyTensor {
  const { batch } = contextOf(x);
  return apply('reshape', [x], { shape: shape.map((dim) => (dim === 'N' ? batch : dim)) });
}

/** x [N,…] → [N,rest]. */
export function flatten<X extends AnyTensor>(x: X): Tensor<flattenShape<X['shape']>, X['dtype']>;
export function flatten(x: AnyTensor): AnyTensor {
  return apply('reshape', [x], { shape: [x.shape[0], -1] });
}

/** x with its axes in the order `perm`: axis i of the result is axis perm[i] of x. */
export function transpose<X extends AnyTensor, const Perm extends readonly number[]>(
  x: X & fits<transposeShape<X['shape'], Perm>>,
  perm: Perm,
): Tensor<made<transposeShape<X['shape'], Perm>>, X['dtype']>;
export function transpose(x: AnyTensor, perm: readonly number[]): AnyTensor {
  return apply('transpose', [x], { perm });
}

/** Tensors one behind the other along `axis` (1, the channels, by default); their other sizes are equal. */
export function concat<const L extends readonly AnyTensor[], Axis extends number = 1>(
  tensors: L & fits<concatShape<shapesOf<L>, Axis>>,
  axis?: Axis,
): Tensor<made<concatShape<shapesOf<L>, Axis>>, L[number]['dtype']>;
export function concat(tensors: readonly AnyTensor[], axis = 1): AnyTensor {
  return apply('concat', tensors, { axis });
}

/** x cut along `axis` (1 by default) into parts of the given sizes. */
export function split<X extends AnyTensor, const Sizes extends readonly number[], Axis extends number = 1>(
  x: X & fits<splitShape<X['shape'], Sizes, Axis>>,
  sizes: Sizes,
  axis?: Axis,
): tensorsOf<madeAll<splitShape<X['shape'], Sizes, Axis>>, X['dtype']>;
export function split(x: AnyTensor, sizes: readonly number[], axis = 1): AnyTensor[] {
  return applyAll('split', [x], { axis, sizes });
}

/** Elements `start`, `start + step`, … before `end` along `axis`; negative bounds count from the end. */
export function slice<
  X extends AnyTensor,
  Start extends number,
  End extends number,
  Axis extends number,
  Step extends number = 1,
>(
  x: X & fits<sliceShape<X['shape'], Axis, Start, End, Step>>,
  axis: Axis,
  start: Start,
  end: End,
  step?: Step,
): Tensor<made<sliceShape<X['shape'], Axis, Start, End, Step>>, X['dtype']>;
export function slice(x: AnyTensor, axis: number, start: number, end: number, step = 1): AnyTensor {
  return apply('slice', [x], { axes: [axis], starts: [start], ends: [end], steps: [step] });
}

/** x with `value` (0 by default) around it: `pads` are the begins of all axes, then the ends, as in ONNX. */
export function pad<X extends AnyTensor, const Pads extends readonly number[]>(
  x: X & fits<padShape<X['shape'], Pads>>,
  pads: Pads,
  value?: number,
): Tensor<made<padShape<X['shape'], Pads>>, X['dtype']>;
export function pad(x: AnyTensor, pads: readonly number[], value = 0): AnyTensor {
  requireLiteral('pad', x, value);
  return apply('pad', [x], { pads, value });
}

/** The parts of x at `indices` along `axis` (0 by default), whose place the shape of `indices` takes. */
export function gather<X extends AnyTensor, I extends Tensor<Shape, 'int64' | 'int32'>, Axis extends number = 0>(
  x: X & fits<gatherShape<X['shape'], I['shape'], Axis>>,
  indices: I,
  axis?: Axis,
): Tensor<made<gatherShape<X['shape'], I['shape'], Axis>>, X['dtype']>;
export function gather(x: AnyTensor, indices: AnyTensor, axis = 0): AnyTensor {
  return apply('gather', [x, indices], { axis });
}

/** indices […] → float32 […,depth]: 1 at the index, 0 elsewhere. */
export function oneHot<X extends Tensor<Shape, 'int64' | 'int32'>, Depth extends number>(
  indices: X,
  depth: Depth,
): Tensor<oneHotShape<X['shape'], Depth>, 'float32'>;
export function oneHot(indices: AnyTensor, depth: number): Tensor {
  return apply('oneHot', [indices], { depth });
}

/** The map of x [N,C,H,W] scaled to another size, half-pixel centres; `nearest` by default. */
export function resize<X extends Tensor, const To extends ResizeTarget>(
  x: X & fits<resizeShape<X['shape'], To>>,
  to: To & fits<oneTarget<To>>,
  mode?: 'nearest' | 'bilinear',
): Tensor<made<resizeShape<X['shape'], To>>, X['dtype']>;
export function resize(x: Tensor, to: ResizeTarget, mode: 'nearest' | 'bilinear' = 'nearest'): Tensor {
  requireOptions('resize', x, to, ['scale', 'size']);
  check('resize', [x], (types, site) => {
    if (!('size' in to && 'scale' in to)) return;
    throw shapeError(site, 'SHAPE_ATTRIBUTE', 'takes scale or size, got both', types, 'leave one of them out');
  });
  const rank = x.shape.length - 2;
  return apply(
    'resize',
    [x],
    'size' in to ? { mode, size: perAxis(to.size, rank, 1) } : { mode, scales: perAxis(to.scale, rank, 1) },
  );
}

/** Matrix product of a […,p,q] and b […,q,r], leading axes broadcast. */
export function matmul<A extends Tensor, B extends Tensor>(
  a: A,
  b: B & fits<matmulShape<A['shape'], B['shape']>>,
): Tensor<made<matmulShape<A['shape'], B['shape']>>, A['dtype']>;
export function matmul(a: Tensor, b: Tensor): Tensor {
  return apply('matmul', [a, b]);
}

/** y, of which it is said that it has the shape of x: for a loop's variable inside a generic function. The build checks it. */
export function shapedLike<X extends AnyTensor, Y extends AnyTensor>(
  x: X,
  y: Y & fits<sameShape<'shapedLike', X['shape'], Y['shape']>>,
): Tensor<X['shape'], Y['dtype']>;
export function shapedLike(x: AnyTensor, y: AnyTensor): AnyTensor {
  const hint = 'shapedLike changes nothing: make y with the shape of x';
  check('shapedLike', [x, y], (types, site) => requireSameShape(types[0], types[1], types, site, hint));
  return y;
}
