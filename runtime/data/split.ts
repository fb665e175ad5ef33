import { counted } from '../../diagnostics/counted.ts';
import { DdrcError } from '../../diagnostics/error.ts';
import { findSplit, itemsOfSplit, type Listing, requireSplit, splitRole } from './listing.ts';
import { partition } from './partition.ts';
import { relativesOf, unitsOf } from './relatives.ts';

/** How to choose the parts of a data set. */
export interface SplitOptions {
  /**
   * Validation: a fraction of the training images, a split of the data by name, or `none`. Default: the data's own validation split,
   * else 0.15.
   */
  readonly val?: number | 'none' | (string & {});
  /** Test: a split by name, a fraction, or `none`. Default: the data's own TEST; 0.15 where the data names no splits. */
  readonly test?: number | 'none' | (string & {});
  /** Default 0. */
  readonly seed?: number | string;
}

/** The parts of a data set, as indices into the listing's items, and what a user should know about them. */
export interface Parts {
  readonly train: readonly number[];
  readonly val: readonly number[];
  readonly test: readonly number[];
  /** Where each part comes from: `TRAIN`, `15 % of TRAIN by group`, `none`. */
  readonly sources: { readonly train: string; readonly val: string; readonly test: string };
  /** A sentence each; warnings (a split by file, groups that the data itself has on two sides) among them. */
  readonly notes: readonly string[];
}

/** The share of the images that validation gets, and test where the data names none. */
export const defaultFraction = 0.15;

/**
 * Reads the text of `--val` and `--test`: a number is a fraction, other text a name.
 *
 * @throws DATA_SPLIT for a fraction that is not between 0 and 1, both excluded
 */
export function parseSplit(text: string): number | string {
  if (text.trim() === '' || Number.isNaN(Number(text))) return text.toLowerCase() === 'none' ? 'none' : text;
  return checkedFraction(Number(text));
}

/**
 * Chooses what to train on, to validate on and to test on. A fraction is split off by group where groups are known (else by original where those are), with the classes kept in
 * proportion as well as the groups allow, and by file with a warning otherwise; no group, and no file, is on both sides of a split made here.
 * The splits that the data itself names are taken as they are; if they share groups, a note says so.
 *
 * @throws DATA_SPLIT_UNKNOWN, DATA_SPLIT (no training split, a part asked for twice, nothing left to train on)
 */
export function chooseParts(listing: Listing, options: SplitOptions = {}): Parts {
  const seed = options.seed ?? 0;
  const notes: string[] = [];
  const train = findSplit(listing, 'train');
  if (listing.splits.length > 0 && train === null) {
    throw splitError(
      listing,
      `the data has no split to train on, only ${listing.splits.join(', ')}`,
      'a split for training is called train',
    );
  }
  const named = (role: 'val' | 'test') => listing.splits.find((split) => splitRole(split) === role);
  let val = options.val ?? named('val') ?? defaultFraction;
  let test = options.test ?? (train === null ? defaultFraction : (named('test') ?? 'none'));
  if (typeof val === 'string' && val !== 'none') val = requireSplit(listing, val);
  if (typeof test === 'string' && test !== 'none') test = requireSplit(listing, test);
  if (typeof val === 'string' && val === test && val !== 'none') {
    if (options.test !== undefined)
      throw splitError(listing, `validation and test are both ${val}`, 'choose another split for one of them');
    notes.push(`${val} is used for validation, so there is no test.`);
    test = 'none';
  }
  for (const name of [val, test]) {
    if (train !== null && name === train)
      throw splitError(listing, `${name} is what the model trains on`, 'choose another split');
  }
  const fractions = [val, test].filter((part) => typeof part === 'number').map(checkedFraction);
  if (fractions.reduce((a, b) => a + b, 0) >= 1)
    throw splitError(listing, 'validation and test leave nothing to train on', 'make them smaller');

  const trainable = train === null ? listing.items.map((_, i) => i) : itemsOfSplit(listing, train);
  const divided = divide(listing, trainable, fractions, seed);
  if (fractions.length > 0) notes.push(...divided.notes);
  const kept = divided.parts[0];
  const place = train ?? 'all images';
  const how = (fraction: number) => `${+(fraction * 100).toFixed(2)} % of ${place} by ${divided.by}`;
  const resolvePart = (part: number | string, position: number): [number[], string] => {
    if (typeof part === 'number') return [divided.parts[position], how(part)];
    return part === 'none' ? [[], 'none'] : [itemsOfSplit(listing, part), part];
  };
  const [valItems, valSource] = resolvePart(val, 1);
  const [testItems, testSource] = resolvePart(test, typeof val === 'number' ? 2 : 1);
  if (kept.length === 0) throw splitError(listing, 'there are no images to train on', 'give more images');
  for (const [items, source] of [
    [valItems, valSource],
    [testItems, testSource],
  ] as const) {
    if (source !== 'none' && items.length === 0) {
      throw splitError(listing, `the ${place} cannot be divided: ${source} is no image`, 'give more groups of images, or none');
    }
  }
  notes.push(...sharedGroups(listing, [place, kept], [[valSource, valItems] as const, [testSource, testItems] as const]));
  return { train: kept, val: valItems, test: testItems, sources: { train: place, val: valSource, test: testSource }, notes };
}

function divide(listing: Listing, indices: readonly number[], fractions: readonly number[], seed: number | string) {
  const items = indices.map((i) => listing.items[i]);
  const { what, names } = relativesOf(listing);
  const ungrouped = indices.filter((i) => names[i] === null).length;
  const notes: string[] = [];
  if (ungrouped === items.length) {
    notes.push(
      'Split by file: no groups are known, so pictures of the same cell or patient may be on both sides and the scores too high. Give groups in originals.csv or in a CSV column "group".',
    );
  } else {
    if (what === 'original') notes.push('No groups are known, so originals serve as groups.');
    const [one, many] = ['has', 'have'].map((have) => `of ${items.length} images ${have} no ${what} and `);
    if (ungrouped > 0) notes.push(`${counted(ungrouped, `${one}was`, `${many}were`)} split by file.`);
  }
  const labels = items.map(({ label }) => label);
  const present = new Set(labels);
  const units = unitsOf(listing, names);
  const groups = indices.map((i) => units[i]);
  const sides = partition({ labels, groups }, fractions, seed);
  const parts = [0, ...fractions].map((_, part) => indices.filter((_, i) => sides[i] === part));
  fractions.forEach((_, position) => {
    const missing = listing.classes.filter(
      (_, c) => present.has(c) && !parts[position + 1].some((i) => listing.items[i].label === c),
    );
    if (missing.length > 0)
      notes.push(`Too few ${what}s: ${missing.join(', ')} ${missing.length === 1 ? 'is' : 'are'} not in every part.`);
  });
  return { parts, notes, by: ungrouped === items.length ? 'file' : what };
}

/** Notes on groups, and files, that are on the training side and on another. */
function sharedGroups(
  listing: Listing,
  [trainName, train]: readonly [string, readonly number[]],
  others: readonly (readonly [string, readonly number[]])[],
): string[] {
  const { what, names } = relativesOf(listing);
  const units = unitsOf(listing, names);
  const known = new Set(train.map((i) => units[i]));
  return others.flatMap(([name, items]) => {
    const shared = items.filter((i) => known.has(units[i]));
    if (shared.length === 0) return [];
    const groups = new Set(shared.map((i) => units[i])).size;
    return [
      `The data's own splits share ${counted(groups, what)}: ${shared.length} of ${items.length} images of ${name} have a relative in ${trainName}.`,
    ];
  });
}

function checkedFraction(fraction: number): number {
  if (fraction > 0 && fraction < 1) return fraction;
  throw new DdrcError({
    code: 'DATA_SPLIT',
    message: `a part of ${fraction} of the images is not possible`,
    hint: 'give a fraction between 0 and 1 such as 0.15, the name of a split, or none',
  });
}

function splitError(listing: Listing, message: string, hint: string): DdrcError {
  return new DdrcError({ code: 'DATA_SPLIT', message, where: listing.root, hint });
}
