import { describe, expect, it } from 'vitest';
import { type RangePoint, rangeTest, suggestRates } from '../../runtime/range-test.ts';
import { points as examples, files, initialWeights, manifest, reference } from './softmax-regression.ts';

const asked = {
  manifest,
  files,
  weights: initialWeights,
  data: examples(50, 'train'),
  batch: 8,
  seed: 7,
  augmentation: null,
  threads: 1,
};

describe('a range test', () => {
  it('raises the rate exponentially, on the batches of a training, and smooths the loss', async () => {
    const { points, end } = await rangeTest({ ...asked, steps: 30, rates: [1e-4, 1] });
    expect(end).toBe('complete');
    expect(points).toHaveLength(30);
    points.forEach(({ rate }, i) => {
      expect(rate / 10 ** (-4 + (4 * i) / 29)).toBeCloseTo(1, 12);
    });
    // The losses of an epoch of 6 batches are those of a training with these rates, in double precision.
    const schedule = (step: number) => ({ learningRate: 1e-4 * 1e4 ** (step / 29) });
    const epochs = reference(asked.data, asked.data, { epochs: 5, batch: 8, schedule, seed: 7 });
    epochs.forEach(({ loss }, e) => {
      expect(points.slice(6 * e, 6 * e + 6).reduce((sum, point) => sum + point.loss / 6, 0)).toBeCloseTo(loss, 5);
    });
    let sum = 0;
    let weight = 0;
    for (const { loss, smoothed } of points) {
      sum = 0.98 * sum + loss;
      weight = 0.98 * weight + 1;
      expect(smoothed).toBeCloseTo(sum / weight, 12);
    }
  });

  it('ends where the smoothed loss is four times its lowest', async () => {
    const { points, end } = await rangeTest({ ...asked, steps: 60, rates: [1e-2, 1e4] });
    expect(end).toBe('diverged');
    expect(points.length).toBeLessThan(60);
    const lowest = Math.min(...points.map(({ smoothed }) => smoothed));
    expect(points.at(-1)!.smoothed).toBeGreaterThan(4 * lowest);
    expect(points.at(-2)!.smoothed).toBeLessThan(4 * lowest);
  });

  it('refuses fewer examples than a batch', async () => {
    await expect(rangeTest({ ...asked, batch: 51, steps: 30 })).rejects.toMatchObject({ code: 'TRAIN_TOO_FEW' });
  });
});

describe('suggestRates', () => {
  const curve = (loss: (log: number) => number): RangePoint[] =>
    Array.from({ length: 100 }, (_, i) => {
      const log = -7 + (7 * i) / 99;
      return { rate: 10 ** log, loss: loss(log), smoothed: loss(log) };
    });

  it('finds the steepest fall of a sigmoid, and a tenth of where it is lowest', () => {
    // Falls fastest at 1e-3, and grows again beyond 1e-1.
    const { steepest, tenthOfLowest } = suggestRates(
      curve((log) => 1 / (1 + Math.exp(4 * (log + 3))) + Math.max(0, log + 1)),
      100,
    );
    // The grid has a point for each 0.07 decades.
    expect(Math.abs(Math.log10(steepest!) + 3)).toBeLessThan(0.08);
    expect(Math.abs(Math.log10(tenthOfLowest!) + 2)).toBeLessThan(0.08);
  });

  it('looks for the steepest fall on the way to the lowest loss only', () => {
    // Breaks out at 1e-1 and comes down again, faster than it ever fell before.
    const broken = (log: number) => 1 / (1 + Math.exp(4 * (log + 3))) + (log < -1 ? 0 : log < -0.6 ? 3 : 1);
    const { steepest } = suggestRates(curve(broken), 100);
    expect(Math.abs(Math.log10(steepest!) + 3)).toBeLessThan(0.08);
  });

  it('leaves the first tenth and the last five points out', () => {
    const jumping = curve((log) => (log < -6.9 ? 9 : log > -0.1 ? 0 : 2 - (log + 7) / 100));
    const { steepest } = suggestRates(
      jumping.map((point) => ({ ...point, loss: 1 })),
      100,
    );
    expect(steepest).toBeGreaterThan(10 ** -6.4);
    expect(steepest).toBeLessThan(10 ** -0.2);
  });

  it('suggests nothing where the loss only grows, where it falls no further than it varies, and from too few points', () => {
    const nothing = { lacking: 'fall', steepest: null, tenthOfLowest: null };
    // A fall of 0.01 in all, in losses that vary by 0.2 from batch to batch.
    const slight = curve((log) => 2 - log / 700);
    const noisy = slight.map((point, i) => ({ ...point, loss: point.loss + 0.2 * (-1) ** i }));
    expect(suggestRates(noisy, 100)).toEqual(nothing);
    expect(suggestRates(slight, 100).steepest).not.toBeNull();
    expect(
      suggestRates(
        curve((log) => log + 8),
        100,
      ),
    ).toEqual(nothing);
    expect(suggestRates(curve((log) => -log).slice(0, 16), 100)).toEqual({ ...nothing, lacking: 'points' });
    expect(suggestRates(curve((log) => -log).slice(0, 17), 100)).toEqual(nothing);
  });
});
