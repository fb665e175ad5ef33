/*
 * Layer norm of x over its axes from `axis` to the last, m values together, with w and b of the shape of those axes.
 *
 *   r = 1 / √(var + ε)      x̂ = (x − mean)·r      y = w·x̂ + b
 *
 * With dx̂ = w·dy and means over the same axes:
 *
 *   dx = r·(dx̂ − mean(dx̂) − x̂·mean(dx̂·x̂))      dw = Σ dy·x̂      db = Σ dy      (over the axes before)
 */
import { needs } from '../emit/lowering.ts';
import type { Graph, Value } from '../ir/graph.ts';
import { ndarray, scalar } from '../ir/ndarray.ts';
import { defineOp, type Sample, type Site } from '../ir/op.ts';
import { elementCount, formatShape, isStatic, type Shape, sameShape, type TensorType } from '../ir/types.ts';
import { requireEpsilon, scattered } from './norm-inputs.ts';
import { asRows, reshapeTo, rowMoments } from './norm-rows.ts';
import { normalizeAxis, requireDType, requireKnown, shapeError } from './shapes.ts';

/** First of the axes that are normalised together (negative: from the end); `epsilon` is added to the variance. */
export type LayerNormAttrs = { axis: number; epsilon: number };

function firstAxis(axis: number, shape: Shape): number {
  return axis < 0 ? axis + shape.length : axis;
}

function inferLayerNorm(types: readonly TensorType[], { axis, epsilon }: LayerNormAttrs, site: Site): readonly TensorType[] {
  const [x, ...vectors] = types;
  requireDType(types, 'float32', site);
  requireEpsilon(epsilon, types, site);
  const first = normalizeAxis(axis, x.shape, site, types);
  requireKnown(x, first, types, site);
  const expected = x.shape.slice(first);
  for (const { shape } of vectors) {
    if (sameShape(shape, expected)) continue;
    throw shapeError(
      site,
      'SHAPE_MISMATCH',
      `${formatShape(shape)} is not ${formatShape(expected)}, the axes from ${axis} of ${formatShape(x.shape)}`,
      types,
    );
  }
  return [x];
}

/** x̂ and r as IR; equal nodes of several gradients are merged by the pass for common subexpressions. */
function normalized(graph: Graph, x: Value, axes: readonly number[], epsilon: number): { normal: Value; inverse: Value } {
  const mean = (value: Value) => graph.op('reduceMean', [value], { axes, keepdims: true });
  const shifted = graph.op('sub', [x, mean(x)]);
  // In single precision a mean is wrong by 1e-7 of itself, which may be much against the deviation: the second one corrects it.
  const centred = graph.op('sub', [shifted, mean(shifted)]);
  const variance = mean(graph.op('mul', [centred, centred]));
  const root = graph.op('sqrt', [graph.op('add', [variance, graph.constant(scalar(epsilon))])]);
  const inverse = graph.op('reciprocal', [root]);
  return { normal: graph.op('mul', [centred, inverse]), inverse };
}

function sample(
  name: string,
  shape: readonly number[],
  axis: number,
  mean = 0,
  deviation = 1,
): Omit<Sample, 'attrs'> & { attrs: LayerNormAttrs } {
  const last = shape.slice(firstAxis(axis, shape));
  const inputs = [scattered(shape, mean, deviation), scattered(last, 1, 0.4, 2), scattered(last, 0, 0.5, 3)];
  return { name, inputs, attrs: { axis, epsilon: 1e-5 } };
}

export const layerNorm = defineOp<LayerNormAttrs>('layerNorm', {
  summary:
    'y = w · (x − mean) / √(var + ε) + b, mean and biased variance over the axes from `axis` to the last, whose shape w and b have.',
  properties: {},
  infer: inferLayerNorm,
  vjp(graph, { inputs: [x, w], grads: [dy], wanted }, { axis, epsilon }) {
    const first = firstAxis(axis, x.type.shape);
    const inner = x.type.shape.map((_, i) => i).slice(first);
    const outer = x.type.shape.map((_, i) => i).slice(0, first);
    const sum = (value: Value) => (first === 0 ? value : graph.op('reduceSum', [value], { axes: outer, keepdims: false }));
    const db = wanted[2] ? sum(dy!) : null;
    if (!wanted[0] && !wanted[1]) return [null, null, db];
    const { normal, inverse } = normalized(graph, x, inner, epsilon);
    const dw = wanted[1] ? sum(graph.op('mul', [dy!, normal])) : null;
    if (!wanted[0]) return [null, dw, db];
    const mean = (value: Value) => graph.op('reduceMean', [value], { axes: inner, keepdims: true });
    const scaled = graph.op('mul', [dy!, w]);
    const along = graph.op('mul', [normal, mean(graph.op('mul', [scaled, normal]))]);
    const rest = graph.op('sub', [graph.op('sub', [scaled, mean(scaled)]), along]);
    return [graph.op('mul', [rest, inverse]), dw, db];
  },
  lower: [
    {
      name: 'LayerNormalization',
      // WebGPU's kernel takes the variance from raw squares, which cancels where the mean is large.
      when: needs('opset 17 and no WebGPU', (_node, { opset, provider }) => opset >= 17 && provider !== 'webgpu'),
      emit: (e, _node, x, { axis, epsilon }) => e.node('LayerNormalization', x, { axis, epsilon: { float: epsilon } }),
    },
    {
      name: 'rows',
      emit(e, node, [x, w, b], { axis, epsilon }) {
        const { shape } = node.inputs[0].type;
        const first = firstAxis(axis, shape);
        const size = elementCount(shape.slice(first));
        const outer = shape.slice(0, first);
        const rows = { count: isStatic(outer) ? elementCount(outer) : null, size, conv: false };
        const { shifted, mean, inverse } = rowMoments(e, asRows(e, x, rows), rows, epsilon);
        const normal = e.node('Mul', [e.node('Sub', [shifted, mean]), inverse]);
        const y = e.node('Add', [e.node('Mul', [normal, e.reshape(w, [1, size])]), e.reshape(b, [1, size])]);
        return reshapeTo(e, y, shape);
      },
    },
  ],
  flops: ([x]) => 9 * elementCount(x.shape),
  evaluate([x, w, b], { axis, epsilon }) {
    const size = elementCount(x.shape.slice(firstAxis(axis, x.shape)));
    const data = x.data.slice();
    for (let start = 0; start < data.length; start += size) {
      const row = x.data.subarray(start, start + size);
      const mean = row.reduce((total, value) => total + value, 0) / size;
      const variance = row.reduce((total, value) => total + (value - mean) ** 2, 0) / size;
      const inverse = 1 / Math.sqrt(variance + epsilon);
      row.forEach((value, i) => {
        data[start + i] = w.data[i] * (value - mean) * inverse + b.data[i];
      });
    }
    return [ndarray(x.shape, data)];
  },
  samples: () => [
    sample('the last axis', [2, 3, 4], -1),
    sample('the last two axes', [2, 3, 4], 1),
    sample('a map', [2, 2, 3, 2], -3),
    sample('everything', [2, 3], 0),
    sample('one row', [1, 5], 1),
    sample('a large mean against a small deviation', [3, 20], 1, 100, 0.01),
    sample('rows longer than what estimates their mean', [2, 100], 1, -4, 0.5),
  ],
});
