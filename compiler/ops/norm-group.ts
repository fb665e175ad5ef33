/*
 * Group norm of x [N,C,…]: the C channels form G groups of C/G; a group of a sample has m = (C/G)·H·W values, one mean and one (biased) variance.
 *
 *   r = 1 / √(var + ε)       x̂ = (x − mean)·r       y = w·x̂ + b        w, b [C]
 *
 * With dx̂ = w·dy, and sums over a sample's group:
 *
 *   dx = r·(dx̂ − Σdx̂ / m − x̂·Σ(dx̂·x̂) / m)       dw = Σ dy·x̂       db = Σ dy      (over samples and places)
 *
 * In terms of s = x − k and d of `norm-rows.ts`, x̂ = r·(s − d), each of them is an affine map with coefficients for a channel or a group:
 *
 *   y = A·s + B              A = w·r          B = b − A·d
 *   dx = A·dy + P·s + Q      P = −r²·Σ(dx̂·x̂)/m      Q = −r·Σdx̂/m − P·d
 *
 * and Σdy and Σdy·s, for each sample and channel, are all that the gradient sums over the map.
 */
import { type Emitter, NCHWC } from '../emit/emitter.ts';
import { type Lowering, needs, type Target } from '../emit/lowering.ts';
import type { Node } from '../ir/graph.ts';
import { full, type NDArray, ndarray, zeros } from '../ir/ndarray.ts';
import type { Site } from '../ir/op.ts';
import { defineOp, type Sample } from '../ir/op.ts';
import { elementCount, isStatic, type Shape, type TensorType } from '../ir/types.ts';
import { requireChannels, requireEpsilon, scattered } from './norm-inputs.ts';
import {
  inverseRoot,
  longRows,
  type Moments,
  type Rows,
  reshapeTo,
  rowAffine,
  rowDots,
  rowMoments,
  rowSums,
  rowsByConv,
  rowsOf,
} from './norm-rows.ts';
import { requireSameShape, shapeError } from './shapes.ts';

/** `groups` divides the channels; `epsilon` is added to the variance. */
export type GroupNormAttrs = { groups: number; epsilon: number };

/** Sizes of a map and of its groups, and its rows by group and by channel. */
interface Layout {
  readonly channels: number;
  readonly groups: number;
  /** Channels of a group. */
  readonly members: number;
  readonly byGroup: Rows;
  readonly byChannel: Rows;
}

function layoutOf(shape: Shape, groups: number, conv: boolean): Layout {
  const channels = shape[1] as number;
  return {
    channels,
    groups,
    members: channels / groups,
    byGroup: rowsOf(shape, groups, conv),
    byChannel: rowsOf(shape, channels, conv),
  };
}

function inferGroups(x: TensorType, { groups, epsilon }: GroupNormAttrs, inputs: readonly TensorType[], site: Site): void {
  const channels = x.shape[1] as number;
  requireEpsilon(epsilon, inputs, site);
  if (!Number.isInteger(groups) || groups < 1 || channels % groups !== 0) {
    const sentence = `${channels} channels are not divisible by ${groups} groups`;
    throw shapeError(site, 'SHAPE_ATTRIBUTE', sentence, inputs, 'choose groups that divide the channels');
  }
}

/** r [N,G,1] times w [C] → A [N,G,C/G]. */
function slope(e: Emitter, weight: string, moments: Moments, { groups, members }: Layout): string {
  return e.node('Mul', [e.reshape(moments.inverse, [-1, groups, 1]), e.reshape(weight, [1, groups, members])]);
}

function emitForward(e: Emitter, shape: Shape, x: readonly string[], { groups, epsilon }: GroupNormAttrs, conv: boolean): string {
  const layout = layoutOf(shape, groups, conv);
  const moments = rowMoments(e, x[0], layout.byGroup, epsilon);
  const a = slope(e, x[1], moments, layout);
  const shift = e.node('Mul', [a, e.reshape(moments.mean, [-1, groups, 1])]);
  const b = e.node('Sub', [e.reshape(x[2], [1, groups, layout.members]), shift]);
  return reshapeTo(e, rowAffine(e, moments.shifted, a, b, layout.byChannel), shape);
}

/**
 * In the blocked layout, where a channel of a sample is a channel of [1,N·C,H,W]. With e the mean of a channel as a pooling finds it and s = x − e:
 *
 *   mean of the group = Σ (e + s̄) / members      o = e − that mean      var = Σ (mean of s² + 2o·s̄ + o²) / members
 *
 * so that nothing cancels, whatever the rounding of e; y = A·s + B is the last pass, which takes a sum and a ReLU behind it.
 */
function emitBlocked(e: Emitter, node: Node, [, w, b]: readonly string[], { groups, epsilon }: GroupNormAttrs): string {
  const [x] = node.inputs;
  const [n, channels, ...map] = x.type.shape as number[];
  const rows = n * channels;
  const members = channels / groups;
  const pooled = (name: string) => e.reshape(e.node('GlobalAveragePool', [name], {}, NCHWC), [n, groups, members]);
  const affine = (name: string, scale: string, shift: string) => {
    const attrs = { group: rows, kernel_shape: [1, 1], strides: [1, 1], pads: [0, 0, 0, 0], dilations: [1, 1] };
    return e.node('Conv', [name, e.reshape(scale, [rows, 1, 1, 1]), e.reshape(shift, [rows])], attrs, NCHWC);
  };
  const overGroup = (value: string) => (members === 1 ? value : e.reduce('ReduceMean', value, [2], true));
  const flat = e.reshape(e.blocked(x), [1, rows, ...map]);
  const estimate = pooled(flat);
  const s = affine(flat, e.array(full([rows, 1, 1, 1], 1)), e.node('Neg', [estimate]));
  const mean = pooled(s);
  const offset = e.node('Sub', [estimate, overGroup(e.node('Add', [estimate, mean]))]);
  const cross = e.node('Mul', [offset, e.node('Add', [e.node('Add', [mean, mean]), offset])]);
  const variance = overGroup(e.node('Add', [pooled(e.node('Mul', [s, s])), cross]));
  const a = e.node('Mul', [inverseRoot(e, variance, epsilon), e.reshape(w, [1, groups, members])]);
  const shift = e.node('Add', [e.node('Mul', [a, offset]), e.reshape(b, [1, groups, members])]);
  e.setBlocked(node.outputs[0], e.reshape(affine(s, a, shift), [n, channels, ...map]));
  return '';
}

function emitGradient(e: Emitter, shape: Shape, [x, w, dy]: readonly string[], attrs: GroupNormAttrs, conv: boolean): string[] {
  const { groups, epsilon } = attrs;
  const layout = layoutOf(shape, groups, conv);
  const { byGroup, byChannel, members, channels } = layout;
  const moments = rowMoments(e, x, byGroup, epsilon);
  const r = e.reshape(moments.inverse, [-1, groups, 1]);
  const d = e.reshape(moments.mean, [-1, groups, 1]);
  const weight = e.reshape(w, [1, groups, members]);
  // For each sample and channel [N,G,C/G]: Σdy and Σdy·x̂.
  const sums = e.reshape(rowSums(e, dy, byChannel), [-1, groups, members]);
  const dots = e.reshape(rowDots(e, dy, moments.shifted, byChannel), [-1, groups, members]);
  const normal = e.node('Mul', [r, e.node('Sub', [dots, e.node('Mul', [d, sums])])]);
  // For each sample and group [N,G,1], divided by −m.
  const mean = (value: string) =>
    e.node('Mul', [e.reduce('ReduceSum', e.node('Mul', [value, weight]), [2], true), e.floats(-1 / byGroup.size)]);
  const p = e.node('Mul', [e.node('Mul', [r, r]), mean(normal)]);
  const q = e.node('Sub', [e.node('Mul', [r, mean(sums)]), e.node('Mul', [p, d])]);
  const groupPart = rowAffine(e, moments.shifted, p, q, byGroup);
  const dx = rowAffine(e, dy, slope(e, w, moments, layout), null, byChannel, groupPart);
  const overSamples = (value: string) => e.reshape(e.reduce('ReduceSum', value, [0], false), [channels]);
  return [reshapeTo(e, dx, shape), overSamples(normal), overSamples(sums)];
}

/**
 * Each group of a sample as a channel of ONNX's kernel, then w and b for each channel of x. The kernel loses digits where a mean is large against the deviation,
 * so it gets x − mean. Written with axes as images have them: OpenCV 4.6 broadcasts no others.
 */
function emitGroupsAsChannels(
  e: Emitter,
  shape: Shape,
  [x, w, b]: readonly string[],
  { groups, epsilon }: GroupNormAttrs,
): string {
  const [, channels, ...map] = shape;
  const perChannel = (value: string) => e.reshape(value, [1, channels as number, ...map.map(() => 1)]);
  const wide = e.reshape(x, [-1, groups, elementCount(shape.slice(1)) / groups, 1]);
  const centred = e.node('Sub', [wide, e.reduce('ReduceMean', wide, [2, 3], true)]);
  const [ones, none] = [full([groups], 1), zeros([groups])].map((array) => e.array(array));
  const normal = e.node('InstanceNormalization', [centred, ones, none], { epsilon: { float: epsilon } });
  return e.node('Add', [e.node('Mul', [reshapeTo(e, normal, shape), perChannel(w)]), perChannel(b)]);
}

/** Mean and 1/√(var + ε) of each sample's groups. */
function momentsOf(x: NDArray, { groups, epsilon }: GroupNormAttrs): { mean: number; inverse: number }[] {
  const size = x.data.length / (x.shape[0] * groups);
  return Array.from({ length: x.shape[0] * groups }, (_, group) => {
    const row = x.data.subarray(group * size, (group + 1) * size);
    const mean = row.reduce((sum, value) => sum + value, 0) / size;
    const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / size;
    return { mean, inverse: 1 / Math.sqrt(variance + epsilon) };
  });
}

function evaluateForward([x, w, b]: readonly NDArray[], attrs: GroupNormAttrs): NDArray {
  const moments = momentsOf(x, attrs);
  const channels = x.shape[1];
  const area = elementCount(x.shape.slice(2));
  const perGroup = (channels / attrs.groups) * area;
  return ndarray(
    x.shape,
    x.data.map((value, i) => {
      const { mean, inverse } = moments[Math.floor(i / perGroup)];
      const channel = Math.floor(i / area) % channels;
      return w.data[channel] * (value - mean) * inverse + b.data[channel];
    }),
  );
}

function evaluateGradient([x, w, dy]: readonly NDArray[], attrs: GroupNormAttrs): NDArray[] {
  const moments = momentsOf(x, attrs);
  const channels = x.shape[1];
  const area = elementCount(x.shape.slice(2));
  const perGroup = (channels / attrs.groups) * area;
  const [dx, dw, db] = [zeros(x.shape), zeros([channels]), zeros([channels])];
  moments.forEach(({ mean, inverse }, group) => {
    let sum = 0;
    let dot = 0;
    const each = (visit: (i: number, channel: number, normal: number) => void) => {
      for (let i = group * perGroup; i < (group + 1) * perGroup; i++) {
        visit(i, Math.floor(i / area) % channels, (x.data[i] - mean) * inverse);
      }
    };
    each((i, channel, normal) => {
      dw.data[channel] += dy.data[i] * normal;
      db.data[channel] += dy.data[i];
      sum += w.data[channel] * dy.data[i];
      dot += w.data[channel] * dy.data[i] * normal;
    });
    each((i, channel, normal) => {
      dx.data[i] = inverse * (w.data[channel] * dy.data[i] - (sum + normal * dot) / perGroup);
    });
  });
  return [dx, dw, db];
}

/** x, w and the third input (b [C], or dy of the shape of x). */
type Third = 'bias' | 'gradient';

function inputs(shape: readonly number[], third: Third, mean = 0, deviation = 1): NDArray[] {
  const channels = [shape[1]];
  const last = third === 'bias' ? scattered(channels, 0, 0.5, 3) : scattered(shape, 0, 1, 4);
  return [scattered(shape, mean, deviation), scattered(channels, 1, 0.4, 2), last];
}

function groupSamples(third: Third): readonly (Omit<Sample, 'attrs'> & { attrs: GroupNormAttrs })[] {
  const sample = (name: string, shape: readonly number[], groups: number, mean = 0, deviation = 1) => ({
    name,
    inputs: inputs(shape, third, mean, deviation),
    attrs: { groups, epsilon: 1e-5 },
  });
  return [
    sample('groups of two channels', [2, 4, 3, 3], 2),
    sample('a group a channel', [2, 3, 2, 4], 3),
    sample('one group', [2, 3, 4], 1),
    sample('one sample, one channel', [1, 1, 3, 3], 1),
    sample('no map', [3, 6], 2),
    sample('maps of size 1', [2, 4, 1, 1], 2),
    { ...sample('a group of one value', [2, 2, 1], 2), attrs: { groups: 2, epsilon: 1e-2 } },
    sample('a large mean against a small deviation', [2, 4, 5, 4], 2, 100, 0.01),
    sample('blocks of channels', [2, 16, 3, 4], 16),
    sample('blocks of channels, groups of two, a large mean', [2, 32, 5, 4], 16, 100, 0.05),
    sample('long rows', [1, 2, 20, 20], 1),
    sample('long rows, a large mean against a small deviation', [1, 2, 21, 20], 2, 100, 0.05),
    {
      name: 'constant rows',
      inputs: [ndarray([1, 2, 4], [7, 7, 7, 7, -3, -3, -3, -3]), ...inputs([1, 2, 4], third).slice(1)],
      attrs: { groups: 2, epsilon: 1e-2 },
    },
  ];
}

/** Lowerings that write moments and affine maps on rows: by depthwise Convs where they pay, and by broadcasting anywhere. */
function rowLowerings<A extends { epsilon: number }>(
  emit: (e: Emitter, shape: Shape, x: readonly string[], attrs: GroupNormAttrs, conv: boolean) => string | string[],
  attrsOf: (attrs: A, channels: number) => GroupNormAttrs,
): { conv: Lowering<A>; rows: Lowering<A> } {
  const rule =
    (conv: boolean): Lowering<A>['emit'] =>
    (e, node, x, attrs) => {
      const { shape } = node.inputs[0].type;
      return emit(e, shape, x, attrsOf(attrs, shape[1] as number), conv);
    };
  return {
    conv: { name: 'rows by depthwise Conv', when: rowsByConv, pays: longRows, emit: rule(true) },
    rows: { name: 'rows', emit: rule(false) },
  };
}

/** A training step needs the moments for the gradient too, which these forms do not give. */
const inferring = ({ mode }: Target): boolean => mode !== 'training';
/** ONNX's kernel for a group a channel; WebGPU's sums raw squares. */
const kernelRuns = (x: TensorType, target: Target): boolean =>
  inferring(target) && x.shape.length > 2 && (target.provider === 'portable' || target.provider === 'cpu');

const forwardLowerings = rowLowerings<GroupNormAttrs>(emitForward, (attrs) => attrs);
const gradientLowerings = rowLowerings<GroupNormAttrs>(emitGradient, (attrs) => attrs);

export const groupNorm = defineOp<GroupNormAttrs>('groupNorm', {
  summary:
    'y = w · (x − mean) / √(var + ε) + b, mean and variance of each sample over groups of channels and the map; x [N,C,…], w and b [C].',
  properties: {},
  infer(types, attrs, site) {
    requireChannels(types, [1, 2], site);
    inferGroups(types[0], attrs, types, site);
    return [types[0]];
  },
  vjp: (graph, { inputs: [x, w], grads: [dy] }, { groups, epsilon }) =>
    graph.ops('groupNormGrad', [x, w, dy!], { groups, epsilon }),
  lower: [
    {
      name: 'nchwc',
      when: needs(
        'an inference graph, blocked kernels (CPU), a known shape and channels that their block divides',
        ({ inputs: [x] }, target) => {
          const { shape } = x.type;
          const { block } = target;
          return inferring(target) && block > 0 && shape.length === 4 && isStatic(shape) && (shape[1] as number) % block === 0;
        },
      ),
      emit: (e, node, x, attrs) => emitBlocked(e, node, x, attrs),
    },
    {
      name: 'InstanceNormalization',
      when: needs(
        'an inference graph, a group for each channel, and the CPU',
        ({ inputs: [x] }, target, { groups }) => groups === x.type.shape[1] && kernelRuns(x.type, target),
      ),
      emit: (e, _node, x, { epsilon }) => e.node('InstanceNormalization', x, { epsilon: { float: epsilon } }),
    },
    {
      // Other engines than ONNX Runtime have this operator too, and OpenCV 4.6 has no ReduceSum of opset 13.
      name: 'InstanceNormalization of groups',
      when: needs(
        'an inference graph for every engine, and a map',
        ({ inputs: [x] }, target) => target.provider === 'portable' && kernelRuns(x.type, target),
      ),
      emit: (e, node, x, attrs) => emitGroupsAsChannels(e, node.inputs[0].type.shape, x, attrs),
    },
    forwardLowerings.conv,
    forwardLowerings.rows,
  ],
  flops: ([x]) => 7 * elementCount(x.shape),
  evaluate: (arrays, attrs) => [evaluateForward(arrays, attrs)],
  samples: () => groupSamples('bias'),
});

export const groupNormGrad = defineOp<GroupNormAttrs>('groupNormGrad', {
  summary: 'dx [N,C,…], dw [C] and db [C] of groupNorm, from x, w and dy.',
  properties: {},
  infer(types, attrs, site) {
    requireChannels(types, [1], site);
    requireSameShape(types[0], types[2], types, site);
    inferGroups(types[0], attrs, types, site);
    return [types[0], types[1], types[1]];
  },
  vjp: { none: 'second derivatives are not supported' },
  lower: [gradientLowerings.conv, gradientLowerings.rows],
  flops: ([x]) => 11 * elementCount(x.shape),
  evaluate: (arrays, attrs) => evaluateGradient(arrays, attrs),
  samples: () => groupSamples('gradient'),
});

/** `epsilon` is added to the variance. */
export type InstanceNormAttrs = { epsilon: number };

const instanceLowerings = rowLowerings<InstanceNormAttrs>(emitForward, ({ epsilon }, groups) => ({ groups, epsilon }));

export const instanceNorm = defineOp<InstanceNormAttrs>('instanceNorm', {
  summary:
    'y = w · (x − mean) / √(var + ε) + b, mean and variance of each sample and channel over the map; x [N,C,…], w and b [C].',
  properties: {},
  infer(types, { epsilon }, site) {
    requireChannels(types, [1, 2], site);
    requireEpsilon(epsilon, types, site);
    return [types[0]];
  },
  vjp: (graph, { inputs: [x, w], grads: [dy] }, { epsilon }) =>
    graph.ops('groupNormGrad', [x, w, dy!], { groups: x.type.shape[1] as number, epsilon }),
  lower: [
    {
      name: 'InstanceNormalization',
      when: needs('an inference graph, and the CPU', ({ inputs: [x] }, target) => kernelRuns(x.type, target)),
      emit: (e, _node, x, { epsilon }) => e.node('InstanceNormalization', x, { epsilon: { float: epsilon } }),
    },
    instanceLowerings.conv,
    instanceLowerings.rows,
  ],
  flops: ([x]) => 7 * elementCount(x.shape),
  evaluate: ([x, w, b], { epsilon }) => [evaluateForward([x, w, b], { groups: x.shape[1], epsilon })],
  samples: () =>
    groupSamples('bias')
      .filter(({ attrs, inputs: [x] }) => attrs.groups === x.shape[1])
      .map(({ attrs, ...sample }) => ({ ...sample, attrs: { epsilon: attrs.epsilon } })),
});
