/*
 * Values kept between bounds.
 *
 *   y = clip x     dx = dy where min ≤ x ≤ max (which is where y = x), bounds included; else 0
 *   z = max(x, y)  dx = dz · ½(1 + sign(x − y))   dy = dz · ½(1 − sign(x − y))   so ties share dz evenly
 *   z = min(x, y)  dx = dz · ½(1 + sign(y − x))   dy = dz · ½(1 − sign(y − x))
 */
import type { Graph, Value } from '../ir/graph.ts';
import { ndarray } from '../ir/ndarray.ts';
import { defineOp, type Sample } from '../ir/op.ts';
import { elementCount, formatType } from '../ir/types.ts';
import { binary, values } from './elementwise.ts';
import { shapeError } from './shapes.ts';
import { map, scaled } from './unary.ts';

/** Bounds of `clip`; one that is left out does not bind. */
export type ClipAttrs = { readonly min?: number; readonly max?: number };

export const clip = defineOp<ClipAttrs>('clip', {
  summary: 'y = x, but `min` where x < min and `max` where x > max; the gradient passes at the bounds.',
  properties: { elementwise: true },
  infer(inputs, { min, max }, site) {
    const [x] = inputs;
    if (x.dtype !== 'float32') {
      throw shapeError(site, 'DTYPE_MISMATCH', `takes float32, got ${formatType(x)}`, inputs, 'cast it to float32');
    }
    if (min !== undefined && max !== undefined && !(min <= max)) {
      throw shapeError(site, 'SHAPE_ATTRIBUTE', `min ${min} is greater than max ${max}`, inputs);
    }
    return [x];
  },
  vjp(graph, { inputs: [x], outputs: [y], grads: [dy] }) {
    const inside = graph.op('cast', [graph.op('equal', [x, y])], { to: 'float32' });
    return [graph.op('mul', [dy!, inside])];
  },
  lower: [
    {
      name: 'standard',
      emit(e, _node, [x], { min, max }) {
        const bounds = [min, max].map((bound) => (bound === undefined ? '' : e.floats(bound)));
        while (bounds.at(-1) === '') bounds.pop();
        return e.node('Clip', [x, ...bounds]);
      },
    },
  ],
  flops: (_inputs, [y]) => 2 * elementCount(y.shape),
  evaluate: ([x], { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY }) => [
    map(x, (v) => Math.min(Math.max(v, min), max)),
  ],
  samples: () => [
    { name: 'inside and outside', inputs: [values([2, 3, 2])], attrs: { min: -1.1, max: 1.6 } },
    { name: 'a lower bound', inputs: [values([3, 1])], attrs: { min: 0 } },
    { name: 'an upper bound', inputs: [values([4])], attrs: { max: 0.1 } },
    {
      name: 'on the bounds',
      kink: true,
      inputs: [ndarray([5], [-2, -1, 0, 1, 2])],
      attrs: { min: -1, max: 1 },
      expectedGrads: [ndarray([5], [0, 1, 1, 1, 0])],
    },
  ],
});

/** Gradients of the greater (`way` 1) or the lesser (−1) of x and y. */
function chosen(graph: Graph, dz: Value, x: Value, y: Value, way: 1 | -1): readonly [() => Value, () => Value] {
  const half = () => scaled(graph, dz, 0.5);
  const lean = () => graph.op('mul', [half(), graph.op('sign', [graph.op('sub', way > 0 ? [x, y] : [y, x])])]);
  return [() => graph.op('add', [half(), lean()]), () => graph.op('sub', [half(), lean()])];
}

function pairSamples(expectedX: readonly number[], expectedY: readonly number[]): readonly Sample[] {
  return [
    { name: 'same shapes', inputs: [values([2, 3]), values([2, 3], 0.6)] },
    { name: 'a channel vector over a map', inputs: [values([2, 3, 2, 2]), values([3, 1, 1], 0.6)] },
    { name: 'a bound for all', inputs: [values([3]), values([], 0.1)] },
    {
      name: 'ties',
      kink: true,
      inputs: [ndarray([3], [1, 2, 3]), ndarray([3], [2, 2, 2])],
      expectedGrads: [ndarray([3], expectedX), ndarray([3], expectedY)],
    },
  ];
}

export const minimum = binary('minimum', {
  summary: 'z = the lesser of x and y, with broadcasting; equal values share the gradient evenly.',
  onnx: 'Min',
  commutes: true,
  evaluate: Math.min,
  grads: (graph, dz, x, y) => chosen(graph, dz, x, y, -1),
  samples: () => pairSamples([1, 0.5, 0], [0, 0.5, 1]),
});

export const maximum = binary('maximum', {
  summary: 'z = the greater of x and y, with broadcasting; equal values share the gradient evenly.',
  onnx: 'Max',
  commutes: true,
  evaluate: Math.max,
  grads: (graph, dz, x, y) => chosen(graph, dz, x, y, 1),
  samples: () => pairSamples([0, 0.5, 1], [1, 0.5, 0]),
});
