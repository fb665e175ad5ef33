/*
 * Convolution (cross-correlation), 1-D and 2-D, with stride s, dilation d, padding p and groups.
 *
 *   y[n,k,i]  = Σ_{c,t} x[n, c, i·s + t·d − p] · w[k,c,t]  (+ b[k])
 *   dx[n,c,j] = Σ_{k,t} dy[n, k, (j + p − t·d)/s] · w[k,c,t]          where the quotient is whole and inside
 *   dw[k,c,t] = Σ_{n,i} dy[n,k,i] · x[n, c, i·s + t·d − p]
 *   db[k]     = Σ_{n,i} dy[n,k,i]
 *
 * With s = 1, dx is the convolution of dy with w transposed (k ↔ c) and flipped, padded by d·(k−1) − p.
 * dw is in `conv-weight-grad.ts`.
 */
import { type Emitter, NCHWC } from '../emit/emitter.ts';
import { mayRunOnWebgpu, needs, type Target } from '../emit/lowering.ts';
import { concatOf, splitInto } from '../emit/pieces.ts';
import type { Node } from '../ir/graph.ts';
import { type NDArray, ndarray, zeros } from '../ir/ndarray.ts';
import { defineOp, type Sample, type Site } from '../ir/op.ts';
import { type Dim, elementCount, formatShape, type TensorType } from '../ir/types.ts';
import { wave } from './samples.ts';
import { requireDType, requireKnown, requireRank, requireWhole, shapeError } from './shapes.ts';

/** Window geometry, a value for each map axis (one for [N,C,L], two for [N,C,H,W]); pads: the begins, then the ends. */
export type ConvAttrs = {
  readonly strides: readonly number[];
  readonly pads: readonly number[];
  readonly dilations: readonly number[];
  readonly groups: number;
};
/** `size`: the map size of the input whose gradient is asked for. */
type InputGradAttrs = ConvAttrs & { readonly size: readonly number[] };

/** Map size after a convolution: ⌊(size + pads − dilation·(kernel − 1) − 1) / stride⌋ + 1. */
export function convSize(size: number, kernel: number, stride: number, dilation: number, before: number, after: number): number {
  return Math.floor((size + before + after - dilation * (kernel - 1) - 1) / stride) + 1;
}

/** What a convolution asks of its first input and of its sizes; the language asks it before it makes the weight. */
export function requireConvSizes(
  inputs: readonly TensorType[],
  filters: Dim,
  kernel: readonly Dim[],
  groups: number,
  site: Site,
): void {
  const [x] = inputs;
  requireRank(x, [3, 4], site, '[N,C,L] or [N,C,H,W]');
  requireKnown(x, 1, inputs, site);
  requireWhole('filters', filters, 1, inputs, site);
  requireWhole('kernel', kernel, 1, inputs, site);
  requireWhole('groups', groups, 1, inputs, site);
  for (const [what, channels] of [
    ['', x.shape[1] as number],
    ['output ', filters as number],
  ] as const) {
    if (channels % groups !== 0) {
      const sentence = `${channels} ${what}channels are not divisible by ${groups} groups`;
      throw shapeError(site, 'SHAPE_ATTRIBUTE', sentence, inputs, 'choose groups that divide the channels');
    }
  }
}

function inferConv(inputs: readonly TensorType[], attrs: ConvAttrs, site: Site): readonly TensorType[] {
  const [x, w, bias] = inputs;
  requireDType(inputs, 'float32', site);
  requireConvSizes(inputs, w.shape[0], w.shape.slice(2), attrs.groups, site);
  const ofWeight = { ...site, labels: site.labels.slice(1) };
  const hint = 'the kernel needs a size for each axis of the map';
  requireRank(w, [x.shape.length], ofWeight, `a weight of ${x.shape.length} dimensions`, hint);
  const [n, c, ...map] = x.shape as [Dim, number, ...number[]];
  const [k, perGroup, ...kernel] = w.shape as number[];
  const { strides, pads, dilations, groups } = attrs;
  const fail = (sentence: string, hint?: string) => shapeError(site, 'SHAPE_ATTRIBUTE', sentence, inputs, hint);
  for (const [label, list, length] of [
    ['strides', strides, map.length],
    ['dilations', dilations, map.length],
    ['pads', pads, 2 * map.length],
  ] as const) {
    if (list.length !== length) throw fail(`${label} must have ${length} values, got ${list.length}`);
    requireWhole(label, list, label === 'pads' ? 0 : 1, inputs, site);
  }
  if (c !== perGroup * groups) {
    const sentence = `input has ${c} channels, weight expects ${perGroup * groups}`;
    throw shapeError(site, 'SHAPE_MISMATCH', sentence, inputs, `make the weight for ${c} input channels`);
  }
  if (bias && (bias.shape.length !== 1 || bias.shape[0] !== k)) {
    throw shapeError(site, 'SHAPE_MISMATCH', `bias is ${formatShape(bias.shape)}, expected [${k}]`, inputs);
  }
  const half = map.length;
  const out = map.map((size, i) => convSize(size, kernel[i], strides[i], dilations[i], pads[i], pads[half + i]));
  if (out.some((size) => size < 1)) {
    const padded = map.map((size, i) => size + pads[i] + pads[half + i]).join('x');
    const reach = kernel.map((size, i) => dilations[i] * (size - 1) + 1).join('x');
    throw fail(`kernel ${reach} does not fit the padded input ${padded}`, 'add padding, or pool less before');
  }
  return [{ dtype: 'float32', shape: [n, k, ...out] }];
}

/** A convolution's sizes with 1-D taken as 2-D of height 1: what the reference loops run over. */
export function planes(x: readonly number[], w: readonly number[], y: readonly number[], attrs: ConvAttrs) {
  const flat = x.length === 3;
  const pair = (list: readonly number[], one: number) => (flat ? [one, list[0]] : [list[0], list[1]]);
  const map = (shape: readonly number[]) => (flat ? [1, shape[2]] : [shape[2], shape[3]]);
  return {
    samples: x[0],
    channels: x[1],
    filters: w[0],
    channelsPerGroup: w[1],
    filtersPerGroup: w[0] / attrs.groups,
    input: map(x),
    kernel: map(w),
    output: map(y),
    strides: pair(attrs.strides, 1),
    dilations: pair(attrs.dilations, 1),
    pads: pair(attrs.pads, 0),
  };
}

/** Visits every (output, input, weight) triple of element offsets that a convolution multiplies. */
export function eachTerm(sizes: ReturnType<typeof planes>, visit: (y: number, x: number, w: number) => void): void {
  const { samples, channels, filters, channelsPerGroup, filtersPerGroup, strides, dilations, pads } = sizes;
  const [height, width] = sizes.input;
  const [kernelHeight, kernelWidth] = sizes.kernel;
  const [rows, columns] = sizes.output;
  for (let n = 0; n < samples; n++)
    for (let k = 0; k < filters; k++)
      for (let i = 0; i < rows; i++)
        for (let j = 0; j < columns; j++) {
          const y = ((n * filters + k) * rows + i) * columns + j;
          for (let c = 0; c < channelsPerGroup; c++) {
            const plane = n * channels + Math.floor(k / filtersPerGroup) * channelsPerGroup + c;
            for (let u = 0; u < kernelHeight; u++) {
              const row = i * strides[0] + u * dilations[0] - pads[0];
              if (row < 0 || row >= height) continue;
              for (let v = 0; v < kernelWidth; v++) {
                const column = j * strides[1] + v * dilations[1] - pads[1];
                if (column < 0 || column >= width) continue;
                const w = ((k * channelsPerGroup + c) * kernelHeight + u) * kernelWidth + v;
                visit(y, (plane * height + row) * width + column, w);
              }
            }
          }
        }
}

export function onnxAttrs(attrs: ConvAttrs, kernel: readonly number[]) {
  const { strides, pads, dilations, groups } = attrs;
  return { strides, pads, dilations, group: groups, kernel_shape: kernel };
}

/**
 * The standard node, its weight of the given shape [K,C/groups,…]. WebGPU's kernel for groups of four filters and more computes several channels at a time
 * (4 where 4 divides K, else 2), all with the inputs of the first one's group, also where they belong to two: there, each group is a convolution of its own.
 */
function standardConv(e: Emitter, [x, w, bias]: readonly string[], shape: readonly number[], attrs: ConvAttrs): string {
  const { groups } = attrs;
  const [k, perGroup, ...kernel] = shape;
  const filters = k / groups;
  const together = k % 4 === 0 ? 4 : k % 2 === 0 ? 2 : 1;
  const apart = mayRunOnWebgpu(e.target) && groups > 1 && filters >= 4 && filters % together !== 0;
  if (!apart) return e.node('Conv', bias === undefined ? [x, w] : [x, w, bias], onnxAttrs(attrs, kernel));
  const cut = (name: string, size: number, axis: number) => splitInto(e, name, new Array<number>(groups).fill(size), axis);
  const maps = cut(x, perGroup, 1);
  const weights = cut(w, filters, 0);
  const biases = bias === undefined ? null : cut(bias, filters, 0);
  const one = onnxAttrs({ ...attrs, groups: 1 }, kernel);
  const parts = maps.map((map, i) => e.node('Conv', [map, weights[i], ...(biases ? [biases[i]] : [])], one));
  return concatOf(e, parts, 1);
}

/**
 * The weight as ONNX Runtime's blocked kernels want it: [K/b, C/b, kh, kw, b in, b out] in the shape [K,C,kh,kw]. Two transposes that move one axis each: the
 * one of six axes at once takes up to ten times as long.
 */
function blockedWeight(e: Emitter, w: string, [k, c, ...kernel]: readonly number[], block: number): string {
  const taps = elementCount(kernel);
  const outside = e.transpose(e.reshape(w, [k / block, block, c * taps]), [0, 2, 1]);
  if (c < block || taps === 1) return e.reshape(outside, [k, c, ...kernel]);
  const inside = e.transpose(e.reshape(outside, [(k * c) / block ** 2, block, taps, block]), [0, 2, 1, 3]);
  return e.reshape(inside, [k, c, ...kernel]);
}

/** w [K,C,kh,kw] with K and C exchanged and every map axis reversed, blocked: [C/b, K/b, kh, kw, b of K, b of C] in the shape [C,K,kh,kw]. */
function blockedFlippedWeight(e: Emitter, w: string, [k, c, ...kernel]: readonly number[], block: number): string {
  const taps = elementCount(kernel);
  const exchanged = e.transpose(e.reshape(w, [k, c / block, block * taps]), [1, 0, 2]);
  if (taps === 1) return e.reshape(exchanged, [c, k, ...kernel]);
  const blocks = e.transpose(e.reshape(exchanged, [(k * c) / block ** 2, block ** 2, taps]), [0, 2, 1]);
  return e.reshape(mirrored(e, e.reshape(blocks, [(k * c) / block ** 2, taps, block ** 2]), [1]), [c, k, ...kernel]);
}

/** An array with some axes reversed. */
export function mirrored(e: Emitter, x: string, axes: readonly number[]): string {
  const lists = [axes.map(() => -1), axes.map(() => -(2 ** 31)), axes, axes.map(() => -1)];
  return e.node('Slice', [x, ...lists.map((list) => e.ints(list))]);
}

const blockNeeds = 'blocked kernels (CPU) and channels that their block divides';
const flipNeeds = 'stride 1 and no more padding than the kernel reaches';

/** Whether the blocked kernels take `c` input and `k` output channels (an image's few channels are read planar). */
function fitsBlock(c: number, k: number, rank: number, groups: number, { block }: Target): boolean {
  return block > 0 && rank === 4 && groups === 1 && k % block === 0 && (c % block === 0 || c < block);
}

/** The blocked kernel on a blocked weight, whose `shape` is that of the planar one. */
function blockedConv(e: Emitter, node: Node, weight: string, shape: readonly number[], attrs: ConvAttrs, bias?: string): string {
  const [x] = node.inputs;
  const input = shape[1] < e.target.block ? e.planar(x) : e.blocked(x);
  const inputs = [input, weight, ...(bias ? [bias] : [])];
  const name = e.node('Conv', inputs, onnxAttrs(attrs, shape.slice(2)), NCHWC);
  e.setBlocked(node.outputs[0], name);
  return '';
}

export const conv = defineOp<ConvAttrs>('conv', {
  summary: 'Convolution of x [N,C,H,W] (or [N,C,L]) with w [K,C/groups,kh,kw] and an optional bias [K].',
  properties: { products: true },
  infer: inferConv,
  vjp(graph, { inputs: [x, w, bias], grads, wanted }, attrs) {
    const dy = grads[0]!;
    const [size, kernel] = [x, w].map((value) => value.type.shape.slice(2) as number[]);
    const axes = [0, ...size.map((_, i) => i + 2)];
    return [
      wanted[0] ? graph.op('convInputGrad', [dy, w], { ...attrs, size }) : null,
      wanted[1] ? graph.op('convWeightGrad', [x, dy], { ...attrs, kernel }) : null,
      bias && wanted[2] ? graph.op('reduceSum', [dy], { axes, keepdims: false }) : null,
    ];
  },
  lower: [
    {
      name: 'nchwc',
      when: needs(blockNeeds, (node, target, attrs) => {
        const [k, c] = node.inputs[1].type.shape as number[];
        return fitsBlock(c, k, node.inputs[0].type.shape.length, attrs.groups, target);
      }),
      emit(e, node, [, w, bias], attrs) {
        const shape = node.inputs[1].type.shape as number[];
        return blockedConv(e, node, blockedWeight(e, w, shape, e.target.block), shape, attrs, bias);
      },
    },
    {
      name: 'standard',
      emit: (e, node, x, attrs) => standardConv(e, x, node.inputs[1].type.shape as number[], attrs),
    },
  ],
  flops: ([, w], [y]) => 2 * elementCount(y.shape) * elementCount(w.shape.slice(1)),
  evaluate([x, w, bias], attrs) {
    const shape = inferConv([x, w], attrs, { op: 'conv', scope: '', labels: [] })[0].shape as number[];
    const y = zeros(shape);
    eachTerm(planes(x.shape, w.shape, shape, attrs), (iy, ix, iw) => {
      y.data[iy] += x.data[ix] * w.data[iw];
    });
    if (bias) {
      const plane = elementCount(shape.slice(2));
      for (let i = 0; i < y.data.length; i++) y.data[i] += bias.data[Math.floor(i / plane) % shape[1]];
    }
    return [y];
  },
  absorb(graph, node, [x, w, bias], { scale, shift }) {
    if (!w.constant || (bias && !bias.constant)) return null;
    const perFilter = elementCount(w.constant.shape.slice(1));
    const weight = w.constant.data.slice();
    scale.data.forEach((factor, k) => {
      for (let i = k * perFilter; i < (k + 1) * perFilter; i++) weight[i] = Math.fround(weight[i] * factor);
    });
    const moved = Float64Array.from(shift.data, (value, k) =>
      Math.fround(value + (bias?.constant?.data[k] ?? 0) * scale.data[k]),
    );
    const inputs = [x, graph.constant({ ...w.constant, data: weight }, w.name), graph.constant(ndarray(shift.shape, moved))];
    return graph.add(node.op, inputs, node.attrs)[0];
  },
  samples: () =>
    geometries.flatMap(({ name, x, w, attrs }) => [
      { name, inputs: [wave(x, 1), wave(w, 2)], attrs },
      ...(name === 'plain 3x3' ? [{ name: 'with bias', inputs: [wave(x, 1), wave(w, 2), wave([w[0]], 3)], attrs }] : []),
    ]),
});

export const convInputGrad = defineOp<InputGradAttrs>('convInputGrad', {
  summary: 'Gradient of a convolution by its input, from dy [N,K,…] and w [K,C/groups,…]; `size` is the input’s map size.',
  properties: { products: true },
  infer([dy, w], attrs) {
    return [{ dtype: 'float32', shape: [dy.shape[0], (w.shape[1] as number) * attrs.groups, ...attrs.size] }];
  },
  vjp: { none: 'second derivatives are not supported' },
  lower: [
    {
      name: 'nchwc flipped',
      when: needs(`${flipNeeds}, ${blockNeeds}`, (node, target, attrs) => {
        const [k, c] = node.inputs[1].type.shape as number[];
        return (
          flippable(node, attrs) &&
          fitsBlock(k, c, node.inputs[0].type.shape.length, attrs.groups, target) &&
          k % target.block === 0
        );
      }),
      emit(e, node, [, w], attrs) {
        const [k, c, ...kernel] = node.inputs[1].type.shape as number[];
        const weight = blockedFlippedWeight(e, w, [k, c, ...kernel], e.target.block);
        return blockedConv(e, node, weight, [c, k, ...kernel], flippedAttrs(attrs, kernel));
      },
    },
    {
      name: 'flipped',
      when: needs(flipNeeds, (node, _target, attrs) => flippable(node, attrs)),
      emit(e, node, [dy, w], attrs) {
        const { groups } = attrs;
        const [k, perGroup, ...kernel] = node.inputs[1].type.shape as number[];
        const weight = flipped(e, w, [k, perGroup, ...kernel], groups);
        return standardConv(e, [dy, weight], [perGroup * groups, k / groups, ...kernel], flippedAttrs(attrs, kernel));
      },
    },
    {
      name: 'transposed',
      emit(e, node, [dy, w], attrs) {
        const { strides, pads, dilations, size } = attrs;
        const kernel = node.inputs[1].type.shape.slice(2) as number[];
        const out = node.inputs[0].type.shape.slice(2) as number[];
        const reach = out.map((length, i) => (length - 1) * strides[i] + dilations[i] * (kernel[i] - 1) + 1);
        const padding = size.map((length, i) => length - (reach[i] - pads[i] - pads[size.length + i]));
        return e.node('ConvTranspose', [dy, w], { ...onnxAttrs(attrs, kernel), strides, dilations, output_padding: padding });
      },
    },
  ],
  flops: ([dy, w]) => 2 * elementCount(dy.shape) * elementCount(w.shape.slice(1)),
  evaluate([dy, w], attrs) {
    const shape = [dy.shape[0], w.shape[1] * attrs.groups, ...attrs.size];
    const dx = zeros(shape);
    eachTerm(planes(shape, w.shape, dy.shape, attrs), (iy, ix, iw) => {
      dx.data[ix] += dy.data[iy] * w.data[iw];
    });
    return [dx];
  },
  samples: () =>
    gradSamples(
      ([, w, y]) => [y, w],
      (attrs, x) => ({ ...attrs, size: x.slice(2) }),
    ),
});

/** Stride 1, and no more padding than the kernel reaches: then the flipped convolution's padding is not negative. */
function flippable(node: Node, { strides, pads, dilations }: ConvAttrs): boolean {
  const kernel = node.inputs[1].type.shape.slice(2) as number[];
  return (
    strides.every((s) => s === 1) && pads.every((pad, i) => pad <= dilations[i % kernel.length] * (kernel[i % kernel.length] - 1))
  );
}

export function flippedAttrs({ strides, pads, dilations, groups }: ConvAttrs, kernel: readonly number[]): ConvAttrs {
  const flip = pads.map((pad, i) => dilations[i % kernel.length] * (kernel[i % kernel.length] - 1) - pad);
  return { strides, pads: flip, dilations, groups };
}

/** w [K,C/g,…] → [C,K/g,…] with every map axis reversed. */
function flipped(e: Emitter, w: string, [k, perGroup, ...kernel]: readonly number[], groups: number): string {
  const map = kernel.map((_, i) => i + 3);
  const swapped =
    groups === 1
      ? e.transpose(w, [1, 0, ...kernel.map((_, i) => i + 2)])
      : e.reshape(e.transpose(e.reshape(w, [groups, k / groups, perGroup, ...kernel]), [0, 2, 1, ...map]), [
          groups * perGroup,
          k / groups,
          ...kernel,
        ]);
  const axes = kernel.flatMap((size, i) => (size > 1 ? [i + 2] : []));
  return axes.length === 0 ? swapped : mirrored(e, swapped, axes);
}

const plain: ConvAttrs = { strides: [1, 1], pads: [1, 1, 1, 1], dilations: [1, 1], groups: 1 };
const geometries: readonly { name: string; x: number[]; w: number[]; attrs: ConvAttrs }[] = [
  { name: 'plain 3x3', x: [2, 2, 4, 5], w: [3, 2, 3, 3], attrs: plain },
  { name: 'stride 2', x: [1, 2, 6, 5], w: [2, 2, 3, 3], attrs: { ...plain, strides: [2, 2] } },
  {
    name: 'stride 3 leaves pixels over',
    x: [1, 1, 6, 7],
    w: [2, 1, 2, 2],
    attrs: { ...plain, strides: [3, 3], pads: [0, 0, 0, 0] },
  },
  { name: 'dilation 2', x: [1, 2, 6, 6], w: [2, 2, 3, 3], attrs: { ...plain, dilations: [2, 2], pads: [2, 2, 2, 2] } },
  { name: 'asymmetric pads, 2x3', x: [1, 2, 4, 4], w: [2, 2, 2, 3], attrs: { ...plain, pads: [0, 1, 2, 0] } },
  { name: 'more padding than the kernel reaches', x: [1, 1, 3, 3], w: [2, 1, 1, 2], attrs: { ...plain, pads: [1, 2, 0, 2] } },
  { name: '1x1', x: [2, 3, 2, 3], w: [2, 3, 1, 1], attrs: { ...plain, pads: [0, 0, 0, 0] } },
  { name: '1x1 with stride 2', x: [2, 3, 3, 4], w: [2, 3, 1, 1], attrs: { ...plain, strides: [2, 2], pads: [0, 0, 0, 0] } },
  { name: 'two groups', x: [2, 4, 3, 3], w: [6, 2, 3, 3], attrs: { ...plain, groups: 2 } },
  { name: 'two groups of six', x: [1, 12, 3, 3], w: [12, 6, 3, 3], attrs: { ...plain, groups: 2 } },
  { name: 'depthwise', x: [2, 3, 4, 4], w: [3, 1, 3, 3], attrs: { ...plain, groups: 3, strides: [2, 1] } },
  { name: '1-D', x: [2, 2, 7], w: [3, 2, 3], attrs: { strides: [2], pads: [1, 0], dilations: [1], groups: 1 } },
  { name: 'one pixel', x: [1, 1, 1, 1], w: [1, 1, 1, 1], attrs: { ...plain, pads: [0, 0, 0, 0] } },
  { name: 'a block of channels', x: [1, 16, 3, 3], w: [16, 16, 3, 3], attrs: plain },
  { name: 'blocks of channels, 2x1', x: [1, 32, 3, 2], w: [16, 32, 2, 1], attrs: { ...plain, pads: [1, 0, 0, 0] } },
  { name: 'blocks of channels, 1x1', x: [2, 16, 2, 1], w: [32, 16, 1, 1], attrs: { ...plain, pads: [0, 0, 0, 0] } },
  { name: 'an image to a block of channels', x: [1, 3, 5, 5], w: [16, 3, 3, 3], attrs: { ...plain, strides: [2, 2] } },
  { name: 'fewer output channels', x: [2, 4, 4, 3], w: [2, 4, 3, 3], attrs: { ...plain, pads: [0, 1, 2, 1] } },
];

export function gradSamples<A extends ConvAttrs>(
  pick: (arrays: readonly [x: NDArray, w: NDArray, y: NDArray]) => readonly NDArray[],
  extend: (attrs: ConvAttrs, x: readonly number[], w: readonly number[]) => A,
): (Omit<Sample, 'attrs'> & { attrs: A })[] {
  return geometries.map(({ name, x, w, attrs }) => {
    const types = [x, w].map((shape) => ({ dtype: 'float32' as const, shape }));
    const y = inferConv(types, attrs, { op: 'conv', scope: '', labels: [] })[0].shape as number[];
    return { name, inputs: pick([wave(x, 1), wave(w, 2), wave(y, 3)]), attrs: extend(attrs, x, w) };
  });
}
