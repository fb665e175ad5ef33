import { permutation, random } from '../../numeric/random.ts';

/** What to divide: for each example its class and its group. */
export interface Examples {
  /** Class of each example, from 0; one class for all where there are none. */
  readonly labels: ArrayLike<number>;
  /** Examples of one group stay together. Any text; an example of its own group can be told from others by its path or index. */
  readonly groups: readonly string[];
}

/** Examples by class. */
type Counts = Map<number, number>;

interface Unit {
  readonly members: number[];
  /** Members of each class that has some. */
  readonly counts: Counts;
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
  const units = makeUnits(labels, groups);
  const totals: Counts = new Map();
  for (const unit of units) addCounts(totals, unit.counts);
  const ofClass = unitsByClass(units);
  const classOrder = rarestFirst(ofClass);
  fractions.forEach((fraction, position) => {
    const part = position + 1;
    const reached: Counts = new Map();
    for (const label of classOrder) {
      const all = ofClass.get(label)!;
      const order = permutation(all.length, random(seed, 'split', part, label));
      const free = Array.from(order, (i) => all[i]).filter((unit) => unit.part === 0);
      const target = fraction * totals.get(label)!;
      let left = free.length;
      for (const unit of free) {
        if (left < 2 || (reached.get(label) ?? 0) + unit.counts.get(label)! / 2 > target) continue;
        take(unit, part, reached);
        left--;
      }
      if (left < 2 || target === 0 || free.some((unit) => unit.part === part)) continue;
      take(
        free.reduce((a, b) => (b.counts.get(label)! < a.counts.get(label)! ? b : a)),
        part,
        reached,
      );
    }
  });
  const parts = new Uint8Array(labels.length);
  for (const { members, part } of units) for (const i of members) parts[i] = part;
  return parts;
}

/**
 * Divides examples into `count` folds so that no group is in two of them, for cross-validation.
 *
 * Each class is handled by itself, that with the fewest groups first: its groups (those of which it is the largest class), the largest first, those of one size in an
 * order drawn from the seed, go each to the fold that has the fewest examples of the class so far, of several to the one with the fewest in all. The same arguments
 * give the same folds.
 *
 * @returns the fold of each example, from 0
 */
export function foldsOf({ labels, groups }: Examples, count: number, seed: number | string): Uint16Array {
  const units = makeUnits(labels, groups);
  const ofClass = unitsByClass(units);
  const reached = Array.from({ length: count }, (): Counts => new Map());
  const total = new Array<number>(count).fill(0);
  for (const label of rarestFirst(ofClass)) {
    const all = ofClass.get(label)!;
    const drawn = Array.from(permutation(all.length, random(seed, 'fold', label)), (i) => all[i]);
    for (const unit of drawn.sort((a, b) => b.members.length - a.members.length)) {
      const of = (fold: number) => reached[fold].get(label) ?? 0;
      unit.part = total.reduce(
        (best, size, fold) => (of(fold) < of(best) || (of(fold) === of(best) && size < total[best]) ? fold : best),
        0,
      );
      addCounts(reached[unit.part], unit.counts);
      total[unit.part] += unit.members.length;
    }
  }
  const folds = new Uint16Array(labels.length);
  for (const { members, part } of units) for (const i of members) folds[i] = part;
  return folds;
}

/** Groups by the class that most of their examples have. */
function unitsByClass(units: readonly Unit[]): Map<number, Unit[]> {
  const ofClass = new Map<number, Unit[]>();
  for (const unit of units) {
    const label = largest(unit.counts);
    if (!ofClass.has(label)) ofClass.set(label, []);
    ofClass.get(label)!.push(unit);
  }
  return ofClass;
}

/** Classes by their number of groups. */
function rarestFirst(ofClass: ReadonlyMap<number, readonly Unit[]>): number[] {
  return [...ofClass.keys()].sort((a, b) => ofClass.get(a)!.length - ofClass.get(b)!.length || a - b);
}

function makeUnits(labels: ArrayLike<number>, groups: readonly string[]): Unit[] {
  const units = new Map<string, Unit>();
  groups.forEach((group, i) => {
    if (!units.has(group)) units.set(group, { members: [], counts: new Map(), part: 0 });
    const unit = units.get(group)!;
    unit.members.push(i);
    addCounts(unit.counts, new Map([[labels[i], 1]]));
  });
  return [...units.values()];
}

function take(unit: Unit, part: number, reached: Counts): void {
  unit.part = part;
  addCounts(reached, unit.counts);
}

function addCounts(to: Counts, counts: Counts): void {
  for (const [label, count] of counts) to.set(label, (to.get(label) ?? 0) + count);
}

/** The class with the most members, of several the first. */
function largest(counts: Counts): number {
  return [...counts].reduce((a, b) => (b[1] > a[1] || (b[1] === a[1] && b[0] < a[0]) ? b : a))[0];
}
