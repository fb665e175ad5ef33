import { counted } from '../../diagnostics/counted.ts';
import { DdrcError } from '../../diagnostics/error.ts';
import { findSplit, type Listing, pathWithin, placeOf, requireSplit, splitRole } from './listing.ts';
import { foldsOf, partition } from './partition.ts';
import { isKnown, relativesOf, unitsOf } from './relatives.ts';
import { type Shared, sharedBetween, sharedSentence } from './shared.ts';

/** How to divide a data set once and for all, see {@link divide}. */
export interface Division {
  /**
   * `given`: the data's own splits as they are. `group`: no group is in two splits, which is refused where the data's own splits would have one; where no groups are known,
   * originals serve as groups. `image`: each image for itself, whatever it shares with others, as in a protocol that leaks.
   */
  readonly by: 'given' | 'image' | 'group';
  /** Splits of the data whose images are divided anew into train, val and test; the others are left out. Default: all images, where `test` is given or the data have no splits. */
  readonly pool?: readonly string[];
  /** The fraction of the pool for testing; without it, or with 0, the pool has no test, and the data's own splits stay as they are unless there is a `pool`. */
  readonly test?: number;
  /** The fraction of the pool (of the data's own training split, where that stays) for validation; default none. */
  readonly val?: number;
  /** Default 0. */
  readonly seed?: number | string;
}

/** How to make folds for cross-validation, see {@link divideIntoFolds}. */
export interface FoldDivision extends Pick<Division, 'pool' | 'seed'> {
  readonly by: 'image' | 'group';
  /** How many folds, from 2. */
  readonly folds: number;
}

/** A data set with its images divided. */
export interface Divided {
  /** The split of each item of the listing; null: left out. */
  readonly splits: readonly (string | null)[];
  /** What a user should know, a sentence each. */
  readonly notes: readonly string[];
}

/** Folds for cross-validation. */
export interface Folds {
  readonly count: number;
  /** Of each item of the listing: the fold that tests it, from 0; `train` for one of a class with one group, which every fold trains on; null: left out. */
  readonly folds: readonly (number | 'train' | null)[];
  readonly notes: readonly string[];
}

/**
 * Divides the images of a listing. Classes are kept in proportion as well as the groups allow. A class with one group stays in training, and a note says so.
 *
 * @throws DATA_GROUP_SPLIT naming the group, where `by` is `group` and the data's own splits share one; DATA_SPLIT_UNKNOWN for an unknown split of the pool;
 * DATA_SPLIT where the division is not possible, or a file that the data list twice would be in two splits
 */
export function divide(listing: Listing, division: Division): Divided {
  const { by, pool, test = 0, val = 0, seed = 0 } = division;
  checkFractions(listing, test, val);
  const keeps = pool === undefined && test === 0 && listing.splits.length > 0;
  if (by === 'given' && !keeps) {
    throw listing.splits.length === 0
      ? splitError(listing, 'the data name no splits that could be taken as they are', 'divide them by group or by image')
      : splitError(listing, 'splits that are taken as they are cannot be pooled', 'divide by group or by image');
  }
  const divided = keeps ? keepSplits(listing, division) : poolSplits(listing, { ...division, val, test, seed });
  return { splits: divided.splits, notes: [...divided.notes, ...checkShared(listing, divided.splits, by)] };
}

/**
 * Divides the images of a listing into folds, each class in proportion as well as the groups allow.
 *
 * @throws DATA_SPLIT_UNKNOWN for an unknown split of the pool, DATA_SPLIT where there are fewer groups than folds
 */
export function divideIntoFolds(listing: Listing, { by, folds: count, pool, seed = 0 }: FoldDivision): Folds {
  const members = membersOf(listing, pool);
  const { what, units, notes } = unitsBy(listing, members, by);
  const single = by === 'group' ? singleUnits(listing, members, units, what) : noSingles;
  const free = members.filter((i) => !single.items.has(i));
  const groups = free.map((i) => units[i]);
  const there = new Set(groups).size;
  if (there < count) {
    const besides =
      single.classes.length > 0 ? ` besides the only ${what} of ${single.classes.join(' and that of ')}, kept in training` : '';
    throw splitError(
      listing,
      `${count} folds need ${count} ${what}s, and there ${there === 1 ? 'is' : 'are'} ${there}${besides}`,
      'ask for fewer folds',
    );
  }
  const found = foldsOf({ labels: free.map((i) => listing.items[i].label), groups }, count, seed);
  const folds: (number | 'train' | null)[] = listing.items.map((_, i) => (single.items.has(i) ? 'train' : null));
  free.forEach((i, place) => {
    folds[i] = found[place];
  });
  const shortOf = listing.classes.filter((_, label) => {
    const own = free.filter((i) => listing.items[i].label === label);
    return own.length > 0 && new Set(own.map((i) => folds[i])).size < count;
  });
  const short = shortOf.length > 0 ? [`Too few ${what}s: ${listed(shortOf)} not in every fold.`] : [];
  return { count, folds, notes: [...notes, ...single.notes, ...short] };
}

/**
 * The division in which one fold is the test, and the others the training.
 *
 * @param val the fraction of the other folds for validation; default none
 * @throws DATA_SPLIT where the rest cannot be divided
 */
export function divideByFold(
  listing: Listing,
  { count, folds }: Folds,
  test: number,
  { by, val = 0, seed = 0 }: Pick<Division, 'val' | 'seed'> & Pick<FoldDivision, 'by'>,
): Divided {
  if (!Number.isInteger(test) || test < 0 || test >= count) {
    throw splitError(listing, `there is no fold ${test} among ${count}`, `folds are numbered from 0 to ${count - 1}`);
  }
  checkFractions(listing, 0, val);
  const rest = listing.items.flatMap((_, i) => (folds[i] !== null && folds[i] !== test ? [i] : []));
  const { parts, notes } = carve(listing, rest, [val], by, `${seed} fold ${test}`);
  const splits: (string | null)[] = folds.map((fold) => (fold === test ? 'test' : null));
  rest.forEach((i, place) => {
    splits[i] = parts[place] === 1 ? 'val' : 'train';
  });
  checkClasses(listing, splits, 'train');
  return { splits, notes: [...notes, ...checkShared(listing, splits, by)] };
}

function keepSplits(listing: Listing, { by, val = 0, seed = 0 }: Division): Divided {
  const splits: (string | null)[] = listing.items.map(({ split }) => split);
  if (val === 0) return { splits, notes: [] };
  const train = findSplit(listing, 'train');
  const own = listing.splits.find((split) => splitRole(split) === 'val');
  if (train === null) throw splitError(listing, 'the data have no training split to take validation from', 'pool their splits');
  if (own !== undefined) throw splitError(listing, `the data have a validation split of their own, ${own}`, 'leave val out');
  const members = listing.items.flatMap(({ split }, i) => (split === train ? [i] : []));
  const { names } = relativesOf(listing);
  const how = by !== 'given' ? by : isKnown(members.map((i) => names[i])) ? 'group' : 'image';
  const { parts, notes } = carve(listing, members, [val], how, seed);
  members.forEach((i, place) => {
    if (parts[place] === 1) splits[i] = 'val';
  });
  checkClasses(listing, splits, train);
  return { splits, notes };
}

function poolSplits(
  listing: Listing,
  { by, pool, val, test, seed }: Division & { val: number; test: number; seed: number | string },
): Divided {
  const members = membersOf(listing, pool);
  const { parts, notes } = carve(listing, members, [test, val], by === 'group' ? 'group' : 'image', seed);
  const splits: (string | null)[] = listing.items.map(() => null);
  members.forEach((i, place) => {
    splits[i] = ['train', 'test', 'val'][parts[place]];
  });
  checkClasses(listing, splits, 'train');
  const left = listing.items.length - members.length;
  return {
    splits,
    notes:
      left > 0 ? [...notes, `${counted(left, 'image outside the pool is', 'images outside the pool are')} left out.`] : notes,
  };
}

/** Takes fractions off items: 0 for what stays, 1 for the first fraction's, … */
function carve(
  listing: Listing,
  members: readonly number[],
  fractions: readonly number[],
  by: 'image' | 'group',
  seed: number | string,
): { parts: Uint8Array; notes: string[] } {
  const parts = new Uint8Array(members.length);
  if (fractions.every((fraction) => fraction === 0)) return { parts, notes: [] };
  const { what, units, notes } = unitsBy(listing, members, by);
  const single = by === 'group' ? singleUnits(listing, members, units, what) : noSingles;
  notes.push(...single.notes);
  const free = [...members.keys()].filter((place) => !single.items.has(members[place]));
  const labels = free.map((place) => listing.items[members[place]].label);
  const found = partition({ labels, groups: free.map((place) => units[members[place]]) }, fractions, seed);
  free.forEach((place, at) => {
    parts[place] = found[at];
  });
  fractions.forEach((fraction, position) => {
    const own = free.filter((_, at) => found[at] === position + 1);
    if (fraction > 0 && own.length === 0) {
      throw splitError(
        listing,
        `${+(fraction * 100).toFixed(2)} % of the images, by ${what}, is no image`,
        'give more images, or take a larger fraction',
      );
    }
    const present = new Set(own.map((place) => listing.items[members[place]].label));
    const missing = listing.classes.filter((_, label) => labels.includes(label) && !present.has(label));
    if (fraction > 0 && missing.length > 0) notes.push(`Too few ${what}s: ${listed(missing)} not in every part.`);
  });
  return { parts, notes };
}

interface Singles {
  readonly items: ReadonlySet<number>;
  readonly classes: readonly string[];
  readonly notes: readonly string[];
}

const noSingles: Singles = { items: new Set(), classes: [], notes: [] };

/** Items in the only group of a class: they stay in training. */
function singleUnits(
  { items, classes }: Listing,
  members: readonly number[],
  units: readonly string[],
  what: Units['what'],
): Singles {
  const ofClass = classes.map(() => new Set<string>());
  for (const i of members) ofClass[items[i].label].add(units[i]);
  const single = classes.filter((_, label) => ofClass[label].size === 1);
  const kept = new Set(ofClass.flatMap((set) => (set.size === 1 ? [...set] : [])));
  const notes = single.map(
    (name) => `The class ${name} has one ${what} only, which stays in training: it is in no validation or test made here.`,
  );
  return { items: new Set(members.filter((i) => kept.has(units[i]))), classes: single, notes };
}

/** What stays together in a division. */
interface Units {
  readonly what: 'image' | 'group' | 'original';
  /** Of each item of the listing. */
  readonly units: readonly string[];
  readonly notes: string[];
}

function unitsBy(listing: Listing, members: readonly number[], by: 'image' | 'group'): Units {
  if (by === 'image') return { what: by, units: unitsOf(listing, []), notes: [] };
  const { what, names } = relativesOf(listing);
  const unknown = members.filter((i) => names[i] === null).length;
  if (unknown === members.length) {
    const hint = 'give groups in originals.csv or in a CSV column "group", or divide by image';
    throw splitError(listing, 'the data cannot be divided by group: no groups are known', hint);
  }
  const notes = what === 'original' ? ['No groups are known, so originals serve as groups.'] : [];
  if (unknown > 0) {
    const [one, many] = ['has', 'have'].map((have) => `of ${members.length} images ${have} no ${what} and `);
    notes.push(`${counted(unknown, `${one}is`, `${many}are`)} divided by image.`);
  }
  return { what, units: unitsOf(listing, names), notes };
}

function membersOf(listing: Listing, pool: readonly string[] | undefined): number[] {
  const splits = pool && new Set(pool.map((name) => requireSplit(listing, name)));
  return listing.items.flatMap(({ split }, i) => (splits === undefined || (split !== null && splits.has(split)) ? [i] : []));
}

/** Refuses groups in two splits of a division by group, and a file in two splits of any; a note for what else two splits share. */
function checkShared(listing: Listing, splits: readonly (string | null)[], by: Division['by']): string[] {
  checkFiles(listing, splits);
  const { what, names } = relativesOf(listing);
  if (by === 'group') checkRelatives(listing, what, sharedBetween(splits, names)[0]);
  const groups = listing.items.map(({ group }) => group);
  const originals = listing.items.map(({ original }) => original ?? null);
  return [
    ...sharedBetween(splits, groups).map((shared) => sharedSentence(shared, 'group')),
    ...sharedBetween(splits, originals).map((shared) => sharedSentence(shared, 'original')),
  ];
}

function checkRelatives(listing: Listing, what: string, shared: Shared | undefined): void {
  if (shared === undefined) return;
  const { splits, count, names } = shared;
  throw new DdrcError({
    code: 'DATA_GROUP_SPLIT',
    message: `the ${what} "${names[0]}" is in ${splits[0]} and in ${splits[1]}, so the data are not divided by ${what}`,
    notes: [
      { label: counted(count, `such ${what}`), text: `${names.slice(0, 10).join(', ')}${count > 10 ? ' and others' : ''}` },
    ],
    where: listing.root,
    hint: 'take the splits as they are (by given), or pool them and divide anew',
  });
}

/** Refuses a file that the data list twice where the two would be in two splits. */
function checkFiles(listing: Listing, splits: readonly (string | null)[]): void {
  const seen = new Map<string, number>();
  listing.items.forEach((item, i) => {
    if (splits[i] === null) return;
    const first = seen.get(item.path);
    seen.set(item.path, first ?? i);
    if (first === undefined || splits[first] === splits[i]) return;
    throw new DdrcError({
      code: 'DATA_SPLIT',
      message: `"${pathWithin(listing, item)}" is listed twice and would be in ${splits[first]} and in ${splits[i]}`,
      notes: [{ label: 'first listed', text: placeOf(listing, listing.items[first]) }],
      where: placeOf(listing, item),
      hint: 'keep one of the two rows',
    });
  });
}

/** Refuses a class that training would lack: one whose groups all went elsewhere, with those of other classes. */
function checkClasses({ root, items, classes }: Listing, splits: readonly (string | null)[], train: string): void {
  const of = (split: (name: string) => boolean) =>
    new Set(items.filter((_, i) => splits[i] !== null && split(splits[i])).map(({ label }) => label));
  const trained = of((name) => name === train);
  const missing = [...of(() => true)].find((label) => !trained.has(label));
  if (missing === undefined) return;
  throw new DdrcError({
    code: 'DATA_SPLIT',
    message: `the class "${classes[missing]}" would not be in training`,
    where: root,
    hint: 'take smaller fractions, or another seed',
  });
}

function checkFractions(listing: Listing, test: number, val: number): void {
  const wrong = [test, val].find((fraction) => !(fraction >= 0 && fraction < 1));
  if (wrong !== undefined)
    throw splitError(
      listing,
      `a part of ${wrong} of the images is not possible`,
      'give a fraction between 0 and 1, such as 0.15',
    );
  if (test + val >= 1) throw splitError(listing, 'validation and test leave nothing to train on', 'make them smaller');
}

function listed(names: readonly string[]): string {
  return `${names.join(', ')} ${names.length === 1 ? 'is' : 'are'}`;
}

function splitError(listing: Listing, message: string, hint: string): DdrcError {
  return new DdrcError({ code: 'DATA_SPLIT', message, where: listing.root, hint });
}
