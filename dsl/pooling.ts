import { requireKnown, requireRank, requireWhole } from '../compiler/ops/shapes.ts';
import { constantLike } from './constants.ts';
import { requireOptions } from './known-options.ts';
import { matmul, reshape } from './shaping.ts';
import { apply, check, type Tensor } from './tensor.ts';
import type {
  adaptivePoolShape,
  fits,
  globalPoolShape,
  knownOptions,
  made,
  PerAxis,
  PoolWindow,
  poolShape,
} from './types/index.ts';
import { padsOf, perAxis } from './window.ts';

const poolOptions = ['kernel', 'stride', 'pad'];

function attrsOf(x: Tensor, { kernel, stride, pad }: PoolWindow) {
  const sizes = perAxis(kernel, x.shape.length - 2, 1);
  return { kernel: sizes, strides: perAxis(stride ?? kernel, sizes.length, 1), pads: padsOf(pad, sizes) };
}

/** Greatest value of each window of x [N,C,…]; the gradient goes to the first of equal ones in row-major order. Windows do not overlap by default. */
export function maxPool<X extends Tensor, const O extends PoolWindow>(
  x: X & fits<poolShape<'maxPool', X['shape'], O>>,
  window: O & fits<knownOptions<'maxPool', O, keyof PoolWindow>>,
): Tensor<made<poolShape<'maxPool', X['shape'], O>>, X['dtype']>;
export function maxPool(x: Tensor, window: PoolWindow): Tensor {
  requireOptions('maxPool', x, window, poolOptions);
  return apply('maxPool', [x], attrsOf(x, window));
}

/** Mean of each window of x [N,C,…]; zeros around the map count unless `countIncludePad` is false. */
export function averagePool<X extends Tensor, const O extends PoolWindow & { readonly countIncludePad?: boolean }>(
  x: X & fits<poolShape<'averagePool', X['shape'], O>>,
  window: O & fits<knownOptions<'averagePool', O, keyof PoolWindow | 'countIncludePad'>>,
): Tensor<made<poolShape<'averagePool', X['shape'], O>>, X['dtype']>;
export function averagePool(x: Tensor, window: PoolWindow & { readonly countIncludePad?: boolean }): Tensor {
  requireOptions('averagePool', x, window, [...poolOptions, 'countIncludePad']);
  return apply('averagePool', [x], { ...attrsOf(x, window), countIncludePad: window.countIncludePad ?? true });
}

/** Mean over the whole map: x [N,C,…] → [N,C,1,…]. */
export function globalAveragePool<X extends Tensor>(x: X): Tensor<globalPoolShape<X['shape']>, X['dtype']>;
export function globalAveragePool(x: Tensor): Tensor {
  return apply('globalAveragePool', [x]);
}

/** Greatest value of the whole map: x [N,C,…] → [N,C,1,…]; the gradient is shared evenly among equal ones. */
export function globalMaxPool<X extends Tensor>(x: X): Tensor<globalPoolShape<X['shape']>, X['dtype']>;
export function globalMaxPool(x: Tensor): Tensor {
  return apply('globalMaxPool', [x]);
}

/**
 * Mean of each of `size` windows of x [N,C,H,W] → [N,C,…size], whatever the map's size: along an axis of m places, window i of n goes from ⌊i·m/n⌋ to
 * ⌈(i+1)·m/n⌉, so windows overlap where n does not divide m, and repeat where m is less (PyTorch's AdaptiveAvgPool2d).
 */
export function adaptiveAveragePool<X extends Tensor, const Size extends PerAxis>(
  x: X & fits<adaptivePoolShape<X['shape'], Size>>,
  size: Size,
): Tensor<made<adaptivePoolShape<X['shape'], Size>>, X['dtype']>;
export function adaptiveAveragePool(x: Tensor, size: PerAxis): Tensor {
  const to = perAxis(size, 2, 1);
  check('adaptiveAveragePool', [x], (types, site) => {
    requireRank(types[0], [4], site, '[N,C,H,W]');
    requireKnown(types[0], 1, types, site);
    requireWhole('size', to, 1, types, site);
  });
  const [n, c, ...map] = x.shape as readonly number[];
  if (to.every((parts, axis) => parts === map[axis])) return x;
  if (to.every((parts, axis) => map[axis] % parts === 0)) {
    return apply('averagePool', [x], { ...attrsOf(x, { kernel: [map[0] / to[0], map[1] / to[1]] }), countIncludePad: true });
  }
  const [rows, columns] = to.map((parts, axis) => shares(map[axis], parts));
  const table = rows.flatMap((row) => columns.map((column) => row.flatMap((a) => column.map((b) => a * b))));
  const weights = reshape(constantLike(x, table.flat()), [map[0] * map[1], to[0] * to[1]]);
  return reshape(matmul(reshape(x, [n, c, -1]) as Tensor, weights) as Tensor, [n, c, ...to]) as Tensor;
}

/** What each of `size` places gives to each of `parts` windows of an adaptive pooling. */
function shares(size: number, parts: number): number[][] {
  return Array.from({ length: size }, (_, place) =>
    Array.from({ length: parts }, (_, i) => {
      const [begin, end] = [Math.floor((i * size) / parts), Math.ceil(((i + 1) * size) / parts)];
      return place >= begin && place < end ? 1 / (end - begin) : 0;
    }),
  );
}
