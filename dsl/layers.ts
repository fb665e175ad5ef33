import { formatShape } from '../compiler/ir/types.ts';
import { requireConvSizes } from '../compiler/ops/conv.ts';
import { requireLinearSizes } from '../compiler/ops/linear.ts';
import { requireRank, shapeError } from '../compiler/ops/shapes.ts';
import { fanIn, type Initializer } from './initializers.ts';
import { requireOptions } from './known-options.ts';
import { apply, check, contextOf, type Tensor, tensor } from './tensor.ts';
import type { ConvWindow, conv1dShape, conv2dShape, fits, knownOptions, linearShape, made } from './types/index.ts';
import { padsOf, perAxis } from './window.ts';

/** A convolution's window and what it learns. */
export interface ConvOptions extends ConvWindow {
  /** Whether a bias is added; true by default. */
  readonly bias?: boolean;
  /** Of the weight; uniform in ±1/√fan_in by default, as in PyTorch. */
  readonly initializer?: Initializer;
}

const convOptions = ['filters', 'kernel', 'stride', 'pad', 'dilation', 'groups', 'bias', 'initializer'];
const linearOptions = ['units', 'bias', 'initializer'];

function convolution(x: Tensor, name: string, options: ConvOptions, rank: 1 | 2): Tensor {
  const op = `conv${rank}d`;
  requireOptions(op, x, options, convOptions);
  const { filters, groups = 1, bias = true } = options;
  const kernel = perAxis(options.kernel, rank, 1);
  const dilations = perAxis(options.dilation, rank, 1);
  const context = contextOf(x);
  return context.graph.within(name, () => {
    check(op, [x], (types, site) => {
      requireRank(types[0], [rank + 2], site, rank === 1 ? '[N,C,L]' : '[N,C,H,W]', otherConvolution(x, rank));
      if (kernel.length === rank) return;
      const sentence = `kernel must have ${rank} ${rank === 1 ? 'value' : 'values'}, got ${kernel.length}`;
      throw shapeError(site, 'SHAPE_ATTRIBUTE', sentence, types, 'one number stands for all axes of the map');
    });
    check('conv', [x], (types, site) => requireConvSizes(types, filters, kernel, groups, site));
    const shape = [filters, (x.shape[1] as number) / groups, ...kernel];
    const uniform = fanIn(shape.slice(1).reduce((a, b) => a * b));
    const inputs = [x, tensor(context, context.parameter('weight', shape, options.initializer ?? uniform))];
    if (bias) inputs.push(tensor(context, context.parameter('bias', [filters], uniform)));
    return apply('conv', inputs, {
      strides: perAxis(options.stride, rank, 1),
      pads: padsOf(options.pad, kernel, dilations),
      dilations,
      groups,
    });
  });
}

function otherConvolution(x: Tensor, rank: 1 | 2): string {
  if (x.shape.length === 5 - rank) return `conv${3 - rank}d takes ${formatShape(x.shape)}`;
  return 'reshape it first';
}

/** Convolution of x [N,C,H,W] → [N,filters,H',W']; parameters `name.weight` [filters,C/groups,kh,kw] and `name.bias` [filters]. */
export function conv2d<X extends Tensor, const O extends ConvOptions>(
  x: X & fits<conv2dShape<X['shape'], O>>,
  name: string,
  options: O & fits<knownOptions<'conv2d', O, keyof ConvOptions>>,
): Tensor<made<conv2dShape<X['shape'], O>>, 'float32'>;
export function conv2d(x: Tensor, name: string, options: ConvOptions): Tensor {
  return convolution(x, name, options, 2);
}

/** Convolution of x [N,C,L] → [N,filters,L']; parameters `name.weight` [filters,C/groups,k] and `name.bias` [filters]. */
export function conv1d<X extends Tensor, const O extends ConvOptions>(
  x: X & fits<conv1dShape<X['shape'], O>>,
  name: string,
  options: O & fits<knownOptions<'conv1d', O, keyof ConvOptions>>,
): Tensor<made<conv1dShape<X['shape'], O>>, 'float32'>;
export function conv1d(x: Tensor, name: string, options: ConvOptions): Tensor {
  return convolution(x, name, options, 1);
}

/** Options of a fully connected layer. */
export interface LinearOptions<Units extends number = number> {
  /** Size of the result's last axis. */
  readonly units: Units;
  /** Whether a bias is added; true by default. */
  readonly bias?: boolean;
  /** Uniform in ±1/√fan_in by default, as in PyTorch. */
  readonly initializer?: Initializer;
}

/** Fully connected: x […,in] → […,units]; parameters `name.weight` [units,in] and `name.bias` [units]. */
export function linear<X extends Tensor, U extends number>(
  x: X,
  name: string,
  options: LinearOptions<U>,
): Tensor<linearShape<X['shape'], U>, X['dtype']>;
export function linear(x: Tensor, name: string, options: LinearOptions): Tensor {
  return sharedLinear(x, name, options)(x);
}

/** A fully connected layer for tensors with the last axis of `x`, to be applied to several of them with the same parameters. */
export function sharedLinear<X extends Tensor, U extends number>(
  x: X,
  name: string,
  options: LinearOptions<U>,
): <Y extends Tensor>(x: Y) => Tensor<linearShape<Y['shape'], U>, Y['dtype']>;
export function sharedLinear(x: Tensor, name: string, options: LinearOptions): unknown {
  requireOptions('linear', x, options, linearOptions);
  const { units, bias = true, initializer } = options;
  const context = contextOf(x);
  return context.graph.within(name, () => {
    check('linear', [x], (types, site) => requireLinearSizes(types, units, site));
    const width = x.shape[x.shape.length - 1] as number;
    const parameters = [tensor(context, context.parameter('weight', [units, width], initializer ?? fanIn(width)))];
    if (bias) parameters.push(tensor(context, context.parameter('bias', [units], fanIn(width))));
    return (x: Tensor) => context.graph.within(name, () => apply('linear', [x, ...parameters]));
  });
}
