/*
 * Gradient of a convolution by its weight: a matrix product of dy with the unfolded x (its windows as channels), or of x with the unfolded dy. The unfolding is
 * itself a convolution with one-hot kernels, which is many times faster than a convolution that takes dy as the kernel.
 */
import type { Emitter } from '../emit/emitter.ts';
import { mayRunOnWebgpu, needs } from '../emit/lowering.ts';
import type { Node, Value } from '../ir/graph.ts';
import { zeros } from '../ir/ndarray.ts';
import { defineOp } from '../ir/op.ts';
import { elementCount, isStatic } from '../ir/types.ts';
import { type ConvAttrs, convSize, eachTerm, flippedAttrs, gradSamples, mirrored, onnxAttrs, planes } from './conv.ts';
import { matmulTransposed } from './linear.ts';

type WeightGradAttrs = ConvAttrs & { readonly kernel: readonly number[] };

export const convWeightGrad = defineOp<WeightGradAttrs>('convWeightGrad', {
  summary: 'Gradient of a convolution by its weight, from x [N,C,…] and dy [N,K,…]; `kernel` is the weight’s map size.',
  properties: { products: true },
  infer([x, dy], attrs) {
    return [{ dtype: 'float32', shape: [dy.shape[1], (x.shape[1] as number) / attrs.groups, ...attrs.kernel] }];
  },
  vjp: { none: 'second derivatives are not supported' },
  lower: [
    {
      name: 'unfold x, one product',
      when: needs(
        'one group and a known batch',
        ({ inputs: [x] }, _target, { groups }) => groups === 1 && isStatic(x.type.shape),
      ),
      pays: needs('more output channels than pixels', ({ inputs: [, dy] }) => {
        const [, k, ...map] = dy.type.shape as number[];
        return k > elementCount(map);
      }),
      emit: unfoldedAtOnce,
    },
    {
      name: 'unfold dy',
      when: needs(
        'one group, stride 1 and a map that keeps its size',
        (_node, _target, attrs) => attrs.groups === 1 && symmetric(attrs),
      ),
      pays: needs('the CPU and fewer output than input channels', (node, { provider }) => provider === 'cpu' && narrower(node)),
      emit: unfoldGradient,
    },
    { name: 'unfold x', emit: unfoldInput },
  ],
  flops: ([, dy], [dw]) => 2 * elementCount(dy.shape) * elementCount(dw.shape.slice(1)),
  evaluate([x, dy], attrs) {
    const shape = [dy.shape[1], x.shape[1] / attrs.groups, ...attrs.kernel];
    const dw = zeros(shape);
    eachTerm(planes(x.shape, shape, dy.shape, attrs), (iy, ix, iw) => {
      dw.data[iw] += dy.data[iy] * x.data[ix];
    });
    return [dw];
  },
  samples: () =>
    gradSamples(
      ([x, , y]) => [x, y],
      (attrs, _x, w) => ({ ...attrs, kernel: w.slice(2) }),
    ),
});

/** A kernel that keeps the map's size: then x and dy can change places in the unfolding. */
function symmetric({ strides, pads, dilations, kernel }: WeightGradAttrs): boolean {
  const half = kernel.length;
  return strides.every((s) => s === 1) && kernel.every((size, i) => pads[i] + pads[half + i] === dilations[i] * (size - 1));
}

function narrower(node: Node): boolean {
  return (node.inputs[1].type.shape[1] as number) < (node.inputs[0].type.shape[1] as number);
}

/**
 * The windows of a map [N,C,…] as channels: [N, C·taps, …], channel c·taps + t, by a convolution with one-hot kernels: a depthwise one, or where
 * WebGPU may run it, of all maps [N·C,1,…] with the kernels of one, as WebGPU's depthwise kernel is wrong here (see {@link standardConv}).
 */
function unfold(e: Emitter, value: Value, x: string, attrs: ConvAttrs, kernel: readonly number[]): string {
  const [, channels, ...map] = value.type.shape as number[];
  const taps = elementCount(kernel);
  if (taps === 1 && attrs.strides.every((s) => s === 1) && attrs.pads.every((p) => p === 0)) return x;
  const alone = mayRunOnWebgpu(e.target);
  const groups = alone ? 1 : channels;
  const oneHot = zeros([groups * taps, 1, ...kernel]);
  for (let c = 0; c < groups; c++) for (let t = 0; t < taps; t++) oneHot.data[(c * taps + t) * taps + t] = 1;
  const maps = alone ? e.reshape(x, [-1, 1, ...map]) : x;
  const windows = e.node('Conv', [maps, e.array(oneHot)], onnxAttrs({ ...attrs, groups }, kernel));
  if (!alone) return windows;
  const { strides, pads, dilations } = attrs;
  const out = map.map((size, i) => convSize(size, kernel[i], strides[i], dilations[i], pads[i], pads[map.length + i]));
  return e.reshape(windows, [-1, channels * taps, ...out]);
}

/** dw = Σ_n unfold(x) · dyᵀ: the unfolded map on the left. */
function unfoldInput(e: Emitter, node: Node, [x, dy]: readonly string[], attrs: WeightGradAttrs): string {
  const c = node.inputs[0].type.shape[1] as number;
  const k = node.inputs[1].type.shape[1] as number;
  const { groups, kernel } = attrs;
  const taps = elementCount(kernel);
  const rows = (c / groups) * taps;
  const windows = unfold(e, node.inputs[0], x, attrs, kernel);
  if (groups === 1) {
    const product = matmulTransposed(e, e.reshape(windows, [0, rows, -1]), e.reshape(dy, [0, k, -1]), 3);
    return e.reshape(e.transpose(e.reduce('ReduceSum', product, [0], false), [1, 0]), [k, c, ...kernel]);
  }
  const map = elementCount(node.inputs[1].type.shape.slice(2));
  const product = matmulTransposed(e, e.reshape(windows, [0, groups, rows, map]), e.reshape(dy, [0, groups, k / groups, map]), 4);
  return e.reshape(e.transpose(e.reduce('ReduceSum', product, [0], false), [0, 2, 1]), [k, c / groups, ...kernel]);
}

/**
 * dw = dy · unfold(x)ᵀ with the samples one behind the other in the inner dimension: two transposed copies of maps, but no [N, K, C·taps] of products to be
 * summed, which for small maps of many channels is far larger than these.
 */
function unfoldedAtOnce(e: Emitter, node: Node, [x, dy]: readonly string[], attrs: WeightGradAttrs): string {
  const c = node.inputs[0].type.shape[1] as number;
  const [n, k, ...map] = node.inputs[1].type.shape as number[];
  const { kernel } = attrs;
  const rows = c * elementCount(kernel);
  const length = n * elementCount(map);
  const inner = (name: string, channels: number) =>
    e.reshape(e.transpose(e.reshape(name, [n, channels, -1]), [1, 0, 2]), [channels, length]);
  const product = matmulTransposed(e, inner(dy, k), inner(unfold(e, node.inputs[0], x, attrs, kernel), rows), 2);
  return e.reshape(product, [k, c, ...kernel]);
}

/** dw with dy unfolded in place of x, its taps mirrored: fewer channels to unfold where K < C. */
function unfoldGradient(e: Emitter, node: Node, [x, dy]: readonly string[], attrs: WeightGradAttrs): string {
  const c = node.inputs[0].type.shape[1] as number;
  const k = node.inputs[1].type.shape[1] as number;
  const { kernel } = attrs;
  const taps = elementCount(kernel);
  const windows = unfold(e, node.inputs[1], dy, flippedAttrs(attrs, kernel), kernel);
  const product = matmulTransposed(e, e.reshape(windows, [0, k * taps, -1]), e.reshape(x, [0, c, -1]), 3);
  const sum = e.reshape(e.reduce('ReduceSum', product, [0], false), [k, taps, c]);
  return e.reshape(e.transpose(taps === 1 ? sum : mirrored(e, sum, [1]), [0, 2, 1]), [k, c, ...kernel]);
}
