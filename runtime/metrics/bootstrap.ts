import { random } from '../../numeric/random.ts';
import type { Scored } from './scored.ts';

export interface BootstrapOptions {
  /** How often groups are drawn; default 2,000. */
  readonly resamples?: number;
  /** The share of the resamples that the interval holds; default 0.95. */
  readonly level?: number;
  /** Default 0. */
  readonly seed?: number | string;
}

/** A figure and its percentile interval. */
export interface Interval {
  /** Of the data as they are. */
  readonly estimate: number;
  readonly low: number;
  readonly high: number;
}

/** Intervals of a classifier's figures by {@link bootstrapOverGroups}. */
export interface GroupIntervals {
  /** How many groups were drawn from, each example without one being its own. */
  readonly groups: number;
  readonly resamples: number;
  readonly level: number;
  readonly accuracy: Interval;
  /** F1, the mean over the classes that occur in a resample as truth or as prediction, as `sklearn.metrics.f1_score` has it. */
  readonly macroF1: Interval;
}

/**
 * The group of each example as a number from 0 up, in the order in which they appear. An example without a group (null) is a group of its own.
 */
export function groupNumbers(groups: readonly (string | null)[]): { readonly count: number; readonly of: Int32Array } {
  const numbers = new Map<string, number>();
  let count = 0;
  const of = Int32Array.from(groups, (group) => {
    if (group === null) return count++;
    if (!numbers.has(group)) numbers.set(group, count++);
    return numbers.get(group)!;
  });
  return { count, of };
}

/**
 * Percentile intervals of statistics by the bootstrap over groups: `groups` groups are drawn with replacement, with all their examples, because examples of one group (cells
 * of one patient, variations of one photograph) are not independent. The same arguments give the same intervals.
 * @param statistics computes named figures from how often each group was drawn
 */
export function bootstrap<Name extends string>(
  groups: number,
  statistics: (times: Uint32Array) => Readonly<Record<Name, number>>,
  { resamples = 2000, level = 0.95, seed = 0 }: BootstrapOptions = {},
): Record<Name, Interval> {
  const next = random(seed, 'bootstrap');
  const times = new Uint32Array(groups).fill(1);
  const estimates = statistics(times);
  const names = Object.keys(estimates) as Name[];
  const drawn = names.map(() => new Float64Array(resamples));
  for (let resample = 0; resample < resamples; resample++) {
    times.fill(0);
    for (let draw = 0; draw < groups; draw++) times[Math.floor(next() * groups)]++;
    const values = statistics(times);
    names.forEach((name, i) => {
      drawn[i][resample] = values[name];
    });
  }
  const interval = (name: Name, i: number): Interval => {
    const sorted = drawn[i].sort();
    return { estimate: estimates[name], low: quantile(sorted, (1 - level) / 2), high: quantile(sorted, (1 + level) / 2) };
  };
  return Object.fromEntries(names.map((name, i) => [name, interval(name, i)])) as Record<Name, Interval>;
}

/**
 * The intervals of accuracy and macro F1 by the {@link bootstrap} over groups.
 * @param classes how many classes there are
 * @param groups the group of each example; null: its own
 * @returns null where no group is known, or there is no example
 */
export function bootstrapOverGroups(
  { labels, predicted }: Pick<Scored, 'labels' | 'predicted'>,
  classes: number,
  groups: readonly (string | null)[],
  options: BootstrapOptions = {},
): GroupIntervals | null {
  if (groups.every((group) => group === null)) return null;
  const { count, of } = groupNumbers(groups);
  const cells = cellsByGroup(count, of, (n) => labels[n] * classes + predicted[n]);
  const counts = new Float64Array(classes * classes);
  const statistics = (times: Uint32Array) => {
    counts.fill(0);
    cells.forEach((own, group) => {
      if (times[group] > 0) for (const [cell, examples] of own) counts[cell] += times[group] * examples;
    });
    return accuracyAndF1(counts, classes);
  };
  const { resamples = 2000, level = 0.95 } = options;
  return { groups: count, resamples, level, ...bootstrap(count, statistics, options) };
}

/** For each group, how many of its examples are in which cell of the confusion matrix: [cell, examples], … */
function cellsByGroup(groups: number, of: Int32Array, cellOf: (example: number) => number): [number, number][][] {
  const counts = Array.from({ length: groups }, () => new Map<number, number>());
  of.forEach((group, n) => {
    const cell = cellOf(n);
    counts[group].set(cell, (counts[group].get(cell) ?? 0) + 1);
  });
  return counts.map((own) => [...own]);
}

/** @param counts the confusion matrix [truth, predicted] */
function accuracyAndF1(counts: Float64Array, classes: number) {
  let all = 0;
  let right = 0;
  let f1 = 0;
  let occurring = 0;
  for (let index = 0; index < classes; index++) {
    let support = 0;
    let predicted = 0;
    for (let other = 0; other < classes; other++) {
      support += counts[index * classes + other];
      predicted += counts[other * classes + index];
    }
    const hit = counts[index * classes + index];
    all += support;
    right += hit;
    if (support + predicted === 0) continue;
    // 2 TP / (2 TP + FP + FN)
    f1 += (2 * hit) / (support + predicted);
    occurring++;
  }
  return { accuracy: right / all, macroF1: f1 / occurring };
}

/** Of sorted values, with linear interpolation between neighbours, as `numpy.quantile` has it. */
function quantile(sorted: Float64Array, share: number): number {
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
}
