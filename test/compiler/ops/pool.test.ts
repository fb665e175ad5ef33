import { expect, it } from 'vitest';
import type { Target } from '../../../compiler/emit/lowering.ts';
import { Graph } from '../../../compiler/ir/graph.ts';
import { ndarray } from '../../../compiler/ir/ndarray.ts';
import type { Attrs } from '../../../compiler/ir/types.ts';
import { operators } from '../../../compiler/ops/index.ts';
import { noise, runGraph } from './run-graph.ts';

const cpu: Target = { provider: 'cpu', opset: 17, block: 0 };
const webgpu: Target = { provider: 'webgpu', opset: 17, block: 0 };

const tiles = { kernel: [2, 2], strides: [2, 2], pads: [0, 0, 0, 0] };
const overlapping = { kernel: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] };

it.each([
  ['tiles', 'tiled windows', cpu, tiles],
  ['tiles of 5x3', 'tiled windows', cpu, { kernel: [5, 3], strides: [5, 3], pads: [0, 0, 0, 0] }],
  ['overlapping windows on CPU', 'scatter', cpu, overlapping],
  ['overlapping windows elsewhere', 'by offset', webgpu, overlapping],
] as const)('maxPoolGrad, %s: each window gives all of dy to its first maximum', async (_title, lowering, target, attrs) => {
  // A map like an image's: large areas of one value, so that most windows tie.
  const x = noise([2, 3, 31, 32], 0, 1, 7);
  const flat = { ...x, data: x.data.map((value) => Math.max(0, Math.round(value))) };
  const graph = new Graph('pool', 'training', operators);
  const xv = graph.input('x', { dtype: 'float32', shape: ['N', 3, 31, 32] }, 'data');
  const y = graph.op('maxPool', [xv], attrs);
  const dyv = graph.input('dy', y.type, 'data');
  const dx = graph.op('maxPoolGrad', [xv, dyv], attrs);
  const [exact] = operators.get('maxPool')!.evaluate([flat], attrs);
  const dy = noise(exact.shape, 0, 1, 8);
  const run = await runGraph(graph, [y, dx], { x: flat, dy }, target);
  expect(run.lowerings[1]).toBe(lowering);
  expect([...run.outputs[0]]).toEqual([...exact.data]);
  const [grad] = operators.get('maxPoolGrad')!.evaluate([flat, dy], attrs);
  const worst = grad.data.reduce((most, value, i) => Math.max(most, Math.abs(value - run.outputs[1][i])), 0);
  // Up to four windows are added where they overlap; tiles are moved only.
  expect(worst).toBeLessThanOrEqual(lowering === 'tiled windows' ? 0 : 1e-6);
});

it('maxPoolGrad: the forward pass is not run twice', async () => {
  for (const [target, attrs, pools] of [
    [cpu, overlapping, 1],
    [webgpu, overlapping, 1],
    // The second one is over the candidates' codes.
    [cpu, tiles, 2],
  ] as const) {
    const graph = new Graph('pool', 'training', operators);
    const x = graph.input('x', { dtype: 'float32', shape: [1, 2, 8, 8] }, 'data');
    const y = graph.op('maxPool', [x], attrs);
    const dx = graph.op('maxPoolGrad', [x, y], attrs);
    const { counts } = await runGraph(graph, [y, dx], { x: noise([1, 2, 8, 8], 0, 1, 1) }, target);
    expect(counts.MaxPool).toBe(pools);
  }
});

it('averagePool: the count is that of the kernel, or of the elements inside', () => {
  const x = ndarray([1, 1, 2, 2], [1, 2, 3, 4]);
  const attrs = { kernel: [2, 2], strides: [1, 1], pads: [1, 1, 0, 0] };
  const average = (countIncludePad: boolean) => [
    ...operators.get('averagePool')!.evaluate([x], { ...attrs, countIncludePad })[0].data,
  ];
  expect(average(true)).toEqual([0.25, 0.75, 1, 2.5]);
  expect(average(false)).toEqual([1, 1.5, 2, 2.5]);
});

function refusal(name: string, shape: readonly (number | string)[], attrs: Attrs): string {
  const graph = new Graph('shapes', 'training', operators);
  try {
    graph.ops(name, [graph.input('x', { dtype: 'float32', shape }, 'data')], attrs);
    return '';
  } catch (error) {
    return (error as Error).message;
  }
}

it('pools refuse windows that do not fit, in one sentence', () => {
  const wide = { kernel: [7, 7], strides: [2, 2], pads: [1, 1, 1, 1] };
  expect(refusal('maxPool', ['N', 3, 2, 2], wide)).toBe('maxPool: kernel 7x7 does not fit the padded input 4x4');
  expect(refusal('maxPool', ['N', 3, 9, 9], { ...tiles, pads: [0, 2, 0, 0] })).toBe(
    'maxPool: pad 2 is not smaller than the kernel 2',
  );
  expect(refusal('maxPool', ['N', 3, 9, 9], { ...tiles, strides: [2, 0] })).toBe(
    'maxPool: strides must be whole numbers of at least 1, got 0',
  );
  expect(refusal('maxPool', ['N', 3, 9], tiles)).toBe('maxPool: kernel must have 1 values, got 2');
  expect(refusal('averagePool', ['N', 3], { ...tiles, countIncludePad: true })).toBe(
    'averagePool: takes [N,C,L] or [N,C,H,W], got [N,3]',
  );
  expect(refusal('globalMaxPool', ['N', 3, 'H', 4], {})).toBe('globalMaxPool: [N,3,H,4] needs a number in place of H');
});
