import { requireChannels } from '../compiler/ops/norm-inputs.ts';
import { normalizeAxis, requireKnown } from '../compiler/ops/shapes.ts';
import { ones, zeros } from './initializers.ts';
import { requireOptions } from './known-options.ts';
import { apply, applyAll, check, contextOf, type Shape, type Tensor, tensor } from './tensor.ts';
import type { fits, groupNormShape, made } from './types/index.ts';

function scaleAndShift(x: Tensor, shape: Shape): [weight: Tensor, bias: Tensor] {
  const context = contextOf(x);
  const size = shape as readonly number[];
  return [tensor(context, context.parameter('weight', size, ones)), tensor(context, context.parameter('bias', size, zeros))];
}

/** Channels of x [N,C,…], before a norm called `op` makes a parameter for each. */
function channelsOf(op: string, x: Tensor): [channels: number] {
  check(op, [x], (types, site) => requireChannels(types, [], site));
  return [x.shape[1] as number];
}

/**
 * Batch norm of x [N,C,…]: batch statistics in training, running ones (`name.running_mean`, `name.running_var`) in inference.
 * New running value = (1 − momentum) · old + momentum · batch's, with the unbiased variance, as PyTorch does.
 */
export function batchNorm<X extends Tensor>(
  x: X,
  name: string,
  options?: { readonly epsilon?: number; readonly momentum?: number },
): Tensor<X['shape'], X['dtype']>;
export function batchNorm(
  x: Tensor,
  name: string,
  options: { readonly epsilon?: number; readonly momentum?: number } = {},
): Tensor {
  requireOptions('batchNorm', x, options, ['epsilon', 'momentum']);
  const { epsilon = 1e-5, momentum = 0.1 } = options;
  const context = contextOf(x);
  const { graph } = context;
  return graph.within(name, () => {
    const channels = channelsOf('batchNorm', x);
    const affine = scaleAndShift(x, channels);
    const mean = context.statistic('running_mean', channels, zeros);
    const variance = context.statistic('running_var', channels, ones);
    if (graph.mode === 'inference') {
      return apply('batchNormInference', [x, ...affine, tensor(context, mean), tensor(context, variance)], { epsilon });
    }
    const [y, batchMean, batchVariance] = applyAll('batchNorm', [x, ...affine], { epsilon });
    context.trackStatistics(x, momentum, [
      [mean, batchMean],
      [variance, batchVariance],
    ]);
    return y;
  });
}

/** Group norm of x [N,C,…] over `groups` groups of channels; parameters `name.weight` and `name.bias` [C]. */
export function groupNorm<X extends Tensor, G extends number>(
  x: X & fits<groupNormShape<X['shape'], G>>,
  name: string,
  options: { readonly groups: G; readonly epsilon?: number },
): Tensor<made<groupNormShape<X['shape'], G>>, X['dtype']>;
export function groupNorm(x: Tensor, name: string, options: { readonly groups: number; readonly epsilon?: number }): Tensor {
  requireOptions('groupNorm', x, options, ['groups', 'epsilon']);
  const { groups, epsilon = 1e-5 } = options;
  return contextOf(x).graph.within(name, () =>
    apply('groupNorm', [x, ...scaleAndShift(x, channelsOf('groupNorm', x))], { groups, epsilon }),
  );
}

/** Instance norm of x [N,C,…]: each channel of each example by itself; parameters `name.weight` and `name.bias` [C]. */
export function instanceNorm<X extends Tensor>(
  x: X,
  name: string,
  options?: { readonly epsilon?: number },
): Tensor<X['shape'], X['dtype']>;
export function instanceNorm(x: Tensor, name: string, options: { readonly epsilon?: number } = {}): Tensor {
  requireOptions('instanceNorm', x, options, ['epsilon']);
  const { epsilon = 1e-5 } = options;
  return contextOf(x).graph.within(name, () =>
    apply('instanceNorm', [x, ...scaleAndShift(x, channelsOf('instanceNorm', x))], { epsilon }),
  );
}

/** Layer norm of x over its axes from `axis` (the last by default); parameters `name.weight` and `name.bias` of those axes' sizes. */
export function layerNorm<X extends Tensor>(
  x: X,
  name: string,
  options?: { readonly axis?: number; readonly epsilon?: number },
): Tensor<X['shape'], X['dtype']>;
export function layerNorm(x: Tensor, name: string, options: { readonly axis?: number; readonly epsilon?: number } = {}): Tensor {
  requireOptions('layerNorm', x, options, ['axis', 'epsilon']);
  const { axis = -1, epsilon = 1e-5 } = options;
  return contextOf(x).graph.within(name, () => {
    let first = 0;
    check('layerNorm', [x], (types, site) => {
      first = normalizeAxis(axis, x.shape, site, types);
      requireKnown(types[0], first, types, site);
    });
    return apply('layerNorm', [x, ...scaleAndShift(x, x.shape.slice(first))], { axis, epsilon });
  });
}
