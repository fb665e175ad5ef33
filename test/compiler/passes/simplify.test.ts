import { describe, expect, it } from 'vitest';
import { Graph, type Value } from '../../../compiler/ir/graph.ts';
import { ndarray, scalar } from '../../../compiler/ir/ndarray.ts';
import { print } from '../../../compiler/ir/printer.ts';
import { elementCount, type Shape } from '../../../compiler/ir/types.ts';
import { operators } from '../../../compiler/ops/index.ts';
import { differentiate } from '../../../compiler/passes/autodiff.ts';
import { interpret } from '../../../compiler/passes/interpret.ts';
import { simplify } from '../../../compiler/passes/simplify.ts';
import { verify } from '../../../compiler/passes/verify.ts';

function graphOf(shape: Shape, body: (graph: Graph, x: Value) => Value): Graph {
  const graph = new Graph('test', 'training', operators);
  graph.outputs.set('y', body(graph, graph.input('x', { dtype: 'float32', shape }, 'data')));
  return graph;
}

/** The output of a graph of `graphOf` for given values of x. */
function resultOf(graph: Graph, x: readonly number[], output = 'y'): number[] {
  const [input] = graph.inputs;
  const shape = input.type.shape.map((dim) => (typeof dim === 'number' ? dim : x.length / elementCount(input.type.shape)));
  return [...interpret(graph, new Map([[input, ndarray(shape, x)]]), [graph.outputs.get(output)!])[0].data];
}

describe('simplify', () => {
  it('folds constants, in float32 as an engine would', () => {
    const simple = simplify(
      graphOf([2], (graph, x) => {
        const third = graph.op('div', [graph.constant(scalar(1)), graph.constant(scalar(3))]);
        return graph.op('mul', [x, third]);
      }),
    );
    expect(simple.nodes.length).toBe(1);
    expect(simple.nodes[0].inputs[1].constant?.data[0]).toBe(Math.fround(1 / 3));
  });

  it('lets an element-wise node read the input of a broadcast', () => {
    const simple = simplify(
      graphOf(['N', 3], (graph, x) => {
        const mean = graph.op('reduceMean', [x], { axes: [1], keepdims: true });
        return graph.op('sub', [x, graph.op('expand', [mean, x])]);
      }),
    );
    expect(print(simple)).toMatchInlineSnapshot(`
      "graph test (training)
      %x float32[N,3] = input  // data
      %0 float32[N,1] = reduceMean(%x) {axes: [1], keepdims: true}
      %1 float32[N,3] = sub(%x, %0)
      return y = %1
      "
    `);
    expect(resultOf(simple, [1, 2, 6, 0, 0, 3])).toEqual([-2, -1, 3, -1, -1, 2]);
  });

  it('reads a repeated gradient as it is behind a ReLU: the gradient of a mean', () => {
    const graph = new Graph('test', 'training', operators);
    const x = graph.input('x', { dtype: 'float32', shape: ['N', 2, 3] }, 'parameter');
    const loss = graph.op('reduceSum', [graph.op('reduceMean', [graph.op('relu', [x])], { axes: [2], keepdims: false })], {
      axes: [0, 1],
      keepdims: false,
    });
    graph.outputs.set('dx', differentiate(graph, loss, [x]).get(x)!);
    const simple = simplify(graph);
    verify(simple);
    expect(simple.outputs.get('dx')?.type.shape).toEqual(['N', 2, 3]);
    expect(resultOf(simple, [1, -2, 3, -4, 5, -6], 'dx')).toEqual([1, 0, 1, 0, 1, 0].map((step) => step / 3));
  });

  it('keeps a broadcast that the shape of the outcome needs', () => {
    const simple = simplify(
      graphOf([4], (graph, x) => {
        const row = graph.op('expand', [graph.constant(ndarray([1], [2])), x]);
        return graph.op('neg', [
          graph.op('mul', [row, graph.op('expand', [graph.op('reduceSum', [x], { axes: [0], keepdims: true }), x])]),
        ]);
      }),
    );
    expect(simple.outputs.get('y')?.type.shape).toEqual([4]);
    expect(resultOf(simple, [1, 2, 3, 4])).toEqual([-20, -20, -20, -20]);
    verify(simple);
  });

  it('drops neutral arithmetic, but not one that broadcasts', () => {
    const one = (graph: Graph) => graph.constant(scalar(1));
    expect(
      simplify(graphOf([2], (graph, x) => graph.op('div', [graph.op('mul', [one(graph), x]), one(graph)]))).nodes.length,
    ).toBe(0);
    const wide = (graph: Graph) => graph.constant(ndarray([3, 1], [1, 1, 1]));
    const repeated = simplify(graphOf([2], (graph, x) => graph.op('mul', [x, wide(graph)])));
    expect(repeated.outputs.get('y')?.type.shape).toEqual([3, 2]);
    expect(resultOf(repeated, [5, 7])).toEqual([5, 7, 5, 7, 5, 7]);
    expect(resultOf(simplify(graphOf([2], (graph, x) => graph.op('div', [one(graph), x]))), [2, 4])).toEqual([0.5, 0.25]);
  });

  it('shares equal nodes and leaves out dead ones', () => {
    const simple = simplify(
      graphOf([2], (graph, x) => {
        graph.op('exp', [x]);
        return graph.op('add', [graph.op('tanh', [x]), graph.op('tanh', [x])]);
      }),
    );
    expect(simple.nodes.map((node) => node.op.name)).toEqual(['tanh', 'add']);
    expect(simple.nodes[1].inputs[0]).toBe(simple.nodes[1].inputs[1]);
  });

  it('shares nodes whose inputs may change places, and only those', () => {
    const twice = (op: string) =>
      simplify(
        graphOf([2], (graph, x) => {
          const [a, b] = [graph.op('tanh', [x]), graph.constant(ndarray([2], [3, 5]))];
          return graph.op('mul', [graph.op(op, [a, b]), graph.op(op, [b, a])]);
        }),
      );
    expect(twice('add').nodes.map((node) => node.op.name)).toEqual(['tanh', 'add', 'mul']);
    expect(resultOf(twice('add'), [0, 0])).toEqual([9, 25]);
    expect(twice('sub').nodes.map((node) => node.op.name)).toEqual(['tanh', 'sub', 'sub', 'mul']);
    expect(resultOf(twice('sub'), [0, 0])).toEqual([-9, -25]);
  });

  it('tells constants and attributes apart that JSON writes alike', () => {
    const values = [0, -0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN];
    const graph = new Graph('test', 'inference', operators);
    const x = graph.input('x', { dtype: 'float32', shape: [1] }, 'data');
    values.forEach((value, i) => {
      graph.outputs.set(`quotient${i}`, graph.op('div', [x, graph.constant(ndarray([1], [value]))]));
      graph.outputs.set(`again${i}`, graph.op('div', [x, graph.constant(ndarray([1], [value]))]));
    });
    for (const min of [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY])
      graph.outputs.set(`clip${min}`, graph.op('clip', [x], { min }));
    const simple = simplify(graph);
    expect(simple.nodes).toHaveLength(values.length + 2);
    const quotients = values.map((_, i) => resultOf(simple, [2], `quotient${i}`)[0]);
    expect(quotients).toEqual([Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -0, Number.NaN]);
    expect(resultOf(simple, [2], 'clip-Infinity')).toEqual([2]);
    expect(resultOf(simple, [2], 'clipInfinity')).toEqual([Number.POSITIVE_INFINITY]);
  });

  it('does not take a shuffle for a copy', () => {
    const kept = simplify(graphOf([2, 2], (graph, x) => graph.op('transpose', [x], { perm: [1, 0] })));
    expect(resultOf(kept, [1, 2, 3, 4])).toEqual([1, 3, 2, 4]);
    const reversed = simplify(
      graphOf([2], (graph, x) => graph.op('slice', [x], { starts: [-1], ends: [-3], axes: [0], steps: [-1] })),
    );
    expect(resultOf(reversed, [1, 2])).toEqual([2, 1]);
    expect(simplify(graphOf([2, 2], (graph, x) => graph.op('reshape', [x], { shape: [2, 2] }))).nodes.length).toBe(0);
  });
});

describe('differentiate', () => {
  it('adds the contributions of a value that is used twice, and gives zeros where nothing depends', () => {
    const graph = new Graph('test', 'training', operators);
    const x = graph.input('x', { dtype: 'float32', shape: [2] }, 'parameter');
    const unused = graph.input('unused', { dtype: 'float32', shape: [3] }, 'parameter');
    const loss = graph.op('reduceSum', [graph.op('mul', [x, x])], { axes: [0], keepdims: false });
    const gradients = differentiate(graph, loss, [x, unused]);
    graph.outputs.set('dx', gradients.get(x)!);
    expect(print(simplify(graph))).toMatchInlineSnapshot(`
      "graph test (training)
      %x float32[2] = input  // parameter
      %unused float32[3] = input  // parameter
      %0 float32[2] = add(%x, %x)
      return dx = %0
      "
    `);
    expect([...gradients.get(unused)!.constant!.data]).toEqual([0, 0, 0]);
  });
});

describe('verify', () => {
  it('refuses a type that the shape rule does not give', () => {
    const graph = graphOf([2], (graph, x) => graph.op('exp', [x]));
    verify(graph);
    Object.assign(graph.nodes[0].outputs[0], { type: { dtype: 'float32', shape: [3] } });
    expect(() => verify(graph)).toThrow('exp: output 0 is float32[3], its shape rule says float32[2]');
  });

  it('refuses an input that is made later', () => {
    const graph = graphOf([2], (graph, x) => graph.op('exp', [graph.op('neg', [x])]));
    graph.nodes.reverse();
    expect(() => verify(graph)).toThrow('exp: its input neg is not made before it');
  });
});
