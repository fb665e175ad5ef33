import { describe, expect, it } from 'vitest';
import { random, symmetricBeta } from '../../../numeric/random.ts';
import { applyMix, drawMix, mixBatches } from '../../../runtime/data/mix.ts';

describe('symmetricBeta', () => {
  // Beta(α, α) has the mean 1/2, the variance 1/(4(2α + 1)) and the fourth central moment 3/(16(2α + 1)(2α + 3)).
  it.each([0.05, 0.2, 1, 2.5, 40])('has the moments of Beta(%f, %f)', (alpha) => {
    const next = random('beta', alpha);
    const count = 20_000;
    const draws = Array.from({ length: count }, () => symmetricBeta(alpha, next));
    const mean = draws.reduce((sum, x) => sum + x, 0) / count;
    const spread = draws.reduce((sum, x) => sum + (x - 0.5) ** 2, 0) / count;
    const variance = 1 / (4 * (2 * alpha + 1));
    const fourth = 3 / (16 * (2 * alpha + 1) * (2 * alpha + 3));
    // Five standard deviations of either mean.
    expect(Math.abs(mean - 0.5)).toBeLessThan(5 * Math.sqrt(variance / count));
    expect(Math.abs(spread - variance)).toBeLessThan(5 * Math.sqrt((fourth - variance ** 2) / count));
    expect(draws.every((x) => x >= 0 && x <= 1)).toBe(true);
  });

  it('is uniform for 1', () => {
    const next = random('uniform');
    const counts = new Array<number>(20).fill(0);
    for (let i = 0; i < 20_000; i++) counts[Math.min(19, Math.floor(20 * symmetricBeta(1, next)))]++;
    const chiSquare = counts.reduce((sum, count) => sum + (count - 1000) ** 2 / 1000, 0);
    expect(Math.abs(chiSquare - 19)).toBeLessThan(5 * Math.sqrt(38));
  });

  it('stays a number where both parts are too small for one', () => {
    const next = random('tiny');
    for (let i = 0; i < 1000; i++) expect(symmetricBeta(1e-4, next)).not.toBeNaN();
  });
});

describe('drawMix', () => {
  it('depends on seed and run only, and permutes the batch', () => {
    const draw = (seed: number, run: number) => drawMix({ mixup: 1, cutmix: 0 }, 16, seed, run);
    expect(draw(1, 2)).toEqual(draw(1, 2));
    expect(new Set([draw(1, 2), draw(2, 2), draw(1, 3)].map(({ share }) => share)).size).toBe(3);
    expect([...draw(1, 2).partner].sort((a, b) => a - b)).toEqual(Array.from({ length: 16 }, (_, i) => i));
  });

  it('takes what is asked for, and of both one for each batch, half and half', () => {
    const cuts = (mixup: number, cutmix: number) =>
      Array.from({ length: 1000 }, (_, run) => drawMix({ mixup, cutmix }, 4, 0, run)).filter(({ middle }) => middle).length;
    expect(cuts(1, 0)).toBe(0);
    expect(cuts(0, 1)).toBe(1000);
    expect(Math.abs(cuts(1, 1) - 500)).toBeLessThan(5 * Math.sqrt(250));
  });
});

describe('applyMix', () => {
  const partner = Uint32Array.of(1, 2, 0);

  it('of mixup is the mean in the shares of the two', () => {
    const data = Float32Array.of(1, 2, 10, 20, 100, 200);
    expect(applyMix({ share: 0.75, partner, middle: null }, data, [3, 2])).toBe(0.75);
    expect([...data]).toEqual([3.25, 6.5, 32.5, 65, 75.25, 150.5]);
  });

  it('of CutMix takes a rectangle of the partner, cut off at the border, and tells the share of what is left', () => {
    const [channels, height, width] = [2, 8, 10];
    const data = Float32Array.from({ length: 3 * channels * height * width }, (_, i) => i);
    const before = data.slice();
    // √(1 − 0.75) = 1/2: 4 rows and 5 columns, of which the middle is row 7 and column 1.
    const share = applyMix({ share: 0.75, partner, middle: [0.9, 0.15] }, data, [3, channels, height, width]);
    const inside = (row: number, column: number) => row >= 5 && row < 8 && column >= 0 && column < 3;
    expect(share).toBe(1 - 9 / 80);
    data.forEach((value, i) => {
      const [n, channel, row, column] = [Math.floor(i / 160), Math.floor(i / 80) % 2, Math.floor(i / width) % height, i % width];
      const from = inside(row, column) ? partner[n] : n;
      expect(value).toBe(before[((from * channels + channel) * height + row) * width + column]);
    });
  });
});

describe('mixBatches', () => {
  it('mixes each of several batches as it would alone', () => {
    const length = 12;
    const numbers = (n: number) => Float32Array.from({ length: n * length }, (_, i) => Math.sin(i));
    const settings = { mixup: 1, cutmix: 1 };
    const shape = (n: number) => [n, 1, 3, 4];
    const together = { x: { dtype: 'float32' as const, shape: shape(12), data: numbers(12) } };
    const { shares, partners } = mixBatches(together, ['x'], 3, settings, 5, 10);
    for (let k = 0; k < 3; k++) {
      const data = numbers(12).slice(k * 4 * length, (k + 1) * 4 * length);
      const alone = mixBatches({ x: { dtype: 'float32', shape: shape(4), data } }, ['x'], 1, settings, 5, 10 + k);
      expect(together.x.data.slice(k * 4 * length, (k + 1) * 4 * length)).toEqual(data);
      expect(shares[k]).toBe(alone.shares[0]);
      expect([...partners.slice(4 * k, 4 * k + 4)]).toEqual([...alone.partners].map((other) => 4 * k + other));
    }
  });
});
