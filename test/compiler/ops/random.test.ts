import { describe, expect, it } from 'vitest';
import { Graph } from '../../../compiler/ir/graph.ts';
import { ndarray, zeros } from '../../../compiler/ir/ndarray.ts';
import { operators } from '../../../compiler/ops/index.ts';
import { maskOf } from '../../../compiler/ops/random.ts';
import { runGraph } from './run-graph.ts';

/*
 * Everything here is deterministic: a bound of 4.5 deviations that holds once holds always. A mask with a pattern is off by far more.
 */
const BOUND = 4.5;

/** Centred to mean 0 and scaled to variance 1, if the rate is right. */
function standardized(shape: readonly number[], seed: number, p: number, salt = 1): Float64Array {
  return maskOf(shape, seed, { p, salt }).data.map((value) => ((value > 0 ? 1 : 0) - (1 - p)) / Math.sqrt(p * (1 - p)));
}

/** Σ a[i]·b[i + lag] in deviations. */
function correlation(a: Float64Array, b: Float64Array, lag: number): number {
  let sum = 0;
  for (let i = 0; i + lag < a.length; i++) sum += a[i] * b[i + lag];
  return sum / Math.sqrt(a.length - lag);
}

/** How far the sums of the groups `groupOf` spread beyond chance, in deviations of a chi-square. */
function spread(mask: Float64Array, groups: number, groupOf: (i: number) => number): number {
  const sums = new Float64Array(groups);
  mask.forEach((value, i) => {
    sums[groupOf(i)] += value;
  });
  const size = mask.length / groups;
  const chiSquare = sums.reduce((total, sum) => total + (sum * sum) / size, 0);
  return (chiSquare - groups) / Math.sqrt(2 * groups);
}

const shapes = [
  { shape: [64, 64], seeds: 48, lags: [1, 2, 63, 64, 65, 128] },
  { shape: [4, 32, 56, 56], seeds: 2, lags: [1, 2, 55, 56, 57, 3136, 32 * 3136] },
];

it.each([
  [[64, 64], 0.2],
  [[4, 32, 56, 56], 0.5],
  [[3, 5000], 0.1],
] as const)('the mask of %j is the same in ONNX Runtime, bit for bit, with a batch left to the run', async (shape, p) => {
  const graph = new Graph('mask', 'training', operators);
  const like = graph.input('like', { dtype: 'float32', shape: ['N', ...shape.slice(1)] }, 'data');
  const seed = graph.input('seed', { dtype: 'int64', shape: [] }, 'seed');
  const mask = graph.op('dropoutMask', [like, seed], { p, salt: 5 });
  for (const value of [0, 4093, 2 ** 24 - 1]) {
    const feeds = { like: zeros(shape), seed: ndarray([], [value], 'int64') };
    const { outputs } = await runGraph(graph, [mask], feeds, { provider: 'portable', opset: 17, block: 0 });
    const expected = Float32Array.from(maskOf(shape, value, { p, salt: 5 }).data);
    expect(
      Buffer.compare(Buffer.from(outputs[0].buffer, outputs[0].byteOffset, outputs[0].byteLength), Buffer.from(expected.buffer)),
    ).toBe(0);
  }
});

it('an element is 0 or 1/(1 − p), and p = 0 drops nothing', () => {
  expect(new Set(maskOf([64, 64], 9, { p: 0.2, salt: 0 }).data)).toEqual(new Set([0, 1.25]));
  for (const seed of [0, 1, 2, 3]) expect(new Set(maskOf([64, 640], seed, { p: 0, salt: 0 }).data)).toEqual(new Set([1]));
});

describe.each(shapes)('masks of $shape', ({ shape, seeds, lags }) => {
  const rows = shape[0];
  const columns = shape.slice(1).reduce((product, size) => product * size, 1);

  it.each([0.1, 0.2, 0.5, 0.9])('p = %d: the rate is right at every step, and varies from step to step as chance does', (p) => {
    const rates = Array.from({ length: seeds }, (_, seed) => {
      const mask = standardized(shape, seed, p);
      return mask.reduce((sum, value) => sum + value, 0) / Math.sqrt(mask.length);
    });
    for (const rate of rates) expect(Math.abs(rate)).toBeLessThan(BOUND);
    const chiSquare = rates.reduce((sum, rate) => sum + rate * rate, 0);
    expect(Math.abs(chiSquare - seeds) / Math.sqrt(2 * seeds)).toBeLessThan(BOUND);
  });

  it('neighbours, rows and diagonals do not go together', () => {
    for (let seed = 100; seed < 100 + seeds; seed++) {
      const mask = standardized(shape, seed, 0.5);
      for (const lag of lags) expect(Math.abs(correlation(mask, mask, lag)), `seed ${seed}, lag ${lag}`).toBeLessThan(BOUND);
    }
  });

  it('corners of rectangles do not go together', () => {
    for (let seed = 100; seed < 100 + seeds; seed++) {
      const mask = standardized(shape, seed, 0.5);
      const products = mask.map((value, i) => value * mask[(i + 1) % mask.length]);
      expect(Math.abs(correlation(products, products, columns)), `seed ${seed}`).toBeLessThan(BOUND);
    }
  });

  it('steps that follow each other, and masks of other salts, do not go together', () => {
    for (let seed = 1000; seed < 1000 + seeds; seed++) {
      const mask = standardized(shape, seed, 0.5);
      const next = standardized(shape, seed + 1, 0.5);
      const other = standardized(shape, seed, 0.5, 2);
      for (const lag of [0, 1, columns])
        expect(Math.abs(correlation(mask, next, lag)), `seed ${seed}, lag ${lag}`).toBeLessThan(BOUND);
      expect(Math.abs(correlation(mask, other, 0)), `seed ${seed}`).toBeLessThan(BOUND);
    }
  });

  it('no row and no column is favoured: chi-square over their sums, in a step and over steps', () => {
    const total = new Float64Array(rows * columns);
    for (let seed = 0; seed < seeds; seed++) {
      const mask = standardized(shape, seed, 0.2);
      expect(Math.abs(spread(mask, rows, (i) => Math.floor(i / columns))), `rows of seed ${seed}`).toBeLessThan(BOUND);
      expect(Math.abs(spread(mask, columns, (i) => i % columns)), `columns of seed ${seed}`).toBeLessThan(BOUND);
      mask.forEach((value, i) => {
        total[i] += value / Math.sqrt(seeds);
      });
    }
    expect(Math.abs(spread(total, rows * columns, (i) => i))).toBeLessThan(BOUND);
  });
});

it('dropoutMask refuses what is not a probability or a seed', () => {
  const refusal = (p: number, dtype: 'int64' | 'float32' = 'int64', salt = 0) => {
    const graph = new Graph('mask', 'training', operators);
    const like = graph.input('like', { dtype: 'float32', shape: ['N', 4] }, 'data');
    const seed = graph.input('seed', { dtype, shape: [] }, 'seed');
    try {
      graph.op('dropoutMask', [like, seed], { p, salt });
      return '';
    } catch (error) {
      return (error as Error).message;
    }
  };
  expect(refusal(1)).toBe('dropoutMask: p 1 is not a probability below 1');
  expect(refusal(-0.1)).toBe('dropoutMask: p -0.1 is not a probability below 1');
  expect(refusal(0.5, 'float32')).toBe('dropoutMask: takes a seed int64[], got float32[]');
  expect(refusal(0.5, 'int64', 0.5)).toBe('dropoutMask: salt 0.5 is not a whole number');
});
