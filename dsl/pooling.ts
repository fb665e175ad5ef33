import { requireOptions } from './known-options.ts';
import { apply, type Tensor } from './tensor.ts';
import type { fits, globalPoolShape, knownOptions, made, PoolWindow, poolShape } from './types/index.ts';
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
