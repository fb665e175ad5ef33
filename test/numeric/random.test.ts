import { describe, expect, it } from 'vitest';
import { permutation, random, seed24 } from '../../numeric/random.ts';

const mask = 0xffff_ffffn;
const rotate = (value: bigint, bits: bigint) => ((value << bits) | (value >> (32n - bits))) & mask;

/** The hash of random.ts, a second time, in BigInt. */
function hash(text: string, lane: bigint): bigint {
  let h = (lane * 0x9e3779b9n) & mask;
  for (const unit of text.split('')) {
    h = ((h ^ BigInt(unit.charCodeAt(0))) * 0xcc9e2d51n) & mask;
    // `h >>> 7` of the value before the rotation.
    h = rotate(h, 15n) ^ (h >> 7n);
  }
  h = ((h ^ (h >> 16n)) * 0x85ebca6bn) & mask;
  h = ((h ^ (h >> 13n)) * 0xc2b2ae35n) & mask;
  return h ^ (h >> 16n);
}

/** xoshiro128** as its authors define it, in BigInt: `count` outputs from the state. */
function xoshiro(state: bigint[], count: number): bigint[] {
  const s = [...state];
  return Array.from({ length: count }, () => {
    const result = (rotate((s[1] * 5n) & mask, 7n) * 9n) & mask;
    const t = (s[1] << 9n) & mask;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 11n);
    return result;
  });
}

const draw = (next: () => number, count: number) => Array.from({ length: count }, next);
const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

function correlation(a: number[], b: number[]): number {
  const [ma, mb] = [mean(a), mean(b)];
  const covariance = mean(a.map((value, index) => (value - ma) * (b[index] - mb)));
  return covariance / Math.sqrt(mean(a.map((value) => (value - ma) ** 2)) * mean(b.map((value) => (value - mb) ** 2)));
}

/** Σ (observed − expected)² / expected over equally likely cells. */
function chiSquare(counts: number[]): number {
  const expected = mean(counts);
  return counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
}

describe('random', () => {
  it.each<[string, Parameters<typeof random>, string]>([
    ['a number', [7], '1:7'],
    ['a number and salts', [7, 'augment', 3, 12345], '1:7,7:augment,1:3,5:12345'],
    ['a text with an umlaut and a surrogate pair', ['Käfer 🪲'], '8:Käfer 🪲'],
    ['a negative fraction', [-0.5], '4:-0.5'],
  ])('equals an independent implementation in BigInt: %s', (_, parts, text) => {
    const state = [1n, 2n, 3n, 4n].map((lane) => hash(text, lane));
    const expected = xoshiro(state, 1000).map((value) => Number(value) / 2 ** 32);
    expect(draw(random(...parts), 1000)).toEqual(expected);
  });

  it('is compared with a xoshiro128** that gives the published first outputs of the state 1, 2, 3, 4', () => {
    expect(xoshiro([1n, 2n, 3n, 4n], 4)).toEqual([11520n, 0n, 5927040n, 70819200n]);
  });

  it('keeps its first values', () => {
    expect(draw(random(1), 3).map((value) => value * 2 ** 32)).toEqual([2171378357, 2900773983, 3502952412]);
  });

  it('has the moments and the histogram of the uniform distribution', () => {
    const n = 200_000;
    const values = draw(random(2), n);
    expect(Math.min(...values.slice(0, 1000))).toBeGreaterThanOrEqual(0);
    expect(values.every((value) => value >= 0 && value < 1)).toBe(true);
    // Five standard errors: √(1/12 / n), √(1/180 / n), and for the kurtosis-like fourth moment √((1/9 − 1/25) / n).
    expect(Math.abs(mean(values) - 1 / 2)).toBeLessThan(5 * Math.sqrt(1 / 12 / n));
    expect(Math.abs(mean(values.map((value) => (value - 0.5) ** 2)) - 1 / 12)).toBeLessThan(5 * Math.sqrt(1 / 180 / n));
    expect(Math.abs(mean(values.map((value) => value ** 4)) - 1 / 5)).toBeLessThan(5 * Math.sqrt((1 / 9 - 1 / 25) / n));
    const counts = new Array<number>(256).fill(0);
    for (const value of values) counts[Math.floor(value * 256)]++;
    // 255 degrees of freedom: mean 255, deviation √510 = 22.6; within five of them on both sides.
    expect(Math.abs(chiSquare(counts) - 255)).toBeLessThan(113);
  });

  it('is uniform over the first values of neighbouring salts, which do not correlate', () => {
    const n = 20_000;
    const first = Array.from({ length: n }, (_, index) => random(0, 'augment', 1, index)());
    const second = Array.from({ length: n }, (_, index) => random(0, 'augment', 1, index + 1)());
    const otherEpoch = Array.from({ length: n }, (_, index) => random(0, 'augment', 2, index)());
    const counts = new Array<number>(64).fill(0);
    for (const value of first) counts[Math.floor(value * 64)]++;
    expect(Math.abs(chiSquare(counts) - 63)).toBeLessThan(5 * Math.sqrt(2 * 63));
    for (const other of [second, otherEpoch]) expect(Math.abs(correlation(first, other))).toBeLessThan(5 / Math.sqrt(n));
    const [a, b] = [draw(random(0, 5), n), draw(random(0, 6), n)];
    expect(Math.abs(correlation(a, b))).toBeLessThan(5 / Math.sqrt(n));
    expect(Math.abs(correlation(a.slice(1), a.slice(0, -1)))).toBeLessThan(5 / Math.sqrt(n));
  });

  it('tells apart how salts are divided, and takes a number as its text', () => {
    expect(random(1, '23')()).not.toBe(random(1, '2', '3')());
    expect(random('1', '23')()).not.toBe(random('12', '3')());
    expect(random('7')()).toBe(random(7)());
  });
});

describe('permutation', () => {
  it('gives each order of four equally often', () => {
    const next = random(3);
    const counts = new Map<string, number>();
    for (let round = 0; round < 24_000; round++) {
      const order = permutation(4, next).join('');
      counts.set(order, (counts.get(order) ?? 0) + 1);
    }
    expect(counts.size).toBe(24);
    // 23 degrees of freedom, five deviations of √46.
    expect(Math.abs(chiSquare([...counts.values()]) - 23)).toBeLessThan(34);
  });

  it('follows Fisher and Yates from the end, and takes sizes 0 and 1', () => {
    // next = 0 swaps each last element with the first: 0123 → 3120 → 2130 → 1230.
    expect([...permutation(4, () => 0)]).toEqual([1, 2, 3, 0]);
    expect([...permutation(4, () => 1 - 2 ** -32)]).toEqual([0, 1, 2, 3]);
    expect(permutation(0, () => 0).length).toBe(0);
    expect([...permutation(1, () => 0)]).toEqual([0]);
  });
});

describe('seed24', () => {
  it('is the upper 24 bits of the hash, so float32 holds it', () => {
    for (const step of [0, 1, 999_999]) {
      const expected = Number(hash(`2:42,7:dropout,${String(step).length}:${step}`, 1n) >> 8n);
      expect(seed24(42, step)).toBe(expected);
      expect(Math.fround(expected)).toBe(expected);
      expect(expected).toBeLessThan(2 ** 24);
    }
  });

  it('spreads evenly over steps', () => {
    const counts = new Array<number>(64).fill(0);
    for (let step = 0; step < 20_000; step++) counts[Math.floor(seed24(0, step) / 2 ** 18)]++;
    expect(Math.abs(chiSquare(counts) - 63)).toBeLessThan(5 * Math.sqrt(2 * 63));
  });
});
