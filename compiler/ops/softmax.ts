/*
 * Softmax and its logarithm; sums are over one axis.
 *
 *   softmax     y = eˣ / Σ eˣ      dx = y · (dy − Σ dy·y)
 *   logSoftmax  y = x − ln Σ eˣ    dx = dy − e^y · Σ dy
 */
import type { Graph, Value } from '../ir/graph.ts';
import { full, type NDArray, ndarray, stridesOf, zeros } from '../ir/ndarray.ts';
import { defineOp, type OpDefinition } from '../ir/op.ts';
import { elementCount } from '../ir/types.ts';
import { values } from './elementwise.ts';
import { normalizeAxis, requireDType } from './shapes.ts';

/** `axis` may be negative, counted from the end. */
export type SoftmaxAttrs = { readonly axis: number };

interface SoftmaxRules {
  summary: string;
  onnx: string;
  /** The result from an exponent (less the row's greatest) and the row's sum of exponentials. */
  value(exponent: number, sum: number): number;
  /** `dims`: the attributes of a reduction over the axis. */
  dx(graph: Graph, dy: Value, y: Value, dims: { axes: number[]; keepdims: boolean }): Value;
}

function normalized(name: string, rules: SoftmaxRules): OpDefinition {
  return defineOp<SoftmaxAttrs>(name, {
    summary: rules.summary,
    properties: {},
    infer(inputs, { axis }, site) {
      requireDType(inputs, 'float32', site);
      normalizeAxis(axis, inputs[0].shape, site, inputs);
      return [inputs[0]];
    },
    vjp: (graph, { outputs: [y], grads: [dy] }, { axis }) => [rules.dx(graph, dy!, y, { axes: [axis], keepdims: true })],
    lower: [{ name: 'standard', emit: (e, _node, [x], { axis }) => e.node(rules.onnx, [x], { axis }) }],
    flops: (_inputs, [y]) => 5 * elementCount(y.shape),
    evaluate: ([x], { axis }) => [rowwise(x, axis, rules.value)],
    samples: () => [
      { name: 'last axis', inputs: [values([3, 4])], attrs: { axis: -1 } },
      { name: 'channels of a map', inputs: [values([2, 3, 2, 2])], attrs: { axis: 1 } },
      { name: 'size 1', inputs: [values([3, 1])], attrs: { axis: 1 } },
      { name: 'equal values', inputs: [full([2, 4], 1.5)], attrs: { axis: 1 } },
      { name: 'large values', inputs: [ndarray([2, 3], [1000, 1001, 999.5, -500, -501, -500.25])], attrs: { axis: 1 } },
    ],
  });
}

function rowwise(x: NDArray, axis: number, value: SoftmaxRules['value']): NDArray {
  const at = axis < 0 ? axis + x.shape.length : axis;
  const size = x.shape[at];
  const stride = stridesOf(x.shape)[at];
  const out = zeros(x.shape);
  for (let first = 0; first < x.data.length; first++) {
    if (Math.floor(first / stride) % size !== 0) continue;
    const places = Array.from({ length: size }, (_, i) => first + i * stride);
    const top = Math.max(...places.map((place) => x.data[place]));
    const sum = places.reduce((total, place) => total + Math.exp(x.data[place] - top), 0);
    for (const place of places) out.data[place] = value(x.data[place] - top, sum);
  }
  return out;
}

export const softmax = normalized('softmax', {
  summary: 'y = eˣ / Σ eˣ over `axis`.',
  onnx: 'Softmax',
  value: (exponent, sum) => Math.exp(exponent) / sum,
  dx(graph, dy, y, dims) {
    const mean = graph.op('reduceSum', [graph.op('mul', [dy, y])], dims);
    return graph.op('mul', [y, graph.op('sub', [dy, mean])]);
  },
});

export const logSoftmax = normalized('logSoftmax', {
  summary: 'y = x − ln Σ eˣ over `axis`.',
  onnx: 'LogSoftmax',
  value: (exponent, sum) => exponent - Math.log(sum),
  dx(graph, dy, y, dims) {
    const total = graph.op('reduceSum', [dy], dims);
    return graph.op('sub', [dy, graph.op('mul', [graph.op('exp', [y]), total])]);
  },
});
