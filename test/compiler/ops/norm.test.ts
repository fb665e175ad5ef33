import { describe, expect, it } from 'vitest';
import type { Target } from '../../../compiler/emit/lowering.ts';
import { Graph, type GraphMode } from '../../../compiler/ir/graph.ts';
import type { NDArray } from '../../../compiler/ir/ndarray.ts';
import type { Attrs } from '../../../compiler/ir/types.ts';
import { operators } from '../../../compiler/ops/index.ts';
import { noise, runGraph } from './run-graph.ts';

const cpu: Target = { provider: 'cpu', opset: 17, block: 0 };
const portable: Target = { provider: 'portable', opset: 17, block: 0 };

/** A norm and its gradient in one graph, run and by the reference. */
async function both(
  name: string,
  x: NDArray,
  attrs: Attrs,
  target: Target,
  batch: number | string = x.shape[0],
  mode: GraphMode = 'training',
) {
  const graph = new Graph(name, mode, operators);
  const type = { dtype: 'float32', shape: [batch, ...x.shape.slice(1)] } as const;
  const channels = { dtype: 'float32', shape: [x.shape[1]] } as const;
  const feeds = {
    x,
    w: noise(channels.shape, 1, 0.2, 2),
    b: noise(channels.shape, 0, 0.2, 3),
    dy: noise(x.shape, 0, 0.5, 4),
  };
  const [xv, w, b, dy] = [
    graph.input('x', type, 'data'),
    graph.input('w', channels, 'parameter'),
    graph.input('b', channels, 'parameter'),
    graph.input('dy', type, 'data'),
  ];
  const [y] = graph.ops(name, [xv, w, b], attrs);
  const grads = graph.ops(`${name}Grad`, [xv, w, dy], attrs);
  const run = await runGraph(graph, [y, ...grads], feeds, target);
  const [exact] = operators.get(name)!.evaluate([feeds.x, feeds.w, feeds.b], attrs);
  const exactGrads = operators.get(`${name}Grad`)!.evaluate([feeds.x, feeds.w, feeds.dy], attrs);
  const errors = [exact, ...exactGrads].map(({ data }, i) => {
    const largest = data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    return data.reduce((most, value, k) => Math.max(most, Math.abs(value - run.outputs[i][k])), 0) / largest;
  });
  return { ...run, errors };
}

const map = [3, 4, 24, 24];

describe.each([
  ['groupNorm', { groups: 2, epsilon: 1e-5 }],
  ['groupNorm', { groups: 4, epsilon: 1e-5 }],
  ['batchNorm', { epsilon: 1e-5 }],
] as const)('%s %j', (name, attrs) => {
  it.each([
    ['an ordinary map', 0.3, 1],
    ['a mean of 30 deviations', -30, 1],
    // A mean of squares in float32 is off by more than the variance here.
    ['a mean of 10,000 deviations', 100, 0.01],
  ])('%s: float32 keeps six digits of y, dx, dw and db', async (_title, mean, deviation) => {
    const x = noise(map, mean, deviation, 1);
    for (const [target, batch] of [
      [cpu, 3],
      [portable, 3],
      [portable, 'N'],
    ] as const) {
      const { errors, lowerings } = await both(name, x, attrs, target, batch);
      expect(new Set(lowerings), 'forward pass and gradient are written alike').toHaveProperty('size', 1);
      errors.forEach((error, i) => {
        expect(error, `${target.provider}, batch ${batch}, ${['y', 'dx', 'dw', 'db'][i]}`).toBeLessThan(3e-6);
      });
    }
  });

  it('the gradient takes the moments that the forward pass has', async () => {
    const { counts } = await both(name, noise(map, 0, 1, 1), attrs, portable);
    // One for Σx², one 1/√: a second set of moments would double them.
    expect(counts.Sqrt).toBe(1);
    expect(counts.Reciprocal).toBe(1);
  });
});

it('groupNorm: first rows far from the rest of the map do not spoil the moments', async () => {
  const x = noise(map, 5, 0.1, 1);
  // The probe looks at the middle of a row; an outlier there is the worst that can happen to it.
  const outlier = { ...x, data: x.data.map((value, i) => (i % 576 > 250 && i % 576 < 320 ? 400 : value)) };
  const { errors } = await both('groupNorm', outlier, { groups: 4, epsilon: 1e-5 }, cpu);
  for (const error of errors) expect(error).toBeLessThan(1e-5);
});

it('groupNorm: with a group a channel, in inference, it is one InstanceNormalization', async () => {
  const attrs = { groups: 4, epsilon: 1e-5 };
  const { errors, lowerings } = await both('groupNorm', noise(map, 0.3, 1, 1), attrs, portable, 'N', 'inference');
  expect(lowerings[0]).toBe('InstanceNormalization');
  for (const error of errors) expect(error).toBeLessThan(3e-6);
});

it('batchNorm: mean and biased variance of the batch', () => {
  const x = { dtype: 'float32', shape: [2, 1, 2], data: Float64Array.of(1, 2, 3, 6) } as const;
  const one = { dtype: 'float32', shape: [1], data: Float64Array.of(1) } as const;
  const [y, mean, variance] = operators.get('batchNorm')!.evaluate([x, one, one], { epsilon: 0.5 });
  expect(mean.data[0]).toBe(3);
  expect(variance.data[0]).toBe(3.5);
  expect([...y.data]).toEqual([0, 0.5, 1, 2.5]);
});

function refusal(name: string, shapes: readonly (readonly (number | string)[])[], attrs: Attrs): string {
  const graph = new Graph('shapes', 'training', operators);
  const inputs = shapes.map((shape, i) => graph.input(`x${i}`, { dtype: 'float32', shape }, 'data'));
  try {
    graph.ops(name, inputs, attrs);
    return '';
  } catch (error) {
    return (error as Error).message;
  }
}

it('norms refuse what they cannot normalise, in one sentence', () => {
  const epsilon = 1e-5;
  expect(refusal('groupNorm', [['N', 48, 7, 7], [48], [48]], { groups: 32, epsilon })).toBe(
    'groupNorm: 48 channels are not divisible by 32 groups',
  );
  expect(refusal('groupNorm', [['N', 48, 7, 7], [32], [48]], { groups: 16, epsilon })).toBe(
    'groupNorm: [32] is not one value for each of the 48 channels of [N,48,7,7]',
  );
  expect(refusal('batchNorm', [['N'], [1], [1]], { epsilon })).toBe('batchNorm: takes [N,C,…], got [N]');
  expect(refusal('instanceNorm', [['N', 3, 'L'], [3], [3]], { epsilon })).toBe(
    'instanceNorm: [N,3,L] needs a number in place of L',
  );
  expect(refusal('batchNorm', [['N', 3], [3], [3]], { epsilon: 0 })).toBe('batchNorm: epsilon 0 is not a positive number');
  expect(refusal('layerNorm', [['N', 3], [3], [3]], { axis: 2, epsilon })).toBe('layerNorm: axis 2 is out of range for [N,3]');
  expect(refusal('layerNorm', [['N', 3, 5], [5], [3, 5]], { axis: 1, epsilon })).toBe(
    'layerNorm: [5] is not [3,5], the axes from 1 of [N,3,5]',
  );
});
