import { expect, it } from 'vitest';
import { lowerGraph } from '../../../compiler/emit/lower.ts';
import { portable, type Target } from '../../../compiler/emit/lowering.ts';
import { Graph, type Value } from '../../../compiler/ir/graph.ts';
import { type NDArray, ndarray } from '../../../compiler/ir/ndarray.ts';
import type { Attrs, Shape } from '../../../compiler/ir/types.ts';
import { operators } from '../../../compiler/ops/index.ts';
import { differentiate } from '../../../compiler/passes/autodiff.ts';
import { interpret } from '../../../compiler/passes/interpret.ts';

/** The first output of one operator. */
function run(name: string, inputs: readonly NDArray[], attrs: Attrs = {}): { shape: readonly number[]; data: number[] } {
  const [{ shape, data }] = operators.get(name)!.evaluate(inputs, attrs);
  return { shape, data: [...data] };
}

/** Operators of the ONNX nodes of Σ `name`(inputs) and its gradients by all inputs. */
function gradientNodes(name: string, shapes: readonly Shape[], attrs: Attrs = {}, target: Target = portable): string[] {
  const graph = new Graph('gradient', 'training', operators);
  const inputs = shapes.map((shape, i) => graph.input(`x${i}`, { dtype: 'float32', shape }, 'data'));
  const y = graph.op(name, inputs, attrs);
  const axes = y.type.shape.map((_, axis) => axis);
  differentiate(graph, graph.op('reduceSum', [y], { axes, keepdims: false }), inputs);
  const { emitter } = lowerGraph(graph, target);
  return emitter.nodes.map((node) => node.op);
}

it('reductions: the numbers of a small array', () => {
  const x = ndarray([2, 3], [1, 2, 6, -1, -2, 9]);
  const attrs = { axes: [1], keepdims: false };
  expect(run('reduceSum', [x], attrs)).toEqual({ shape: [2], data: [9, 6] });
  expect(run('reduceMean', [x], attrs)).toEqual({ shape: [2], data: [3, 2] });
  expect(run('reduceMax', [x], { axes: [0], keepdims: true })).toEqual({ shape: [1, 3], data: [1, 2, 9] });
  expect(run('reduceMin', [x], { axes: [0, 1], keepdims: false })).toEqual({ shape: [], data: [-2] });
});

it('moves: the numbers of a small array', () => {
  const x = ndarray([2, 3], [1, 2, 3, 4, 5, 6]);
  expect(run('transpose', [x], { perm: [1, 0] })).toEqual({ shape: [3, 2], data: [1, 4, 2, 5, 3, 6] });
  expect(run('concat', [x, ndarray([2, 1], [8, 9])], { axis: -1 })).toEqual({ shape: [2, 4], data: [1, 2, 3, 8, 4, 5, 6, 9] });
  expect(run('slice', [x], { starts: [2], ends: [-9], axes: [1], steps: [-2] })).toEqual({ shape: [2, 2], data: [3, 1, 6, 4] });
  expect(run('pad', [ndarray([2], [1, 2])], { pads: [1, 2], value: 7 })).toEqual({ shape: [5], data: [7, 1, 2, 7, 7] });
  expect(run('expand', [ndarray([2, 1], [1, 2]), ndarray([2, 2], [0, 0, 0, 0])])).toEqual({ shape: [2, 2], data: [1, 1, 2, 2] });
  const [left, right] = operators.get('split')!.evaluate([x], { axis: 1, sizes: [1, 2] });
  expect([...left.data, ...right.data]).toEqual([1, 4, 2, 3, 5, 6]);
});

it('lookups: the numbers of a small array, and an index outside', () => {
  const x = ndarray([3, 2], [1, 2, 3, 4, 5, 6]);
  const indices = ndarray([3], [2, 0, 2], 'int64');
  expect(run('gather', [x, indices], { axis: 0 })).toEqual({ shape: [3, 2], data: [5, 6, 1, 2, 5, 6] });
  const dy = ndarray([3, 2], [1, 2, 10, 20, 100, 200]);
  expect(run('gatherGrad', [x, indices, dy], { axis: 0 })).toEqual({ shape: [3, 2], data: [10, 20, 0, 0, 101, 202] });
  expect(run('oneHot', [indices], { depth: 3 })).toEqual({ shape: [3, 3], data: [0, 0, 1, 1, 0, 0, 0, 0, 1] });
  expect(() => run('gather', [x, ndarray([1], [3], 'int64')], { axis: 0 })).toThrow(
    'gather: index 3 is out of range for axis 0 of [3,2]',
  );
});

it('products: the numbers of small matrices', () => {
  const a = ndarray([2, 2], [1, 2, 3, 4]);
  const b = ndarray([2, 2], [5, 6, 7, 8]);
  expect(run('matmul', [a, b]).data).toEqual([19, 22, 43, 50]);
  expect(run('matmul', [a, b], { transA: true }).data).toEqual([26, 30, 38, 44]);
  expect(run('matmul', [a, b], { transB: true }).data).toEqual([17, 23, 39, 53]);
  expect(run('matmul', [a, b], { transA: true, transB: true }).data).toEqual([23, 31, 34, 46]);
  expect(run('linear', [a, b, ndarray([2], [100, 200])]).data).toEqual([117, 223, 139, 253]);
});

it('resize: rows at half-pixel centres', () => {
  const x = ndarray([1, 1, 1, 2], [1, 2]);
  const attrs = { mode: 'bilinear', size: [1, 4] };
  expect(run('resize', [x], attrs)).toEqual({ shape: [1, 1, 1, 4], data: [1, 1.25, 1.75, 2] });
  expect(run('resize', [x], { ...attrs, mode: 'nearest' }).data).toEqual([1, 1, 2, 2]);
  const row = ndarray([1, 1, 1, 6], [0, 1, 2, 3, 4, 5]);
  expect(run('resize', [row], { mode: 'nearest', size: [1, 3] }).data).toEqual([1, 3, 5]);
  expect(run('resize', [row], { mode: 'nearest', size: [1, 4] }).data).toEqual([0, 2, 3, 5]);
  expect(run('resize', [row], { mode: 'bilinear', size: [1, 3] }).data).toEqual([0.5, 2.5, 4.5]);
});

it('a part of a split that the loss does not depend on has the gradient 0', () => {
  for (const used of [[0], [1], [0, 2]]) {
    const graph = new Graph('split', 'training', operators);
    const x = graph.input('x', { dtype: 'float32', shape: ['N', 4] }, 'data');
    const parts = graph.ops('split', [x], { axis: 1, sizes: [1, 2, 1] });
    const sums = used.map((i) => graph.op('reduceSum', [parts[i]], { axes: [0, 1], keepdims: false }));
    const dx = differentiate(
      graph,
      sums.reduce((sum, term) => graph.op('add', [sum, term])),
      [x],
    ).get(x)!;
    expect(dx.type.shape).toEqual(['N', 4]);
    const feeds = new Map<Value, NDArray>([[x, ndarray([1, 4], [1, 2, 3, 4])]]);
    const expected = [0, 1, 1, 2].map((part) => (used.includes(part) ? 1 : 0));
    expect([...interpret(graph, feeds, [dx])[0].data], `parts ${used.join()}`).toEqual(expected);
  }
});

it('gradients of products transpose nothing', () => {
  expect(gradientNodes('linear', [['N', 8], [4, 8], [4]])).not.toContain('Transpose');
  expect(gradientNodes('linear', [['N', 5, 8], [4, 8], [4]])).not.toContain('Transpose');
  const cpu: Target = { provider: 'cpu', opset: 17, block: 0 };
  const stacks = gradientNodes(
    'matmul',
    [
      ['N', 5, 8],
      ['N', 8, 3],
    ],
    {},
    cpu,
  );
  expect(stacks.filter((op) => op === 'FusedMatMul')).toHaveLength(2);
  expect(stacks).not.toContain('Transpose');
});

it('gradients of products with one matrix are one product over all rows', () => {
  const nodes = gradientNodes('matmul', [
    ['N', 5, 8],
    [8, 3],
  ]);
  expect(nodes.filter((op) => op === 'Gemm')).toHaveLength(1);
  expect(nodes.filter((op) => op === 'ReduceSum')).toHaveLength(1);
});
