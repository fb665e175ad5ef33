/*
 * Comparisons and logic (results are truth values, which have no gradient), choice, and conversion.
 *
 *   z = c ? x : y     dx = c ? dz : 0     dy = c ? 0 : dz      summed over the axes along which an input was repeated
 *   y = (T) x         dx = dy between real types, none else
 */
import { broadcastStrides, forEachIndex, type NDArray, ndarray, scalar, zeros } from '../ir/ndarray.ts';
import { defineOp, type OpDefinition, type Sample } from '../ir/op.ts';
import { type DType, elementCount, formatShape, formatType } from '../ir/types.ts';
import { inferBinary, unbroadcast, values, zip } from './elementwise.ts';
import { broadcastShapes, requireDType, requireOneDType, shapeError } from './shapes.ts';
import { map } from './unary.ts';

const numbers: readonly DType[] = ['float32', 'int64', 'int32'];
const truth = { zero: 'its result is a truth value' } as const;

interface ComparisonRules {
  summary: string;
  onnx: string;
  commutes?: boolean;
  evaluate(x: number, y: number): boolean;
  dtypes?: readonly DType[];
  samples: readonly Sample[];
}

/** An operator of two broadcast inputs whose result is a truth value. */
function comparison(name: string, rules: ComparisonRules): OpDefinition {
  const { dtypes = numbers } = rules;
  return defineOp(name, {
    summary: rules.summary,
    properties: { elementwise: true, commutes: rules.commutes },
    infer(inputs, _attrs, site) {
      const [{ shape }] = inferBinary(inputs, site);
      if (!dtypes.includes(inputs[0].dtype)) {
        throw shapeError(site, 'DTYPE_MISMATCH', `takes ${dtypes.join(', ')}, got ${formatType(inputs[0])}`, inputs);
      }
      return [{ dtype: 'bool', shape }];
    },
    vjp: truth,
    lower: [{ name: 'standard', emit: (e, _node, [x, y]) => e.node(rules.onnx, [x, y]) }],
    flops: (_inputs, [z]) => elementCount(z.shape),
    evaluate: ([x, y]) => [zip(x, y, (a, b) => Number(rules.evaluate(a, b)), 'bool')],
    samples: () => rules.samples,
  });
}

function ordered(): readonly Sample[] {
  return [
    {
      name: 'less, equal and greater',
      kink: true,
      inputs: [ndarray([2, 3], [1, 2, 3, -1, 0, 1]), ndarray([2, 3], [2, 2, 2, 0, 0, 0])],
    },
    { name: 'a channel vector over a map', inputs: [values([2, 3, 2, 2]), values([3, 1, 1], 0.6)] },
    { name: 'whole numbers', inputs: [ndarray([3], [5, -6, 7], 'int64'), ndarray([1], [5], 'int64')] },
    { name: 'short whole numbers', inputs: [ndarray([2, 1], [5, -6], 'int32'), ndarray([], [5], 'int32')] },
  ];
}

const bits: Sample = {
  name: 'truth table',
  inputs: [ndarray([2, 2], [0, 0, 1, 1], 'bool'), ndarray([2, 2], [0, 1, 0, 1], 'bool')],
};
const broadcastBits: Sample = { name: 'one for all', inputs: [ndarray([3], [0, 1, 1], 'bool'), ndarray([], [1], 'bool')] };

export const equal = comparison('equal', {
  summary: 'z = (x = y), with broadcasting.',
  onnx: 'Equal',
  commutes: true,
  dtypes: [...numbers, 'bool'],
  evaluate: (x, y) => x === y,
  samples: [...ordered(), bits],
});

export const less = comparison('less', {
  summary: 'z = (x < y), with broadcasting.',
  onnx: 'Less',
  evaluate: (x, y) => x < y,
  samples: ordered(),
});

export const lessOrEqual = comparison('lessOrEqual', {
  summary: 'z = (x ≤ y), with broadcasting.',
  onnx: 'LessOrEqual',
  evaluate: (x, y) => x <= y,
  samples: ordered(),
});

export const greater = comparison('greater', {
  summary: 'z = (x > y), with broadcasting.',
  onnx: 'Greater',
  evaluate: (x, y) => x > y,
  samples: ordered(),
});

export const greaterOrEqual = comparison('greaterOrEqual', {
  summary: 'z = (x ≥ y), with broadcasting.',
  onnx: 'GreaterOrEqual',
  evaluate: (x, y) => x >= y,
  samples: ordered(),
});

export const and = comparison('and', {
  summary: 'z = x ∧ y of truth values, with broadcasting.',
  onnx: 'And',
  commutes: true,
  dtypes: ['bool'],
  evaluate: (x, y) => x !== 0 && y !== 0,
  samples: [bits, broadcastBits],
});

export const or = comparison('or', {
  summary: 'z = x ∨ y of truth values, with broadcasting.',
  onnx: 'Or',
  commutes: true,
  dtypes: ['bool'],
  evaluate: (x, y) => x !== 0 || y !== 0,
  samples: [bits, broadcastBits],
});

export const not = defineOp('not', {
  summary: 'y = ¬x of truth values.',
  properties: { elementwise: true },
  infer(inputs, _attrs, site) {
    requireDType(inputs, 'bool', site);
    return [inputs[0]];
  },
  vjp: truth,
  lower: [{ name: 'standard', emit: (e, _node, [x]) => e.node('Not', [x]) }],
  flops: (_inputs, [y]) => elementCount(y.shape),
  evaluate: ([x]) => [map(x, (value) => Number(value === 0))],
  samples: () => [
    { name: 'both', inputs: [ndarray([2, 1], [0, 1], 'bool')] },
    { name: 'batch 1', inputs: [ndarray([1, 3], [1, 0, 1], 'bool')] },
  ],
});

/** c ? x : y with broadcasting of all three. */
function choose(condition: NDArray, x: NDArray, y: NDArray): NDArray {
  const inputs = [condition, x, y];
  const shape = broadcastShapes(condition.shape, broadcastShapes(x.shape, y.shape)!) as number[];
  const strides = inputs.map((input) => broadcastStrides(input.shape, shape));
  const out = zeros(shape, x.dtype);
  forEachIndex(shape, (offset, index) => {
    const [c, a, b] = inputs.map(({ data }, i) => data[strides[i].reduce((sum, stride, axis) => sum + stride * index[axis], 0)]);
    out.data[offset] = c !== 0 ? a : b;
  });
  return out;
}

export const where = defineOp('where', {
  summary: 'z = x where the truth value c holds, y elsewhere, with broadcasting.',
  properties: { elementwise: true },
  infer(inputs, _attrs, site) {
    const [condition, x, y] = inputs;
    if (condition.dtype !== 'bool' || x.dtype === 'bool') {
      const got = inputs.map((type) => type.dtype).join(', ');
      throw shapeError(site, 'DTYPE_MISMATCH', `takes a bool and two numbers, got ${got}`, inputs);
    }
    requireOneDType([x, y], site, inputs);
    const values = broadcastShapes(x.shape, y.shape);
    const shape = values && broadcastShapes(condition.shape, values);
    if (!shape) {
      const [c, a, b] = inputs.map((type) => formatShape(type.shape));
      const sentence = values
        ? `condition ${c} and ${formatShape(values)} have different shapes`
        : `${a} and ${b} have different shapes`;
      throw shapeError(site, 'SHAPE_MISMATCH', sentence, inputs, 'sizes must be equal, or 1 where a size is to be repeated');
    }
    return [{ dtype: x.dtype, shape }];
  },
  vjp(graph, { inputs: [condition, x, y], grads: [dz], wanted }) {
    const zero = graph.constant(scalar(0));
    return [
      null,
      wanted[1] ? unbroadcast(graph, graph.op('where', [condition, dz!, zero]), x.type.shape) : null,
      wanted[2] ? unbroadcast(graph, graph.op('where', [condition, zero, dz!]), y.type.shape) : null,
    ];
  },
  lower: [{ name: 'standard', emit: (e, _node, [condition, x, y]) => e.node('Where', [condition, x, y]) }],
  flops: (_inputs, [z]) => elementCount(z.shape),
  evaluate: ([condition, x, y]) => [choose(condition, x, y)],
  samples: () => [
    { name: 'same shapes', inputs: [ndarray([2, 2], [1, 0, 0, 1], 'bool'), values([2, 2]), values([2, 2], 0.75)] },
    { name: 'all repeated', inputs: [ndarray([3, 1], [1, 0, 1], 'bool'), values([2, 1, 1]), values([4], 0.75)] },
    { name: 'scalars', inputs: [ndarray([4], [1, 0, 0, 1], 'bool'), values([]), values([], 0.75)] },
    { name: 'whole numbers', inputs: [ndarray([2], [1, 0], 'bool'), ndarray([2], [1, 2], 'int64'), ndarray([1], [7], 'int64')] },
  ],
});

/** `to`: the element type that is wanted. */
export type CastAttrs = { readonly to: DType };

const casts: Record<DType, { readonly onnx: number; convert(x: number): number }> = {
  float32: { onnx: 1, convert: (x) => x },
  uint8: { onnx: 2, convert: Math.trunc },
  int32: { onnx: 6, convert: Math.trunc },
  int64: { onnx: 7, convert: Math.trunc },
  bool: { onnx: 9, convert: (x) => Number(x !== 0) },
};

export const cast = defineOp<CastAttrs>('cast', {
  summary:
    'y = x as the element type `to`: real numbers lose their fraction, a truth value is 1 or 0, a number is true unless it is 0.',
  properties: { elementwise: true },
  infer(inputs, { to }, site) {
    if (!(to in casts)) {
      throw shapeError(
        site,
        'SHAPE_ATTRIBUTE',
        `${to} is not an element type`,
        inputs,
        `one of ${Object.keys(casts).join(', ')}`,
      );
    }
    return [{ dtype: to, shape: inputs[0].shape }];
  },
  vjp: (_graph, { grads: [dy] }) => [dy],
  lower: [{ name: 'standard', emit: (e, _node, [x], { to }) => e.node('Cast', [x], { to: casts[to].onnx }) }],
  flops: () => 0,
  evaluate: ([x], { to }) => [map(x, casts[to].convert, to)],
  samples: () => [
    { name: 'the same type', inputs: [values([2, 3])], attrs: { to: 'float32' } },
    { name: 'to int64, toward zero', inputs: [ndarray([2, 2], [1.75, -1.75, 0.5, -3])], attrs: { to: 'int64' } },
    { name: 'to bool', inputs: [ndarray([3], [0, 0.25, -2])], attrs: { to: 'bool' } },
    { name: 'from bool', inputs: [ndarray([2, 1], [1, 0], 'bool')], attrs: { to: 'float32' } },
    { name: 'from bytes', inputs: [ndarray([1, 3], [0, 128, 255], 'uint8')], attrs: { to: 'float32' } },
    { name: 'to bytes', inputs: [ndarray([3], [0, 128.5, 255])], attrs: { to: 'uint8' } },
    { name: 'from int64', inputs: [ndarray([2], [-5, 1000000], 'int64')], attrs: { to: 'int32' } },
  ],
});
