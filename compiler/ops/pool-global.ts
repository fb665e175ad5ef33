/*
 * Pooling over the whole map of x [N,C,…], m places a channel.
 *
 *   y = Σ x / m      dx = dy / m                     at every place
 *   y = max x        dx = t · dy / Σt,  t = (x = y)   the places that tie share dy evenly
 */
import type { Emitter } from '../emit/emitter.ts';
import type { Graph, Value } from '../ir/graph.ts';
import { ndarray } from '../ir/ndarray.ts';
import { defineOp, type OpDefinition, type Sample, type Site } from '../ir/op.ts';
import { elementCount, formatShape, type Shape, type TensorType } from '../ir/types.ts';
import { scattered } from './norm-inputs.ts';
import { requireDType, requireKnown, shapeError } from './shapes.ts';

interface GlobalRules {
  readonly summary: string;
  readonly onnx: 'ReduceMean' | 'ReduceMax';
  /** One value from those of a map. */
  evaluate(map: Float64Array): number;
  dx(graph: Graph, x: Value, y: Value, dy: Value, axes: readonly number[]): Value;
  readonly samples: readonly Sample[];
}

function inferGlobal(inputs: readonly TensorType[], site: Site): readonly TensorType[] {
  const [x] = inputs;
  requireDType(inputs, 'float32', site);
  if (x.shape.length < 3) throw shapeError(site, 'SHAPE_RANK', `takes [N,C,…] with a map, got ${formatShape(x.shape)}`, inputs);
  requireKnown(x, 2, inputs, site);
  return [{ dtype: 'float32', shape: [x.shape[0], x.shape[1], ...x.shape.slice(2).map(() => 1)] }];
}

function mapAxes(shape: Shape): number[] {
  return shape.map((_, axis) => axis).slice(2);
}

function globalPool(name: string, rules: GlobalRules): OpDefinition {
  return defineOp(name, {
    summary: rules.summary,
    properties: {},
    infer: (inputs, _attrs, site) => inferGlobal(inputs, site),
    vjp: (graph, { inputs: [x], outputs: [y], grads: [dy] }) => [rules.dx(graph, x, y, dy!, mapAxes(x.type.shape))],
    lower: [
      {
        name: 'standard',
        emit: (e: Emitter, node, [x]) => e.reduce(rules.onnx, x, mapAxes(node.inputs[0].type.shape), true),
      },
    ],
    flops: ([x]) => elementCount(x.shape),
    evaluate([x]) {
      const size = elementCount(x.shape.slice(2));
      const maps = Array.from({ length: x.shape[0] * x.shape[1] }, (_, i) => x.data.subarray(i * size, (i + 1) * size));
      return [ndarray([x.shape[0], x.shape[1], ...x.shape.slice(2).map(() => 1)], maps.map(rules.evaluate))];
    },
    samples: () => [
      { name: 'maps', inputs: [scattered([2, 3, 3, 2])] },
      { name: 'sequences', inputs: [scattered([2, 2, 5])] },
      { name: 'one sample, one channel', inputs: [scattered([1, 1, 2, 3])] },
      { name: 'maps of size 1', inputs: [scattered([2, 3, 1, 1])] },
      ...rules.samples,
    ],
  });
}

export const globalAveragePool = globalPool('globalAveragePool', {
  summary: 'Mean over the map of x [N,C,…] → [N,C,1,…].',
  onnx: 'ReduceMean',
  evaluate: (map) => map.reduce((sum, value) => sum + value, 0) / map.length,
  dx(graph, x, _y, dy, axes) {
    const share = graph.constant(ndarray([], [1 / elementCount(axes.map((axis) => x.type.shape[axis]))]));
    return graph.op('expand', [graph.op('mul', [dy, share]), x]);
  },
  samples: [{ name: 'a large mean against a small deviation', inputs: [scattered([1, 2, 4, 4], 1000, 0.01)] }],
});

export const globalMaxPool = globalPool('globalMaxPool', {
  summary: 'Maximum over the map of x [N,C,…] → [N,C,1,…]; places that tie share the gradient evenly.',
  onnx: 'ReduceMax',
  evaluate: (map) => map.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY),
  dx(graph, x, y, dy, axes) {
    const ties = graph.op('cast', [graph.op('equal', [x, y])], { to: 'float32' });
    const count = graph.op('reduceSum', [ties], { axes, keepdims: true });
    return graph.op('mul', [ties, graph.op('div', [dy, count])]);
  },
  samples: [
    {
      name: 'ties',
      kink: true,
      inputs: [ndarray([1, 2, 2, 2], [3, 1, 3, 3, -1, -1, -2, -3])],
      expectedGrads: [ndarray([1, 2, 2, 2], [1 / 3, 0, 1 / 3, 1 / 3, 0.5, 0.5, 0, 0])],
    },
  ],
});
