import { expect, it } from 'vitest';
import { Graph } from '../../../compiler/ir/graph.ts';
import { ndarray, scalar } from '../../../compiler/ir/ndarray.ts';
import { defineOp } from '../../../compiler/ir/op.ts';
import { operators } from '../../../compiler/ops/index.ts';
import { interpret } from '../../../compiler/passes/interpret.ts';

function example() {
  const graph = new Graph('example', 'inference', operators);
  const x = graph.input('x', { dtype: 'float32', shape: [2] }, 'data');
  const more = graph.op('add', [x, graph.constant(scalar(1))]);
  const twice = graph.op('mul', [more, graph.constant(scalar(2))]);
  return { graph, x, more, twice };
}

it('computes what is wanted from inputs and constants, in double precision', () => {
  const { graph, x, more, twice } = example();
  const feeds = new Map([[x, ndarray([2], [0.1, 3])]]);
  const [a, b, c] = interpret(graph, feeds, [twice, more, x]);
  expect([...a.data]).toEqual([2.2, 8]);
  expect([...b.data]).toEqual([1.1, 4]);
  expect(c).toBe(feeds.get(x));
});

it('takes the array of a value in the middle, and needs nothing behind it', () => {
  const { graph, more, twice } = example();
  const [result] = interpret(graph, new Map([[more, ndarray([2], [5, 6])]]), [twice]);
  expect([...result.data]).toEqual([10, 12]);
});

it('runs only the nodes that are wanted', () => {
  const { graph, x, twice } = example();
  const trap = defineOp('trap', {
    summary: 'Fails.',
    properties: {},
    infer: (inputs) => inputs,
    vjp: { none: 'it fails' },
    lower: [],
    flops: () => 0,
    evaluate: () => expect.fail('a node was run that nothing wants'),
    samples: () => [],
  });
  graph.add(trap, [x]);
  expect([...interpret(graph, new Map([[x, ndarray([2], [0, 1])]]), [twice])[0].data]).toEqual([2, 4]);
});

it('names the input that has no array', () => {
  const { graph, twice } = example();
  expect(() => interpret(graph, new Map(), [twice])).toThrow('x: has no array to compute with');
});
