import { describe, expect, it } from 'vitest';
import { ndarray } from '../../compiler/ir/ndarray.ts';
import { interpret } from '../../compiler/passes/interpret.ts';
import { adaptiveAveragePool, mul, sum, type Tensor } from '../../dsl/index.ts';
import { graphValue } from '../../dsl/tensor.ts';
import type { PerAxis } from '../../dsl/types/index.ts';
import { refusal, valueAndGradient, writer } from './graph-of.ts';

/** The pooled map of one channel, row by row. */
function pooled(rows: readonly (readonly number[])[], size: PerAxis): number[] {
  const { context, input } = writer();
  const x = input('x', [1, 1, rows.length, rows[0].length]);
  const y = adaptiveAveragePool(x, size);
  const [result] = interpret(context.graph, new Map([[graphValue(x), ndarray(x.shape as number[], rows.flat())]]), [
    graphValue(y),
  ]);
  expect(result.shape).toEqual([1, 1, ...(typeof size === 'number' ? [size, size] : size)]);
  return [...result.data];
}

describe('adaptiveAveragePool', () => {
  it('takes means of windows that tile the map where the sizes divide it', () => {
    const rows = [
      [1, 2, 3, 4],
      [5, 6, 7, 8],
    ];
    expect(pooled(rows, 2)).toEqual([1.5, 3.5, 5.5, 7.5]);
    expect(pooled(rows, [1, 2])).toEqual([3.5, 5.5]);
    expect(pooled(rows, [2, 4])).toEqual(rows.flat());
  });

  it('takes windows that overlap where they do not: 0 to 2, 1 to 4 and 3 to 5 of five places', () => {
    const [a, b, c] = pooled([[1, 2, 4, 8, 16]], [1, 3]);
    expect([a, b, c]).toEqual([1.5, (2 + 4 + 8) / 3, 12].map((value) => expect.closeTo(value, 12)));
  });

  it('repeats where the map has fewer places than windows', () => {
    expect(pooled([[3]], 2)).toEqual([3, 3, 3, 3]);
    // Three windows of two places: 0, 0 to 2, 1.
    expect(pooled([[1, 5]], [2, 3])).toEqual([1, 3, 5, 1, 3, 5]);
  });

  it('hands each place the share that windows take of it', () => {
    const w = writer();
    const x = w.input('x', [1, 1, 1, 5]);
    const weights = w.input('weights', [1, 1, 1, 3]);
    const loss = sum(mul(adaptiveAveragePool(x, [1, 3]), weights), [0, 1, 2, 3]) as Tensor;
    const { gradient } = valueAndGradient(w, loss, x, [
      [x, [0, 0, 0, 0, 0]],
      [weights, [2, 3, 4]],
    ]);
    expect(gradient).toEqual([1, 2, 1, 3, 2].map((value) => expect.closeTo(value, 12)));
  });

  it.each<[readonly (number | string)[], PerAxis, string]>([
    [['N', 2, 4], 2, 'SHAPE_RANK  adaptiveAveragePool: takes [N,C,H,W], got [N,2,4]'],
    [['N', 2, 'H', 4], 2, 'SHAPE_ATTRIBUTE  adaptiveAveragePool: [N,2,H,4] needs a number in place of H'],
    [['N', 2, 4, 4], 0, 'SHAPE_ATTRIBUTE  adaptiveAveragePool: size must be whole numbers of at least 1, got 0'],
    [['N', 2, 4, 4], [2, 1.5], 'SHAPE_ATTRIBUTE  adaptiveAveragePool: size must be whole numbers of at least 1, got 1.5'],
  ])('refuses %j to %j', (shape, size, sentence) => {
    expect(refusal(() => adaptiveAveragePool(writer().input('x', shape), size)).split('\n')[0]).toBe(sentence);
  });
});
