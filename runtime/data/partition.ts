import { permutation, random } from '../../numeric/random.ts';

/** What to divide: for each example its class and its group. */
export interface Examples {
  /** Class of each example, from 0; one class for all where there are none. */
  readonly labels: ArrayLike<number>;
  /** Examples of one group stay together. Any text; an example of its own group can be told from others by its path or index. */
  readonly groups: readonly string[];
}

interface Unit {
  readonly members: number[];
  /** Members of each class. */
  readonly counts: number[];
  part: number;
}

/**
 * Divides examples into parts so that no group is in two of them: 0 is the rest, `p` the part of `fractions[p - 1]`.
 *
 * Each class is handled by itself, that with the fewest groups first: of its groups (those of which it is the largest class), in an order drawn from
 * the seed, one is taken for the part as long as this brings the class nearer to its fraction, counted in examples. A class of two groups or more has at
 * least one in every part, as far as its groups go, and one in the rest. The same arguments give the same parts.
 *
 * @returns the part of each example
 */
export function partition({ labels, groups }: Examples, fractions: readonly number[], seed: number | string): Uint8Array {
  const classCount = Math.max(0, ...new Set(Array.from(labels))) + 1;
  const units = makeUnits(labels, groups, classCount);
  const totals = sum(units, classCount);
  const ofClass: Unit[][] = Array.from({ length: classCount }, () => []);
  for (const unit of units) ofClass[largest(unit.counts)].push(unit);
  const classOrder = [...ofClass.keys()].sort((a, b) => ofClass[a].length - ofClass[b].length || a - b);
  fractions.forEach((fraction, position) => {
    const part = position + 1;
    const reached = new Array<number>(classCount).fill(0);
    for (const label of classOrder) {
      const order = permutation(ofClass[label].length, random(seed, 'split', part, label));
      const free = Array.from(order, (i) => ofClass[label][i]).filter((unit) => unit.part === 0);
      const target = fraction * totals[label];
      let left = free.length;
      for (const unit of free) {
        if (left < 2 || reached[label] + unit.counts[label] / 2 > target) continue;
        take(unit, part, reached);
        left--;
      }
      if (left < 2 || target === 0 || free.some((unit) => unit.part === part)) continue;
      take(
        free.reduce((a, b) => (b.counts[label] < a.counts[label] ? b : a)),
        part,
        reached,
      );
    }
  });
  const parts = new Uint8Array(labels.length);
  for (const { members, part } of units) for (const i of members) parts[i] = part;
  return parts;
}

function makeUnits(labels: ArrayLike<number>, groups: readonly string[], classCount: number): Unit[] {
  const units = new Map<string, Unit>();
  groups.forEach((group, i) => {
    if (!units.has(group)) units.set(group, { members: [], counts: new Array<number>(classCount).fill(0), part: 0 });
    const unit = units.get(group)!;
    unit.members.push(i);
    unit.counts[labels[i]]++;
  });
  return [...units.values()];
}

function take(unit: Unit, part: number, reached: number[]): void {
  unit.part = part;
  unit.counts.forEach((count, label) => {
    reached[label] += count;
  });
}

function sum(units: readonly Unit[], classCount: number): number[] {
  return Array.from({ length: classCount }, (_, label) => units.reduce((total, { counts }) => total + counts[label], 0));
}

function largest(counts: readonly number[]): number {
  return counts.indexOf(Math.max(...counts));
}
