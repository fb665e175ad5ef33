/*
 * Arithmetic of one input, and powers.
 *
 *   y = −x       dx = −dy                 y = eˣ       dx = dy · y
 *   y = ln x     dx = dy / x              y = √x       dx = dy · ½ / y
 *   y = |x|      dx = dy · sign x         y = 1/x      dx = −dy · y²
 *   y = erf x    dx = dy · 2/√π · e^(−x²) y = sign x, ⌊x⌋  dx = 0
 *   z = xʸ       dx = dz · y · x^(y−1)    dy = dz · z · ln x, and 0 where x ≤ 0
 */
import { type Lowering, needs } from '../emit/lowering.ts';
import type { Graph, Value } from '../ir/graph.ts';
import { full, type NDArray, ndarray, scalar } from '../ir/ndarray.ts';
import { defineOp, type OpDefinition, type OpProperties, type Sample } from '../ir/op.ts';
import { type DType, elementCount, formatType } from '../ir/types.ts';
import { binary, values } from './elementwise.ts';
import { shapeError } from './shapes.ts';

interface UnaryRules {
  summary: string;
  onnx: string;
  evaluate(x: number): number;
  /** null where the gradient is 0 everywhere. */
  dx(graph: Graph, dy: Value, x: Value, y: Value): Value | null;
  /** float32 by default. */
  dtypes?: readonly DType[];
  ofConvolution?: OpProperties['ofConvolution'];
  /** Forms that come before the standard one. */
  faster?: readonly Lowering[];
  samples: readonly Sample[];
}

/** An operator of one input that keeps its type. */
export function unary(name: string, rules: UnaryRules): OpDefinition {
  const { dtypes = ['float32'] } = rules;
  return defineOp(name, {
    summary: rules.summary,
    properties: { elementwise: true, ofConvolution: rules.ofConvolution },
    infer([x], _attrs, site) {
      if (!dtypes.includes(x.dtype)) {
        const hint = `cast it to ${dtypes[0]}`;
        throw shapeError(site, 'DTYPE_MISMATCH', `takes ${dtypes.join(', ')}, got ${formatType(x)}`, [x], hint);
      }
      return [x];
    },
    vjp: (graph, { inputs: [x], outputs: [y], grads: [dy] }) => [rules.dx(graph, dy!, x, y)],
    lower: [...(rules.faster ?? []), { name: 'standard', emit: (e, _node, [x]) => e.node(rules.onnx, [x]) }],
    flops: (_inputs, [y]) => elementCount(y.shape),
    evaluate: ([x]) => [map(x, rules.evaluate)],
    samples: () => rules.samples,
  });
}

/** Applies `f` to each value. */
export function map(x: NDArray, f: (x: number) => number, dtype: DType = x.dtype): NDArray {
  return { dtype, shape: x.shape, data: x.data.map(f) };
}

const TWO_OVER_ROOT_PI = 2 / Math.sqrt(Math.PI);

/** erf x = 2/√π · e^(−x²) · Σ 2ⁿ x^(2n+1) / (1·3·…·(2n+1)): all terms of one sign, so that nothing cancels. */
export function errorFunction(x: number): number {
  if (Math.abs(x) >= 6) return Math.sign(x);
  let term = x;
  let sum = 0;
  for (let n = 0; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    sum += term;
    term *= (2 * x * x) / (2 * n + 3);
  }
  return TWO_OVER_ROOT_PI * Math.exp(-x * x) * sum;
}

/** The multiplication by a number that gradients need. */
export function scaled(graph: Graph, x: Value, factor: number): Value {
  return graph.op('mul', [x, graph.constant(scalar(factor))]);
}

const signed: readonly DType[] = ['float32', 'int64', 'int32'];

/** Ordinary values, and a single one. */
function ordinary(): Sample[] {
  return [
    { name: 'both signs', inputs: [values([2, 3, 2])] },
    { name: 'a scalar', inputs: [values([], 0.25)] },
  ];
}

function positive(): Sample[] {
  return [
    { name: 'positive values', inputs: [ndarray([2, 4], [0.01, 0.25, 1, 1.5, 2, 3.75, 10, 100])] },
    { name: 'batch 1', inputs: [ndarray([1], [0.5])] },
  ];
}

const integers: Sample = { name: 'integers', inputs: [ndarray([2, 2], [3, -4, 0, 7], 'int64')] };

/** A gradient of zeros where an operator is flat or has a kink. */
function kinkAtZero(expected: readonly number[]): Sample {
  const x = [-2, 0, 3];
  return { name: 'zero', kink: true, inputs: [ndarray([3], x)], expectedGrads: [ndarray([3], expected)] };
}

export const neg = unary('neg', {
  summary: 'y = −x.',
  onnx: 'Neg',
  dtypes: signed,
  evaluate: (x) => -x,
  dx: (graph, dy) => graph.op('neg', [dy]),
  samples: [...ordinary(), integers],
});

export const exp = unary('exp', {
  summary: 'y = eˣ.',
  onnx: 'Exp',
  evaluate: Math.exp,
  dx: (graph, dy, _x, y) => graph.op('mul', [dy, y]),
  samples: [...ordinary(), { name: 'underflow', inputs: [ndarray([2, 1], [-200, 0])] }],
});

export const log = unary('log', {
  summary: 'y = ln x.',
  onnx: 'Log',
  evaluate: Math.log,
  dx: (graph, dy, x) => graph.op('div', [dy, x]),
  samples: positive(),
});

export const sqrt = unary('sqrt', {
  summary: 'y = √x.',
  onnx: 'Sqrt',
  evaluate: Math.sqrt,
  dx: (graph, dy, _x, y) => graph.op('div', [scaled(graph, dy, 0.5), y]),
  samples: positive(),
});

export const abs = unary('abs', {
  summary: 'y = |x|; the gradient at 0 is 0.',
  onnx: 'Abs',
  dtypes: signed,
  evaluate: Math.abs,
  dx: (graph, dy, x) => graph.op('mul', [dy, graph.op('sign', [x])]),
  samples: [...ordinary(), integers, kinkAtZero([-1, 0, 1])],
});

export const erf = unary('erf', {
  summary: 'y = erf x = 2/√π · ∫₀ˣ e^(−t²) dt.',
  onnx: 'Erf',
  evaluate: errorFunction,
  dx(graph, dy, x) {
    const bell = graph.op('exp', [graph.op('neg', [graph.op('mul', [x, x])])]);
    return graph.op('mul', [dy, scaled(graph, bell, TWO_OVER_ROOT_PI)]);
  },
  samples: [...ordinary(), { name: 'tails', inputs: [ndarray([4], [-7, -3.5, 4.5, 0])] }],
});

export const reciprocal = unary('reciprocal', {
  summary: 'y = 1 / x.',
  onnx: 'Reciprocal',
  evaluate: (x) => 1 / x,
  dx: (graph, dy, _x, y) => graph.op('neg', [graph.op('mul', [dy, graph.op('mul', [y, y])])]),
  samples: ordinary(),
});

export const sign = unary('sign', {
  summary: 'y = −1, 0 or 1 by the sign of x; the gradient is 0.',
  onnx: 'Sign',
  dtypes: signed,
  evaluate: Math.sign,
  dx: () => null,
  faster: [
    {
      // Three times as fast as Sign. Exact except for |x| < 3.4e-39, which are subnormal.
      name: 'clip',
      when: needs('the CPU and float32', ({ inputs: [x] }, { provider }) => provider === 'cpu' && x.type.dtype === 'float32'),
      emit: (e, _node, [x]) => e.node('Clip', [e.node('Mul', [x, e.floats(3e38)]), e.floats(-1), e.floats(1)]),
    },
  ],
  samples: [
    ...ordinary(),
    integers,
    kinkAtZero([0, 0, 0]),
    { name: 'tiny and huge', kink: true, inputs: [ndarray([4], [1e-37, -1e-37, 1e38, -1e38])], expectedGrads: [full([4], 0)] },
  ],
});

export const floor = unary('floor', {
  summary: 'y = ⌊x⌋, the greatest whole number not above x; the gradient is 0.',
  onnx: 'Floor',
  evaluate: Math.floor,
  dx: () => null,
  samples: [
    { name: 'both signs', inputs: [ndarray([2, 2], [1.5, -1.5, 0.25, -0.25])] },
    { name: 'whole numbers', kink: true, inputs: [ndarray([3], [-1, 0, 2])], expectedGrads: [full([3], 0)] },
  ],
});

export const pow = binary('pow', {
  summary: 'z = xʸ, with broadcasting; the gradient by y is 0 where x ≤ 0.',
  onnx: 'Pow',
  evaluate: (x, y) => x ** y,
  grads: (graph, dz, x, y, z) => [
    () => {
      const less = graph.op('pow', [x, graph.op('sub', [y, graph.constant(scalar(1))])]);
      return graph.op('mul', [dz, graph.op('mul', [y, less])]);
    },
    () => {
      const isPositive = graph.op('greater', [x, graph.constant(scalar(0))]);
      const base = graph.op('where', [isPositive, x, graph.constant(scalar(1))]);
      return graph.op('mul', [dz, graph.op('mul', [z, graph.op('log', [base])])]);
    },
  ],
  samples: () => [
    {
      name: 'real exponents',
      inputs: [ndarray([2, 3], [0.1, 0.5, 1, 1.5, 2, 3]), ndarray([2, 3], [2, -0.5, 0.75, 0, 3, -1.25])],
    },
    { name: 'an exponent for all', inputs: [ndarray([3, 2], [0.5, 0.25, 2, 1.5, 3, 0.1]), ndarray([], [2])] },
    { name: 'a base for all', inputs: [ndarray([1], [2.5]), ndarray([4], [-1, 0.5, 0, 2])] },
    {
      name: 'squares of zero and below',
      kink: true,
      inputs: [ndarray([3], [-2, 0, 3]), ndarray([1], [2])],
      expectedGrads: [ndarray([3], [-4, 0, 6]), ndarray([1], [9 * Math.log(3)])],
    },
  ],
});
