/*
 * Batch norm of x [N,C,…], m = N·H·W values a channel.
 *
 * With the batch's own mean μ and biased variance v:
 *
 *   r = 1 / √(v + ε)      x̂ = (x − μ)·r      y = w·x̂ + b
 *   dx = w·r·(dy − Σdy / m − x̂·Σ(dy·x̂) / m)      dw = Σ dy·x̂      db = Σ dy
 *   and through the outputs μ and v, where a loss reads them:  dx += dμ / m + dv · 2(x − μ) / m
 *
 * With given mean and variance (inference), each channel is an affine map, y = (w·r)·x + (b − w·r·μ):
 *
 *   dx = w·r·dy      dw = r·Σ dy·(x − μ)      db = Σ dy      dμ = −w·r·db      dv = −½·w·r²·dw
 *
 * In the ONNX forms s = x − k takes the place of x, k the mean of a few values of the channel (see `norm-rows.ts`), with d = μ − k:
 *
 *   y = A·s + B      A = w·r      B = b − A·d
 *   dx = A·dy + P·s + Q      P = −A·r·dw / m      Q = −A·db / m − P·d
 */
import type { Emitter } from '../emit/emitter.ts';
import type { Graph, Value } from '../ir/graph.ts';
import { type NDArray, ndarray, scalar, zeros } from '../ir/ndarray.ts';
import { defineOp, type Sample } from '../ir/op.ts';
import { elementCount, type Shape } from '../ir/types.ts';
import { requireChannels, requireEpsilon, scattered } from './norm-inputs.ts';
import { inverseRoot, longRows, probe, type Rows, reshapeTo, rowDots, rowSums, rowsByConv, rowsOf } from './norm-rows.ts';
import { requireSameShape } from './shapes.ts';

/** `epsilon` is added to the variance. */
export type BatchNormAttrs = { epsilon: number };

/** Sums over samples and places of each channel, of what `sums` [N·C,1] holds for each sample and channel → [1,C,1]. */
function overSamples(e: Emitter, sums: string, channels: number): string {
  return e.reduce('ReduceSum', e.reshape(sums, [-1, channels, 1]), [0], true);
}

/** 1 / m as a value: a constant, or from the shape of x [N,C,H·W] at run time. */
function reciprocalCount(e: Emitter, shape: Shape, x: string, size: number): string {
  if (typeof shape[0] === 'number') return e.floats(1 / (shape[0] * size));
  const batch = e.node('Gather', [e.node('Shape', [x]), e.ints(0)]);
  return e.node('Reciprocal', [e.node('Mul', [e.node('Cast', [batch], { to: 1 }), e.floats(size)])]);
}

interface ChannelMoments {
  readonly rows: Rows;
  /** s [N,C,H·W]. */
  readonly shifted: string;
  /** k, d, v and r, each [1,C,1]; 1/m. */
  readonly shift: string;
  readonly mean: string;
  readonly variance: string;
  readonly inverse: string;
  readonly portion: string;
}

function channelMoments(e: Emitter, shape: Shape, x: string, epsilon: number, conv: boolean): ChannelMoments {
  const channels = shape[1] as number;
  const rows = rowsOf(shape, channels, conv);
  const flat = e.reshape(x, [-1, channels, rows.size]);
  const few = probe(e, e.reshape(x, [-1, rows.size]), rows.size);
  const shift = e.reduce('ReduceMean', e.reshape(few, [-1, channels, 1]), [0], true);
  const shifted = e.node('Sub', [flat, shift]);
  const portion = reciprocalCount(e, shape, x, rows.size);
  const mean = e.node('Mul', [overSamples(e, rowSums(e, shifted, rows), channels), portion]);
  const squares = e.node('Mul', [overSamples(e, rowDots(e, shifted, shifted, rows), channels), portion]);
  const variance = e.node('Sub', [squares, e.node('Mul', [mean, mean])]);
  return { rows, shifted, shift, mean, variance, inverse: inverseRoot(e, variance, epsilon), portion };
}

/** a·x + b, plus `plus`; x [N,C,H·W], a and b [1,C,1]. */
function channelAffine(e: Emitter, x: string, a: string, b: string | null, rows: Rows, channels: number, plus?: string): string {
  if (!rows.conv) {
    let y = e.node('Mul', [e.reshape(x, [-1, channels, rows.size]), a]);
    if (b !== null) y = e.node('Add', [y, b]);
    return plus === undefined ? y : e.node('Add', [y, plus]);
  }
  const map = (value: string) => e.reshape(value, [-1, channels, 1, rows.size]);
  const inputs = [map(x), e.reshape(a, [channels, 1, 1, 1]), ...(b === null ? [] : [e.reshape(b, [channels])])];
  if (plus === undefined) return e.node('Conv', inputs, { group: channels });
  return e.node('FusedConv', [...inputs, ...(b === null ? [''] : []), map(plus)], { group: channels }, 'com.microsoft');
}

function emitForward(e: Emitter, shape: Shape, [x, w, b]: readonly string[], epsilon: number, conv: boolean): string[] {
  const channels = shape[1] as number;
  const { rows, shifted, shift, mean, variance, inverse } = channelMoments(e, shape, x, epsilon, conv);
  const a = e.node('Mul', [inverse, e.reshape(w, [1, channels, 1])]);
  const offset = e.node('Sub', [e.reshape(b, [1, channels, 1]), e.node('Mul', [a, mean])]);
  const y = channelAffine(e, shifted, a, offset, rows, channels);
  return [reshapeTo(e, y, shape), e.reshape(e.node('Add', [shift, mean]), [channels]), e.reshape(variance, [channels])];
}

function emitGradient(e: Emitter, shape: Shape, [x, w, dy]: readonly string[], epsilon: number, conv: boolean): string[] {
  const channels = shape[1] as number;
  const { rows, shifted, mean, inverse, portion } = channelMoments(e, shape, x, epsilon, conv);
  const db = overSamples(e, rowSums(e, dy, rows), channels);
  const dots = overSamples(e, rowDots(e, dy, shifted, rows), channels);
  const dw = e.node('Mul', [inverse, e.node('Sub', [dots, e.node('Mul', [mean, db])])]);
  const a = e.node('Mul', [inverse, e.reshape(w, [1, channels, 1])]);
  const share = e.node('Neg', [e.node('Mul', [a, portion])]);
  const p = e.node('Mul', [e.node('Mul', [share, inverse]), dw]);
  const q = e.node('Sub', [e.node('Mul', [share, db]), e.node('Mul', [p, mean])]);
  const rest = channelAffine(e, shifted, p, q, rows, channels);
  const dx = channelAffine(e, dy, a, null, rows, channels, rest);
  return [reshapeTo(e, dx, shape), e.reshape(dw, [channels]), e.reshape(db, [channels])];
}

/** Values of each channel of x [N,C,…], by their places in `data`. */
function placesOf(x: NDArray): number[][] {
  const channels = x.shape[1];
  const area = elementCount(x.shape.slice(2));
  const places: number[][] = Array.from({ length: channels }, () => []);
  for (let i = 0; i < x.data.length; i++) places[Math.floor(i / area) % channels].push(i);
  return places;
}

function channelStatistics(x: NDArray): { places: number[]; mean: number; variance: number }[] {
  return placesOf(x).map((places) => {
    const mean = places.reduce((sum, i) => sum + x.data[i], 0) / places.length;
    const variance = places.reduce((sum, i) => sum + (x.data[i] - mean) ** 2, 0) / places.length;
    return { places, mean, variance };
  });
}

function evaluateForward([x, w, b]: readonly NDArray[], epsilon: number): NDArray[] {
  const statistics = channelStatistics(x);
  const y = zeros(x.shape);
  statistics.forEach(({ places, mean, variance }, channel) => {
    const inverse = 1 / Math.sqrt(variance + epsilon);
    for (const i of places) y.data[i] = w.data[channel] * (x.data[i] - mean) * inverse + b.data[channel];
  });
  const vector = (values: number[]) => ndarray([values.length], values);
  return [y, vector(statistics.map(({ mean }) => mean)), vector(statistics.map(({ variance }) => variance))];
}

function evaluateGradient([x, w, dy]: readonly NDArray[], epsilon: number): NDArray[] {
  const channels = x.shape[1];
  const [dx, dw, db] = [zeros(x.shape), zeros([channels]), zeros([channels])];
  channelStatistics(x).forEach(({ places, mean, variance }, channel) => {
    const inverse = 1 / Math.sqrt(variance + epsilon);
    const normal = (i: number) => (x.data[i] - mean) * inverse;
    for (const i of places) {
      dw.data[channel] += dy.data[i] * normal(i);
      db.data[channel] += dy.data[i];
    }
    for (const i of places) {
      const common = (db.data[channel] + normal(i) * dw.data[channel]) / places.length;
      dx.data[i] = w.data[channel] * inverse * (dy.data[i] - common);
    }
  });
  return [dx, dw, db];
}

type BatchSample = Omit<Sample, 'attrs'> & { attrs: BatchNormAttrs };

/** Samples over shapes; `others` makes the inputs after x. */
function batchSamples(others: (shape: readonly number[]) => NDArray[]): BatchSample[] {
  const sample = (name: string, shape: readonly number[], mean = 0, deviation = 1, epsilon = 1e-5) => ({
    name,
    inputs: [scattered(shape, mean, deviation), ...others(shape)],
    attrs: { epsilon },
  });
  return [
    sample('maps', [3, 2, 3, 2]),
    sample('sequences', [2, 3, 5]),
    sample('vectors', [5, 3]),
    sample('one channel', [4, 1, 2, 2]),
    sample('one sample', [1, 2, 2, 3]),
    sample('one value a channel', [1, 2, 1], 0, 1, 1e-2),
    sample('a large mean against a small deviation', [4, 2, 3, 3], 100, 0.01),
    sample('long rows', [2, 1, 20, 20], 3, 0.5),
  ];
}

const weightOf = (shape: readonly number[]) => scattered([shape[1]], 1, 0.4, 2);
const biasOf = (shape: readonly number[]) => scattered([shape[1]], 0, 0.5, 3);

/** dx through the outputs mean and variance: dμ / m + dv · 2(x − μ) / m. */
function throughStatistics(graph: Graph, x: Value, mean: Value, dmean: Value | null, dvariance: Value | null): Value[] {
  const { shape } = x.type;
  const wide = { shape: [1, shape[1], ...shape.slice(2).map(() => 1)] };
  const axes = shape.map((_, axis) => axis).filter((axis) => axis !== 1);
  const terms: Value[] = [];
  // The mean over the channel of a value that is the same at all its places, so its gradient is a share of 1/m each.
  const shared = (value: Value) => graph.op('div', [graph.op('reshape', [value], wide), graph.op('axisSize', [x], { axes })]);
  if (dmean) terms.push(graph.op('expand', [shared(dmean), x]));
  if (dvariance) {
    const centred = graph.op('sub', [x, graph.op('reshape', [mean], wide)]);
    const twice = graph.op('mul', [shared(dvariance), graph.constant(scalar(2))]);
    terms.push(graph.op('mul', [centred, twice]));
  }
  return terms;
}

export const batchNorm = defineOp<BatchNormAttrs>('batchNorm', {
  summary:
    'y = w · (x − mean) / √(var + ε) + b with the batch’s own mean and biased variance of each channel, which are outputs too; x [N,C,…], the others [C].',
  properties: {},
  infer(types, { epsilon }, site) {
    requireChannels(types, [1, 2], site);
    requireEpsilon(epsilon, types, site);
    return [types[0], types[1], types[1]];
  },
  vjp(graph, { inputs: [x, w], outputs: [, mean], grads: [dy, dmean, dvariance], wanted }, { epsilon }) {
    const [dx, dw, db] = dy ? graph.ops('batchNormGrad', [x, w, dy], { epsilon }) : [null, null, null];
    if (!wanted[0]) return [null, dw, db];
    const terms = throughStatistics(graph, x, mean, dmean, dvariance);
    return [[...(dx ? [dx] : []), ...terms].reduce((sum, term) => graph.op('add', [sum, term])), dw, db];
  },
  lower: [
    {
      name: 'rows by depthwise Conv',
      when: rowsByConv,
      pays: longRows,
      emit: (e, node, x, { epsilon }) => emitForward(e, node.inputs[0].type.shape, x, epsilon, true),
    },
    { name: 'rows', emit: (e, node, x, { epsilon }) => emitForward(e, node.inputs[0].type.shape, x, epsilon, false) },
  ],
  flops: ([x]) => 7 * elementCount(x.shape),
  evaluate: (arrays, { epsilon }) => evaluateForward(arrays, epsilon),
  samples: () => batchSamples((shape) => [weightOf(shape), biasOf(shape)]),
});

export const batchNormGrad = defineOp<BatchNormAttrs>('batchNormGrad', {
  summary: 'dx [N,C,…], dw [C] and db [C] of batchNorm, from x, w and dy.',
  properties: {},
  infer(types, { epsilon }, site) {
    requireChannels(types, [1], site);
    requireSameShape(types[0], types[2], types, site);
    requireEpsilon(epsilon, types, site);
    return [types[0], types[1], types[1]];
  },
  vjp: { none: 'second derivatives are not supported' },
  lower: [
    {
      name: 'rows by depthwise Conv',
      when: rowsByConv,
      pays: longRows,
      emit: (e, node, x, { epsilon }) => emitGradient(e, node.inputs[0].type.shape, x, epsilon, true),
    },
    { name: 'rows', emit: (e, node, x, { epsilon }) => emitGradient(e, node.inputs[0].type.shape, x, epsilon, false) },
  ],
  flops: ([x]) => 11 * elementCount(x.shape),
  evaluate: (arrays, { epsilon }) => evaluateGradient(arrays, epsilon),
  samples: () => batchSamples((shape) => [weightOf(shape), scattered(shape, 0, 1, 4)]),
});

export const batchNormInference = defineOp<BatchNormAttrs>('batchNormInference', {
  summary: 'y = w · (x − mean) / √(var + ε) + b with given mean and variance; x [N,C,…], the others [C].',
  properties: {},
  infer(types, { epsilon }, site) {
    requireChannels(types, [1, 2, 3, 4], site);
    requireEpsilon(epsilon, types, site);
    return [types[0]];
  },
  vjp(graph, { inputs: [x, w, , mean, variance], grads: [dy], wanted }, { epsilon }) {
    const { shape } = x.type;
    const wide = { shape: [1, shape[1], ...shape.slice(2).map(() => 1)] };
    const axes = shape.map((_, axis) => axis).filter((axis) => axis !== 1);
    const sum = (value: Value) => graph.op('reduceSum', [value], { axes, keepdims: false });
    const root = graph.op('sqrt', [graph.op('add', [variance, graph.constant(scalar(epsilon))])]);
    const inverse = graph.op('reciprocal', [root]);
    const slope = graph.op('mul', [w, inverse]);
    const dx = wanted[0] ? graph.op('mul', [dy!, graph.op('reshape', [slope], wide)]) : null;
    if (!wanted.slice(1).includes(true)) return [dx, null, null, null, null];
    const db = sum(dy!);
    const centred = graph.op('sub', [x, graph.op('reshape', [mean], wide)]);
    const dw = wanted[1] || wanted[4] ? graph.op('mul', [sum(graph.op('mul', [dy!, centred])), inverse]) : null;
    const dmean = wanted[3] ? graph.op('neg', [graph.op('mul', [slope, db])]) : null;
    const half = () => graph.op('mul', [graph.op('mul', [slope, inverse]), graph.constant(scalar(-0.5))]);
    return [dx, dw, db, dmean, wanted[4] ? graph.op('mul', [half(), dw!]) : null];
  },
  lower: [
    {
      name: 'BatchNormalization',
      emit(e, _node, x, { epsilon }) {
        // Before opset 14 nothing says that statistics are given; the onnx package's evaluator then moves them towards the batch's, unless the momentum is 1.
        return e.node('BatchNormalization', x, {
          epsilon: { float: epsilon },
          ...(e.target.opset < 14 && { momentum: { float: 1 } }),
        });
      },
    },
  ],
  flops: ([x]) => 2 * elementCount(x.shape),
  evaluate([x, w, b, mean, variance], { epsilon }) {
    const y = zeros(x.shape);
    placesOf(x).forEach((places, channel) => {
      const slope = w.data[channel] / Math.sqrt(variance.data[channel] + epsilon);
      for (const i of places) y.data[i] = (x.data[i] - mean.data[channel]) * slope + b.data[channel];
    });
    return [y];
  },
  affine({ inputs: [, ...given], attrs }) {
    const arrays = given.map((input) => input.constant);
    if (!arrays.every((array) => array !== undefined)) return null;
    const [w, b, mean, variance] = arrays.map((array) => array.data);
    const { epsilon } = attrs as BatchNormAttrs;
    const scale = w.map((weight, channel) => weight / Math.sqrt(variance[channel] + epsilon));
    const shift = b.map((bias, channel) => bias - mean[channel] * scale[channel]);
    return { scale: ndarray([scale.length], scale), shift: ndarray([shift.length], shift) };
  },
  samples: () =>
    batchSamples((shape) => [
      weightOf(shape),
      biasOf(shape),
      scattered([shape[1]], 0.1, 0.3, 5),
      scattered([shape[1]], 1, 0.3, 6),
    ]).filter(({ name }) => !name.startsWith('a large mean') && !name.startsWith('long rows')),
});
