/*
 * Element-wise operators of two inputs with numpy's broadcasting, and of one.
 *
 *   z = x + y   dx = dz            dy = dz
 *   z = x − y   dx = dz            dy = −dz
 *   z = x · y   dx = dz · y        dy = dz · x
 *   z = x / y   dx = dz / y        dy = −dz · z / y
 *
 * where an input was broadcast, its gradient is summed over the repeated axes (`unbroadcast`).
 */
import type { Graph, Value } from '../ir/graph.ts';
import { broadcastStrides, forEachIndex, type NDArray, ndarray, zeros } from '../ir/ndarray.ts';
import { defineOp, type OpDefinition, type OpProperties, type Sample, type Site } from '../ir/op.ts';
import { type DType, elementCount, formatShape, formatType, type Shape, sameShape, type TensorType } from '../ir/types.ts';
import { broadcastShapes, requireOneDType, shapeError } from './shapes.ts';

/** Sums `grad` over the axes along which a value of shape `shape` was repeated, and gives it that shape. */
export function unbroadcast(graph: Graph, grad: Value, shape: Shape): Value {
  if (sameShape(grad.type.shape, shape)) return grad;
  const lead = grad.type.shape.length - shape.length;
  const axes: number[] = [];
  grad.type.shape.forEach((dim, axis) => {
    if (axis < lead || (shape[axis - lead] === 1 && dim !== 1)) axes.push(axis);
  });
  const summed = graph.op('reduceSum', [grad], { axes, keepdims: true });
  return lead === 0 ? summed : graph.op('reshape', [summed], { shape });
}

/** The shape rule of two inputs of one element type with broadcasting. */
export function inferBinary(inputs: readonly TensorType[], site: Site): readonly TensorType[] {
  const [a, b] = inputs;
  requireOneDType([a, b], site, inputs);
  const shape = broadcastShapes(a.shape, b.shape);
  if (!shape) {
    const sentence = `${formatShape(a.shape)} and ${formatShape(b.shape)} have different shapes`;
    throw shapeError(site, 'SHAPE_MISMATCH', sentence, inputs, 'sizes must be equal, or 1 where a size is to be repeated');
  }
  return [{ dtype: a.dtype, shape }];
}

/** {@link inferBinary} for arithmetic, which truth values do not take part in. */
function inferArithmetic(inputs: readonly TensorType[], site: Site): readonly TensorType[] {
  const types = inferBinary(inputs, site);
  if (types[0].dtype !== 'bool') return types;
  const hint = "cast it first: cast(x, 'float32') is 0 or 1";
  throw shapeError(site, 'DTYPE_MISMATCH', `takes numbers, got ${formatType(inputs[0])}`, inputs, hint);
}

/** Applies `f` to two arrays with broadcasting. */
export function zip(a: NDArray, b: NDArray, f: (x: number, y: number) => number, dtype: DType = a.dtype): NDArray {
  const shape = broadcastShapes(a.shape, b.shape) as number[];
  const out = zeros(shape, dtype);
  const sa = broadcastStrides(a.shape, shape);
  const sb = broadcastStrides(b.shape, shape);
  forEachIndex(shape, (offset, index) => {
    let ia = 0;
    let ib = 0;
    for (let axis = 0; axis < index.length; axis++) {
      ia += index[axis] * sa[axis];
      ib += index[axis] * sb[axis];
    }
    out.data[offset] = f(a.data[ia], b.data[ib]);
  });
  return out;
}

/** What tells one operator of two broadcast inputs from another. */
export interface BinaryRules {
  summary: string;
  onnx: string;
  commutes?: boolean;
  neutral?: readonly [left: number | null, right: number | null];
  ofConvolution?: OpProperties['ofConvolution'];
  evaluate(x: number, y: number): number;
  /** dx and dy before unbroadcasting. */
  grads(graph: Graph, dz: Value, x: Value, y: Value, z: Value): readonly [() => Value, () => Value];
  samples(): readonly Sample[];
}

/** An operator of two broadcast inputs. */
export function binary(name: string, rules: BinaryRules): OpDefinition {
  return defineOp(name, {
    summary: rules.summary,
    properties: { elementwise: true, commutes: rules.commutes, neutral: rules.neutral, ofConvolution: rules.ofConvolution },
    infer: (inputs, _attrs, site) => inferArithmetic(inputs, site),
    vjp(graph, { inputs: [x, y], outputs: [z], grads: [dz], wanted }) {
      const [dx, dy] = rules.grads(graph, dz!, x, y, z);
      return [
        wanted[0] ? unbroadcast(graph, dx(), x.type.shape) : null,
        wanted[1] ? unbroadcast(graph, dy(), y.type.shape) : null,
      ];
    },
    lower: [{ name: 'standard', emit: (e, _node, [x, y]) => e.node(rules.onnx, [x, y]) }],
    flops: (_inputs, [z]) => elementCount(z.shape),
    evaluate: ([x, y]) => [zip(x, y, rules.evaluate)],
    samples: rules.samples,
  });
}

/** Values that avoid kinks and poles: 0.5, −0.75, 1.25, … */
export function values(shape: readonly number[], start = 0.5): NDArray {
  const data = Array.from({ length: elementCount(shape) }, (_, i) => (i % 2 ? -1 : 1) * (start + 0.25 * ((i * 7) % 11)));
  return ndarray(shape, data);
}

function binarySamples(): readonly Sample[] {
  return [
    { name: 'same shapes', inputs: [values([2, 3]), values([2, 3], 0.75)] },
    { name: 'a channel vector over a map', inputs: [values([2, 3, 2, 2]), values([3, 1, 1], 0.75)] },
    { name: 'both repeated', inputs: [values([2, 1, 3]), values([4, 1], 0.75)] },
    { name: 'a scalar', inputs: [values([]), values([3], 0.75)] },
    { name: 'size 1', inputs: [values([1]), values([1, 1], 0.75)] },
  ];
}

export const add = binary('add', {
  summary: 'z = x + y, with broadcasting.',
  onnx: 'Add',
  neutral: [0, 0],
  ofConvolution: 'sum',
  commutes: true,
  evaluate: (x, y) => x + y,
  grads: (_graph, dz) => [() => dz, () => dz],
  samples: binarySamples,
});

export const sub = binary('sub', {
  summary: 'z = x − y, with broadcasting.',
  onnx: 'Sub',
  neutral: [null, 0],
  evaluate: (x, y) => x - y,
  grads: (graph, dz) => [() => dz, () => graph.op('neg', [dz])],
  samples: binarySamples,
});

export const mul = binary('mul', {
  summary: 'z = x · y, with broadcasting.',
  onnx: 'Mul',
  neutral: [1, 1],
  commutes: true,
  evaluate: (x, y) => x * y,
  grads: (graph, dz, x, y) => [() => graph.op('mul', [dz, y]), () => graph.op('mul', [dz, x])],
  samples: binarySamples,
});

export const div = binary('div', {
  summary: 'z = x / y, with broadcasting.',
  onnx: 'Div',
  neutral: [null, 1],
  evaluate: (x, y) => x / y,
  grads: (graph, dz, _x, y, z) => [
    () => graph.op('div', [dz, y]),
    () => graph.op('neg', [graph.op('div', [graph.op('mul', [dz, z]), y])]),
  ],
  samples: binarySamples,
});
