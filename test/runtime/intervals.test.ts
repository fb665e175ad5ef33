import { describe, expect, it } from 'vitest';
import { random } from '../../numeric/random.ts';
import { bootstrap, bootstrapOverGroups, groupNumbers } from '../../runtime/metrics/bootstrap.ts';
import { overRuns, studentT } from '../../runtime/metrics/runs.ts';
import { report } from '../../runtime/metrics.ts';

/** Examples of three classes in 40 groups of different sizes and different difficulty, some examples without a group. */
function drawnRows(count: number) {
  const next = random('rows');
  const labels = new Int32Array(count);
  const predicted = new Int32Array(count);
  const groups = Array.from({ length: count }, (_, n) => {
    const group = Math.floor(40 * next() ** 2);
    labels[n] = group % 3;
    predicted[n] = next() < 0.95 - group / 100 ? labels[n] : Math.floor(3 * next());
    return next() < 0.05 ? null : `g${group}`;
  });
  return { labels, predicted, groups };
}

/** Accuracy and macro F1 of rows, written out anew; F1 over the classes that occur. */
function figures(rows: readonly { label: number; predicted: number }[]) {
  const f1 = [0, 1, 2].flatMap((index) => {
    const hits = rows.filter(({ label, predicted }) => label === index && predicted === index).length;
    const either =
      rows.filter(({ label }) => label === index).length + rows.filter(({ predicted }) => predicted === index).length;
    return either === 0 ? [] : [(2 * hits) / either];
  });
  const accuracy = rows.filter(({ label, predicted }) => label === predicted).length / rows.length;
  return { accuracy, macroF1: f1.reduce((a, b) => a + b) / f1.length };
}

describe('the bootstrap over groups', () => {
  it('is that of rows copied group by group', () => {
    const { labels, predicted, groups } = drawnRows(120);
    const result = bootstrapOverGroups({ labels, predicted }, 3, groups, { resamples: 200, seed: 5 })!;
    // The reference draws the same groups and counts the rows of each resample one by one.
    const { count, of } = groupNumbers(groups);
    const members = Array.from({ length: count }, (_, group) => [...of.keys()].filter((n) => of[n] === group));
    const next = random(5, 'bootstrap');
    const resamples = Array.from({ length: 200 }, () => {
      const drawn = Array.from({ length: count }, () => members[Math.floor(next() * count)]).flat();
      return figures(drawn.map((n) => ({ label: labels[n], predicted: predicted[n] })));
    });
    expect(result).toMatchObject({ groups: count, resamples: 200, level: 0.95 });
    for (const name of ['accuracy', 'macroF1'] as const) {
      const sorted = resamples.map((figure) => figure[name]).sort((a, b) => a - b);
      // 199 · 0.025 = 4.975 and 199 · 0.975 = 194.025, between two values.
      expect(result[name].low).toBeCloseTo(sorted[4] + 0.975 * (sorted[5] - sorted[4]), 12);
      expect(result[name].high).toBeCloseTo(sorted[194] + 0.025 * (sorted[195] - sorted[194]), 12);
      const all = [...labels.keys()].map((n) => ({ label: labels[n], predicted: predicted[n] }));
      expect(result[name].estimate).toBeCloseTo(figures(all)[name], 12);
    }
    expect(bootstrapOverGroups({ labels, predicted }, 3, groups, { resamples: 200, seed: 5 })).toEqual(result);
    expect(bootstrapOverGroups({ labels, predicted }, 3, groups, { resamples: 200, seed: 6 })).not.toEqual(result);
  });

  it('has the variance of a mean over groups of one size, which is known', () => {
    // 50 groups of 20 that are right as a whole or wrong as a whole: the mean of 50 draws of 0 or 1, 30 of them 1.
    const groups = Array.from({ length: 1000 }, (_, n) => `g${n % 50}`);
    const predicted = Int32Array.from(groups, (_, n) => Number(n % 50 < 30));
    const labels = new Int32Array(1000).fill(1);
    const { accuracy } = bootstrapOverGroups({ labels, predicted }, 2, groups, { resamples: 20_000 })!;
    // Binomial(50, 0.6): P(X ≤ 22) = 0.0160, P(X ≤ 23) = 0.0314; P(X ≤ 36) = 0.9720, P(X ≤ 37) = 0.9867.
    expect(accuracy).toEqual({ estimate: 0.6, low: 23 / 50, high: 37 / 50 });
    // Without groups the same examples seem to say far more: 1,000 draws.
    const single = bootstrapOverGroups({ labels, predicted }, 2, [...groups.keys()].map(String), { resamples: 2000 })!;
    expect(single.accuracy.high - single.accuracy.low).toBeCloseTo(2 * 1.96 * Math.sqrt((0.6 * 0.4) / 1000), 2);
  });

  it('takes any figure, and its resamples scatter as theory has it', () => {
    const values = Array.from({ length: 60 }, (_, i) => Math.sin(i));
    const mean = values.reduce((a, b) => a + b) / 60;
    const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / 60);
    const drawn: number[] = [];
    bootstrap(60, (times) => {
      drawn.push(values.reduce((sum, value, i) => sum + value * times[i], 0) / 60);
      return { mean: drawn.at(-1)! };
    });
    const [estimate, ...resamples] = drawn;
    expect(estimate).toBeCloseTo(mean, 14);
    expect(resamples).toHaveLength(2000);
    const centre = resamples.reduce((a, b) => a + b) / 2000;
    const spread = Math.sqrt(resamples.reduce((sum, value) => sum + (value - centre) ** 2, 0) / 2000);
    // The Monte Carlo error of 2,000 draws: σ / √2000 of the mean, and a share of 1 / √4000 of the deviation; three of each.
    const expected = deviation / Math.sqrt(60);
    expect(Math.abs(centre - mean)).toBeLessThan((3 * expected) / Math.sqrt(2000));
    expect(Math.abs(spread / expected - 1)).toBeLessThan(3 / Math.sqrt(4000));
  });

  it('leaves a class out of the mean F1 of a resample that has none of it', () => {
    // One group a class, each without a mistake: whatever is drawn has F1 1.
    const labels = Int32Array.of(0, 0, 1, 2);
    const result = bootstrapOverGroups({ labels, predicted: labels }, 4, ['a', 'a', 'b', 'c']);
    expect(result!.macroF1).toEqual({ estimate: 1, low: 1, high: 1 });
  });

  it('takes a row without a group for a group of its own, and says nothing where none is known', () => {
    expect(groupNumbers(['b', null, 'a', 'b', null])).toEqual({ count: 4, of: Int32Array.of(0, 1, 2, 0, 3) });
    const rows = { labels: Int32Array.of(0, 1), predicted: Int32Array.of(0, 1) };
    expect(bootstrapOverGroups(rows, 2, [null, null])).toBe(null);
    expect(bootstrapOverGroups({ labels: new Int32Array(0), predicted: new Int32Array(0) }, 2, [])).toBe(null);
  });

  it('is done at once for 3,000 rows', () => {
    const { labels, predicted } = drawnRows(3000);
    const groups = Array.from({ length: 3000 }, (_, n) => (n === 0 ? 'one' : null));
    const start = performance.now();
    expect(bootstrapOverGroups({ labels, predicted }, 3, groups)!.groups).toBe(3000);
    // About half a second; a bound that a busy machine keeps.
    expect(performance.now() - start).toBeLessThan(5000);
  });
});

describe('a figure over runs', () => {
  it("has Student's interval", () => {
    // Mean 3, deviation √2.5, t of 4 degrees of freedom 2.7764451051977987.
    const { mean, deviation, low, high, runs } = overRuns([1, 2, 3, 4, 5]);
    expect([runs, mean]).toEqual([5, 3]);
    expect(deviation).toBeCloseTo(Math.sqrt(2.5), 14);
    expect(high).toBeCloseTo(3 + 2.7764451051977987 * Math.sqrt(0.5), 12);
    expect(low).toBeCloseTo(3 - 2.7764451051977987 * Math.sqrt(0.5), 12);
    expect(overRuns([0.9])).toEqual({ runs: 1, mean: 0.9, deviation: null, low: null, high: null });
    expect(() => overRuns([])).toThrow(RangeError);
  });

  it.each([
    // Closed forms for 1 and 2, then the tables.
    [0.95, 1, Math.tan(0.475 * Math.PI)],
    [0.95, 2, 0.95 * Math.sqrt(2 / (1 - 0.95 ** 2))],
    [0.95, 3, 3.182446305284263],
    [0.95, 10, 2.228138851964939],
    [0.99, 7, 3.4994832973505026],
    [0.95, 30, 2.042272456301238],
    [0.95, 1000, 1.9623390808264078],
  ])('takes the t of %f and %i degrees of freedom', (level, freedom, t) => {
    expect(studentT(level, freedom)).toBeCloseTo(t, 10);
  });
});

it('a report of the same rows has the accuracy that the interval is around', () => {
  const { labels, predicted, groups } = drawnRows(300);
  const counts = Array.from({ length: 3 }, () => [0, 0, 0]);
  labels.forEach((label, n) => {
    counts[label][predicted[n]]++;
  });
  const { accuracy, macro } = report({ classes: 3, counts }, ['a', 'b', 'c']);
  const intervals = bootstrapOverGroups({ labels, predicted }, 3, groups)!;
  expect(intervals.accuracy.estimate).toBeCloseTo(accuracy, 14);
  expect(intervals.macroF1.estimate).toBeCloseTo(macro.f1, 14);
  expect(intervals.accuracy.low).toBeLessThan(accuracy);
  expect(intervals.accuracy.high).toBeGreaterThan(accuracy);
});
