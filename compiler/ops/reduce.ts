/*
 * Reductions of x over a set A of axes, n = number of elements reduced into one.
 *
 *   y = Σ x      dx = dy                         repeated over A
 *   y = Σ x / n  dx = dy / n                     repeated over A
 *   y = max x    dx = m · dy / Σ m,  m = (x = y)  the elements that tie share dy evenly; likewise min
 *
 * The repetition is an `expand`, which consumers that broadcast anyway need not carry out.
 */
import { type Lowering, needs } from '../emit/lowering.ts';
import type { Graph, Value } from '../ir/graph.ts';
import { forEachIndex, full, type NDArray, ndarray, scalar, stridesOf } from '../ir/ndarray.ts';
import { defineOp, type OpDefinition, type Sample, type Site } from '../ir/op.ts';
import {
  type Dim,
  type DType,
  elementCount,
  formatShape,
  formatType,
  isStatic,
  type Shape,
  sameShape,
  type TensorType,
} from '../ir/types.ts';
import { normalizeAxes, shapeError } from './shapes.ts';

/** `axes` may be negative (counted from the end), in any order; none of them reduces nothing. `keepdims` leaves them with size 1. */
export type ReduceAttrs = { axes: readonly number[]; keepdims: boolean };

interface Vjp {
  x: Value;
  y: Value;
  dy: Value;
  /** The axes, counted from 0, in ascending order. */
  axes: readonly number[];
}

interface ReduceRules {
  summary: string;
  onnx: 'ReduceSum' | 'ReduceMean' | 'ReduceMax' | 'ReduceMin';
  dtypes: readonly DType[];
  start: number;
  combine(total: number, x: number): number;
  finish?(total: number, count: number): number;
  dx(graph: Graph, args: Vjp): Value;
  samples?: readonly (Omit<Sample, 'attrs'> & { attrs: ReduceAttrs })[];
  /** Lowerings that come before the standard one. */
  lower?: readonly Lowering<ReduceAttrs>[];
}

function inferAxes(inputs: readonly TensorType[], axes: readonly number[], site: Site): number[] {
  const { shape } = inputs[0];
  const sorted = normalizeAxes(axes, shape, site, inputs);
  const twice = sorted.find((axis, i) => axis === sorted[i + 1]);
  if (twice !== undefined) {
    throw shapeError(site, 'SHAPE_ATTRIBUTE', `axis ${twice} of ${formatShape(shape)} is given twice`, inputs);
  }
  return sorted;
}

/** The axes of a node whose shape rule has accepted them, counted from 0, in ascending order. */
function axesOf(axes: readonly number[], rank: number): number[] {
  return axes.map((axis) => (axis < 0 ? axis + rank : axis)).sort((a, b) => a - b);
}

function reducedShape(shape: Shape, axes: readonly number[], keepdims: boolean): Dim[] {
  const kept = shape.map((dim, axis) => (axes.includes(axis) ? 1 : dim));
  return keepdims ? kept : kept.filter((_, axis) => !axes.includes(axis));
}

/** A value of the reduced shape, shaped so that it broadcasts against the input of the reduction. */
function aligned(graph: Graph, value: Value, x: Value, axes: readonly number[]): Value {
  const rank = x.type.shape.length;
  const { length } = value.type.shape;
  // Where only leading axes were dropped, broadcasting puts the rest in its place.
  if (length === rank || axes.every((axis) => axis < rank - length)) return value;
  return graph.op('reshape', [value], { shape: reducedShape(x.type.shape, axes, true) });
}

/** `value` repeated to the shape of x. */
function repeated(graph: Graph, value: Value, x: Value): Value {
  return sameShape(value.type.shape, x.type.shape) ? value : graph.op('expand', [value, x]);
}

/** Gradient of a maximum or minimum: dy divided among the elements of x that equal y. */
function amongTies(graph: Graph, { x, y, dy, axes }: Vjp): Value {
  const mask = graph.op('cast', [graph.op('equal', [x, aligned(graph, y, x, axes)])], { to: 'float32' });
  const ties = graph.op('reduceSum', [mask], { axes, keepdims: true });
  return graph.op('mul', [mask, graph.op('div', [aligned(graph, dy, x, axes), ties])]);
}

function evaluateReduce(x: NDArray, { axes, keepdims }: ReduceAttrs, rules: ReduceRules): NDArray {
  const reduced = axesOf(axes, x.shape.length);
  const wide = reducedShape(x.shape, reduced, true) as number[];
  const strides = stridesOf(wide);
  const out = full(wide, rules.start, x.dtype);
  forEachIndex(x.shape, (offset, index) => {
    const at = index.reduce((sum, i, axis) => sum + (reduced.includes(axis) ? 0 : i * strides[axis]), 0);
    out.data[at] = rules.combine(out.data[at], x.data[offset]);
  });
  const count = x.data.length / out.data.length;
  const data = rules.finish ? out.data.map((total) => rules.finish!(total, count)) : out.data;
  return { dtype: x.dtype, shape: reducedShape(x.shape, reduced, keepdims) as number[], data };
}

/**
 * Σ x as n · mean: OpenCV 4.6 has no ReduceSum of opset 13, while the mean has its axes as an attribute until opset 18. In inference, for every engine.
 */
const countTimesMean: Lowering<ReduceAttrs> = {
  name: 'count times mean',
  when: needs(
    'an inference graph for every engine, before opset 18, and float32 axes of known size',
    ({ inputs: [{ type }] }, { provider, mode, opset }, { axes }) =>
      provider === 'portable' &&
      mode !== 'training' &&
      opset < 18 &&
      type.dtype === 'float32' &&
      axes.length > 0 &&
      isStatic(axesOf(axes, type.shape.length).map((axis) => type.shape[axis])),
  ),
  emit(e, node, [x], { axes, keepdims }) {
    const { shape } = node.inputs[0].type;
    const reduced = axesOf(axes, shape.length);
    const count = elementCount(reduced.map((axis) => shape[axis]));
    return e.node('Mul', [e.reduce('ReduceMean', x, reduced, keepdims), e.floats(count)]);
  },
};

/** Distinct values: a permutation of 0 … n−1 around 0, in steps of 0.25. */
function distinct(shape: readonly number[]): NDArray {
  const count = elementCount(shape);
  return ndarray(
    shape,
    Array.from({ length: count }, (_, i) => 0.25 * (((i * 37 + 5) % 101) - 50) + 0.001 * i),
  );
}

const ordinary: readonly (Omit<Sample, 'attrs'> & { attrs: ReduceAttrs })[] = [
  { name: 'the map axes, kept', inputs: [distinct([2, 3, 2, 3])], attrs: { axes: [2, 3], keepdims: true } },
  { name: 'the map axes, dropped', inputs: [distinct([2, 3, 2, 3])], attrs: { axes: [2, 3], keepdims: false } },
  { name: 'an axis in the middle, negative', inputs: [distinct([2, 3, 4])], attrs: { axes: [-2], keepdims: false } },
  { name: 'leading axes, unordered', inputs: [distinct([3, 2, 4])], attrs: { axes: [1, 0], keepdims: false } },
  { name: 'two axes apart', inputs: [distinct([2, 3, 2])], attrs: { axes: [0, -1], keepdims: true } },
  { name: 'everything', inputs: [distinct([2, 3])], attrs: { axes: [0, 1], keepdims: false } },
  { name: 'an axis of size 1', inputs: [distinct([2, 1, 3])], attrs: { axes: [1], keepdims: false } },
  { name: 'no axis', inputs: [distinct([2, 3])], attrs: { axes: [], keepdims: false } },
];

/** Ties in two rows of three, and what each element's gradient is when the reduced row's is 1. */
function tie(rows: readonly number[], grads: readonly number[]): Omit<Sample, 'attrs'> & { attrs: ReduceAttrs } {
  return {
    name: 'ties',
    inputs: [ndarray([2, 3], rows)],
    attrs: { axes: [1], keepdims: false },
    kink: true,
    expectedGrads: [ndarray([2, 3], grads)],
  };
}

function reduction(name: string, rules: ReduceRules): OpDefinition {
  const standard: Lowering<ReduceAttrs> = {
    name: 'standard',
    emit(e, node, [x], { axes, keepdims }) {
      // An empty list of axes means all of them in ONNX.
      return axes.length === 0 ? x : e.reduce(rules.onnx, x, axesOf(axes, node.inputs[0].type.shape.length), keepdims);
    },
  };
  return defineOp<ReduceAttrs>(name, {
    summary: rules.summary,
    properties: {},
    infer(inputs, { axes, keepdims }, site) {
      const [x] = inputs;
      if (!rules.dtypes.includes(x.dtype)) {
        const sentence = `takes ${rules.dtypes.join(' or ')}, got ${formatType(x)}`;
        throw shapeError(site, 'DTYPE_MISMATCH', sentence, inputs, `cast it to ${rules.dtypes[0]}`);
      }
      return [{ dtype: x.dtype, shape: reducedShape(x.shape, inferAxes(inputs, axes, site), keepdims) }];
    },
    vjp(graph, { inputs: [x], outputs: [y], grads: [dy], wanted }, { axes }) {
      return [wanted[0] ? rules.dx(graph, { x, y, dy: dy!, axes: axesOf(axes, x.type.shape.length) }) : null];
    },
    lower: [...(rules.lower ?? []), standard],
    flops: ([x]) => elementCount(x.shape),
    evaluate: ([x], attrs) => [evaluateReduce(x, attrs, rules)],
    samples: () => [...ordinary, ...(rules.samples ?? [])],
  });
}

const numbers: readonly DType[] = ['float32', 'int32', 'int64'];

/** Number of elements of x that are reduced into one, as a value: a constant where it is known. */
function countOf(graph: Graph, x: Value, axes: readonly number[]): Value {
  const sizes = axes.map((axis) => x.type.shape[axis]);
  return sizes.every((size) => typeof size === 'number')
    ? graph.constant(scalar(elementCount(sizes)))
    : graph.op('axisSize', [x], { axes });
}

export const reduceSum = reduction('reduceSum', {
  summary: 'y = Σ x over `axes`.',
  onnx: 'ReduceSum',
  dtypes: numbers,
  start: 0,
  combine: (total, x) => total + x,
  dx: (graph, { x, dy, axes }) => repeated(graph, aligned(graph, dy, x, axes), x),
  lower: [countTimesMean],
});

export const reduceMean = reduction('reduceMean', {
  summary: 'y = Σ x / n over `axes`, n = number of elements of the axes.',
  onnx: 'ReduceMean',
  dtypes: ['float32'],
  start: 0,
  combine: (total, x) => total + x,
  finish: (total, count) => total / count,
  dx(graph, { x, dy, axes }) {
    return repeated(graph, graph.op('div', [aligned(graph, dy, x, axes), countOf(graph, x, axes)]), x);
  },
  samples: [
    {
      name: 'a large mean against a small deviation',
      inputs: [ndarray([2, 3], [1000.25, 1000.5, 1000.125, -999.5, -1000, -1000.25])],
      attrs: { axes: [1], keepdims: true },
    },
  ],
});

export const reduceMax = reduction('reduceMax', {
  summary: 'y = max x over `axes`; elements that tie share the gradient evenly.',
  onnx: 'ReduceMax',
  dtypes: numbers,
  start: Number.NEGATIVE_INFINITY,
  combine: (total, x) => (x > total || Number.isNaN(x) ? x : total),
  dx: amongTies,
  samples: [tie([2, 2, 1, -3, -3, -3], [1 / 2, 1 / 2, 0, 1 / 3, 1 / 3, 1 / 3])],
});

export const reduceMin = reduction('reduceMin', {
  summary: 'y = min x over `axes`; elements that tie share the gradient evenly.',
  onnx: 'ReduceMin',
  dtypes: numbers,
  start: Number.POSITIVE_INFINITY,
  combine: (total, x) => (x < total || Number.isNaN(x) ? x : total),
  dx: amongTies,
  samples: [tie([2, 1, 1, -3, -3, -3], [0, 1 / 2, 1 / 2, 1 / 3, 1 / 3, 1 / 3])],
});
