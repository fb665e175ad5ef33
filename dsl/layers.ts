import type { Shape } from '../compiler/ir/types.ts';
import { fanIn, type Initializer, ones, zeros } from './initializers.ts';
import { apply, applyAll, contextOf, type Tensor, tensor, valueOf } from './tensor.ts';

/** Geometry of a convolution's window; a number stands for all map axes. */
export interface ConvOptions {
  /** Output channels. */
  readonly filters: number;
  readonly kernel: number | readonly number[];
  /** 1 by default. */
  readonly stride?: number | readonly number[];
  /** Zeros around the map: one number, one for each axis, or begins and ends [top, left, bottom, right]; 0 by default. */
  readonly pad?: number | readonly number[];
  /** 1 by default. */
  readonly dilation?: number | readonly number[];
  /** Input channels are split into this many groups, each convolved by itself; 1 by default. */
  readonly groups?: number;
  /** Whether a bias is added; true by default. */
  readonly bias?: boolean;
  /** Uniform in ±1/√fan_in by default, as in PyTorch. */
  readonly initializer?: Initializer;
}

function perAxis(value: number | readonly number[] | undefined, rank: number, missing: number): readonly number[] {
  return typeof value === 'object' ? value : new Array<number>(rank).fill(value ?? missing);
}

function padsOf(value: number | readonly number[] | undefined, rank: number): readonly number[] {
  const list = perAxis(value, rank, 0);
  return list.length === rank ? [...list, ...list] : list;
}

function convolution(x: Tensor, name: string, options: ConvOptions, rank: number): Tensor {
  const { filters, groups = 1, bias = true } = options;
  const kernel = perAxis(options.kernel, rank, 1);
  const shape = [filters, Math.floor((x.shape[1] as number) / groups), ...kernel];
  const initializer = options.initializer ?? fanIn(shape.slice(1).reduce((a, b) => a * b));
  const context = contextOf(x);
  return context.graph.within(name, () => {
    const weight = tensor(context, context.parameter('weight', shape, initializer));
    const inputs = [x, weight];
    if (bias) {
      const bound = fanIn(shape.slice(1).reduce((a, b) => a * b));
      inputs.push(tensor(context, context.parameter('bias', [filters], bound)));
    }
    return apply('conv', inputs, {
      strides: perAxis(options.stride, rank, 1),
      pads: padsOf(options.pad, rank),
      dilations: perAxis(options.dilation, rank, 1),
      groups,
    });
  });
}

/** Convolution of x [N,C,H,W] → [N,filters,H',W']; parameters `name.weight` [filters,C/groups,kh,kw] and `name.bias` [filters]. */
export function conv2d(x: Tensor, name: string, options: ConvOptions): Tensor {
  return convolution(x, name, options, 2);
}

/** Convolution of x [N,C,L] → [N,filters,L']; parameters `name.weight` [filters,C/groups,k] and `name.bias` [filters]. */
export function conv1d(x: Tensor, name: string, options: ConvOptions): Tensor {
  return convolution(x, name, options, 1);
}

/** Options of a fully connected layer. */
export interface LinearOptions {
  /** Size of the result's last axis. */
  readonly units: number;
  /** Whether a bias is added; true by default. */
  readonly bias?: boolean;
  /** Uniform in ±1/√fan_in by default, as in PyTorch. */
  readonly initializer?: Initializer;
}

/** Fully connected: x […,in] → […,units]; parameters `name.weight` [units,in] and `name.bias` [units]. */
export function linear(x: Tensor, name: string, options: LinearOptions): Tensor {
  return sharedLinear(x, name, options)(x);
}

/** A fully connected layer for tensors with the last axis of `x`, to be applied to several of them with the same parameters. */
export function sharedLinear(x: Tensor, name: string, { units, bias = true, initializer }: LinearOptions): (x: Tensor) => Tensor {
  const context = contextOf(x);
  const width = x.shape[x.shape.length - 1] as number;
  return context.graph.within(name, () => {
    const parameters = [tensor(context, context.parameter('weight', [units, width], initializer ?? fanIn(width)))];
    if (bias) parameters.push(tensor(context, context.parameter('bias', [units], fanIn(width))));
    return (x) => context.graph.within(name, () => apply('linear', [x, ...parameters]));
  });
}

function scaleAndShift(x: Tensor, shape: Shape): [weight: Tensor, bias: Tensor] {
  const context = contextOf(x);
  const size = shape as readonly number[];
  return [tensor(context, context.parameter('weight', size, ones)), tensor(context, context.parameter('bias', size, zeros))];
}

/**
 * Batch norm of x [N,C,…]: batch statistics in training, running ones (`name.running_mean`, `name.running_var`) in inference.
 * New running value = (1 − momentum) · old + momentum · batch's, with the unbiased variance, as PyTorch does.
 */
export function batchNorm(x: Tensor, name: string, { epsilon = 1e-5, momentum = 0.1 } = {}): Tensor {
  const context = contextOf(x);
  const { graph } = context;
  return graph.within(name, () => {
    const channels = [x.shape[1] as number];
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
export function groupNorm(x: Tensor, name: string, { groups, epsilon = 1e-5 }: { readonly groups: number; readonly epsilon?: number }): Tensor {
  return contextOf(x).graph.within(name, () => apply('groupNorm', [x, ...scaleAndShift(x, [x.shape[1]])], { groups, epsilon }));
}

/** Instance norm of x [N,C,…]: each channel of each example by itself; parameters `name.weight` and `name.bias` [C]. */
export function instanceNorm(x: Tensor, name: string, { epsilon = 1e-5 } = {}): Tensor {
  return contextOf(x).graph.within(name, () => apply('instanceNorm', [x, ...scaleAndShift(x, [x.shape[1]])], { epsilon }));
}

/** Layer norm of x over its axes from `axis` (the last by default); parameters `name.weight` and `name.bias` of those axes' sizes. */
export function layerNorm(x: Tensor, name: string, { axis = -1, epsilon = 1e-5 } = {}): Tensor {
  const shape = x.shape.slice(axis < 0 ? axis + x.shape.length : axis);
  return contextOf(x).graph.within(name, () => apply('layerNorm', [x, ...scaleAndShift(x, shape)], { axis, epsilon }));
}

/** Inverted dropout: in training each element is 0 with probability `p`, and scaled by 1/(1 − p) otherwise; nothing in inference. */
export function dropout(x: Tensor, p: number): Tensor {
  const context = contextOf(x);
  if (context.graph.mode === 'inference' || p === 0) return x;
  const { seed, salt } = context.seed();
  const mask = context.graph.op('dropoutMask', [valueOf(x), seed], { p, salt });
  return apply('mul', [x, tensor(context, mask)]);
}
