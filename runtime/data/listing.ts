import { dirname, relative } from 'node:path';
import { DdrcError } from '../../diagnostics/error.ts';

/** One image of a data set. */
export interface ListingItem {
  /** Absolute path of the file. */
  readonly path: string;
  /** Index into the listing's classes. */
  readonly label: number;
  /** The split as the data names it (`TRAIN`), or null where the data has none. */
  readonly split: string | null;
  /** What the image shares with others (a patient, a slide, an original), or null where that is not known. */
  readonly group: string | null;
  /** The picture that the image was made from by augmentation, where `originals.csv` or a CSV says it. */
  readonly original?: string;
  /** SHA-256 of the file's bytes, in hexadecimal, as a CSV says it. */
  readonly hash?: string;
  /** The line of the CSV that names the file, from 1. */
  readonly line?: number;
}

/** What a data folder or CSV file holds. Items are in a fixed order: by split, class and path; or by line of the CSV. */
export interface Listing {
  /** The folder or CSV file that holds the data: the one given, or the folder found inside it. */
  readonly root: string;
  readonly items: readonly ListingItem[];
  /** Class names in alphabetical order (by code unit), or in the order asked for. */
  readonly classes: readonly string[];
  /** The splits that the data itself names, in their order; empty where it has none. */
  readonly splits: readonly string[];
  /** What a user should know: files that were not counted, images without a group. A sentence each. */
  readonly notes: readonly string[];
}

/** The path of an image within the data, with `/`: from the folder that holds them, or from that of the CSV. */
export function pathWithin({ root }: Listing, { path }: ListingItem): string {
  return relative(/\.(csv|txt)$/i.test(root) ? dirname(root) : root, path).replaceAll('\\', '/');
}

/** Where the data name an image: `labels.csv:7`; its own path where a folder holds it. */
export function placeOf({ root }: Listing, { path, line }: ListingItem): string {
  return line === undefined ? path : `${root}:${line}`;
}

/** Settings of {@link import('./layout.ts').readListing}. */
export interface ListingOptions {
  /**
   * The classes of a trained model, in its order. Labels are indices into it; a class that it lacks is an error, and the checks that concern
   * training (at least two classes, the same in each split, none empty) are left out.
   */
  readonly classes?: readonly string[];
}

/** An image before its class has an index. */
export interface Candidate extends Omit<ListingItem, 'label'> {
  readonly className: string;
}

/** What a split is for. */
export type SplitRole = 'train' | 'val' | 'test';

const roles: Record<string, SplitRole> = {
  train: 'train',
  training: 'train',
  val: 'val',
  valid: 'val',
  validation: 'val',
  dev: 'val',
  test: 'test',
  testing: 'test',
};

/** What a split of this name is for (any case: `TRAIN`, `valid`, `Test`); null for other names, `TEST_SIMPLE` among them. */
export function splitRole(name: string): SplitRole | null {
  const key = name.toLowerCase();
  return Object.hasOwn(roles, key) ? roles[key] : null;
}

/** Compares names of splits for the order in which they are read: train, validation, test, others as they are. */
export function byRole(a: string, b: string): number {
  const order = ['train', 'val', 'test', null];
  return order.indexOf(splitRole(a)) - order.indexOf(splitRole(b));
}

/** Whether a name can be a split's: a {@link splitRole}, or one with a suffix (`TEST_SIMPLE`, `val-2`). */
export function isSplitName(name: string): boolean {
  return splitRole(name) !== null || splitRole(name.split(/[-_. ]/)[0]) !== null;
}

/**
 * Indices of the items of a split: by its own name in any case, else by role (`test` finds `Testing`); `all` is every item.
 *
 * @throws DATA_SPLIT_UNKNOWN naming the splits that are there
 */
export function itemsOfSplit(listing: Listing, name: string): number[] {
  const all = listing.items.map((_, i) => i);
  if (name.toLowerCase() === 'all') return all;
  const split = requireSplit(listing, name);
  return all.filter((i) => listing.items[i].split === split);
}

/** The listing's spelling of a split: by name in any case, else by role (`test` finds `Testing`); null if there is none. */
export function findSplit(listing: Listing, name: string): string | null {
  const exact = listing.splits.find((split) => split === name);
  const sameLetters = listing.splits.find((split) => split.toLowerCase() === name.toLowerCase());
  const role = splitRole(name);
  return exact ?? sameLetters ?? (role && listing.splits.find((split) => splitRole(split) === role)) ?? null;
}

/**
 * {@link findSplit}, for a split that has to be there.
 *
 * @throws DATA_SPLIT_UNKNOWN naming the splits that are there
 */
export function requireSplit(listing: Listing, name: string): string {
  const split = findSplit(listing, name);
  if (split !== null) return split;
  throw new DdrcError({
    code: 'DATA_SPLIT_UNKNOWN',
    message: `the data has no split "${name}"`,
    notes: [{ label: 'splits', text: listing.splits.join(', ') || 'none' }],
    where: listing.root,
    hint: 'name one of its splits',
  });
}

/**
 * Gives the classes their indices and checks what training needs.
 *
 * @param declared for each split (null: none), its class folders, empty ones included; absent for a CSV, where a class is what has a row
 * @throws DATA_EMPTY, DATA_CLASS_EMPTY, DATA_CLASSES_DIFFER, DATA_ONE_CLASS
 */
export function makeListing(
  root: string,
  candidates: readonly Candidate[],
  notes: readonly string[],
  options: ListingOptions,
  declared?: ReadonlyMap<string | null, readonly string[]>,
): Listing {
  if (candidates.length === 0) {
    throw new DdrcError({
      code: 'DATA_EMPTY',
      message: 'the data holds no images',
      notes: notes.map((text) => ({ label: 'note', text })),
      where: root,
      hint: 'expected is a folder with a folder of images for each class, or a CSV with the columns path,label[,split][,group]',
    });
  }
  const counts = new Map<string | null, Map<string, number>>();
  for (const [split, names] of declared ?? []) counts.set(split, new Map(names.map((name) => [name, 0])));
  for (const { split, className } of candidates) {
    if (!counts.has(split)) counts.set(split, new Map());
    const classes = counts.get(split)!;
    classes.set(className, (classes.get(className) ?? 0) + 1);
  }
  const found = [...new Set([...counts.values()].flatMap((classes) => [...classes.keys()]))].sort();
  const remarks = [...notes];
  if (options.classes) checkKnown(root, found, options.classes);
  else remarks.push(...checkTraining(root, found, counts, declared !== undefined));
  const classes = options.classes ?? found;
  const index = new Map(classes.map((name, i) => [name, i]));
  const items = candidates.map(({ className, ...item }) => ({ ...item, label: index.get(className)! }));
  const splits = [...counts.keys()].filter((split) => split !== null);
  checkRoles(root, splits);
  return { root, items, classes, splits, notes: remarks };
}

/** Refuses `train` beside `training`: one of them would be nobody's. */
function checkRoles(root: string, splits: readonly string[]): void {
  const roles = splits.map(splitRole);
  const twice = splits.findIndex((_, i) => roles[i] !== null && roles.indexOf(roles[i]) < i);
  if (twice < 0) return;
  throw new DdrcError({
    code: 'DATA_SPLIT',
    message: `the splits ${splits[roles.indexOf(roles[twice])]} and ${splits[twice]} are both for the same part`,
    where: root,
    hint: 'give them one name, or another one that is for no part',
  });
}

function checkKnown(root: string, found: readonly string[], known: readonly string[]): void {
  const unknown = found.filter((name) => !known.includes(name));
  if (unknown.length === 0) return;
  throw new DdrcError({
    code: 'DATA_CLASSES_DIFFER',
    message: `the data has ${listed(unknown, 'the class', 'the classes')}, which the model does not know`,
    notes: [{ label: "model's classes", text: known.join(', ') }],
    where: root,
    hint: 'name the class folders (or the labels) as the model was trained with, case included',
  });
}

function checkTraining(
  root: string,
  found: readonly string[],
  counts: ReadonlyMap<string | null, ReadonlyMap<string, number>>,
  folders: boolean,
): string[] {
  const notes: string[] = [];
  for (const [split, classes] of counts) {
    const empty = [...classes].filter(([, count]) => count === 0).map(([name]) => name);
    if (empty.length === 0) continue;
    throw new DdrcError({
      code: 'DATA_CLASS_EMPTY',
      message: `${listed(empty, 'the class', 'the classes')} ${empty.length === 1 ? 'has' : 'have'} no images${split === null ? '' : ` in ${split}`}`,
      where: root,
      hint: 'add images, or remove the folder in every split',
    });
  }
  const train = [...counts.keys()].find((split) => split !== null && splitRole(split) === 'train');
  for (const [split, classes] of counts) {
    const reference = folders || train === undefined ? found : [...counts.get(train)!.keys()];
    const extra = [...classes.keys()].filter((name) => !reference.includes(name));
    const absent = reference.filter((name) => !classes.has(name));
    if (extra.length > 0 || (folders && absent.length > 0)) {
      const [first, rest] = extra.length > 0 ? [split, train] : [otherSplitWith(counts, absent[0]), split];
      throw new DdrcError({
        code: 'DATA_CLASSES_DIFFER',
        message: `${listed(extra.length > 0 ? extra : absent, 'the class', 'the classes')} of ${first} ${(extra.length || absent.length) === 1 ? 'is' : 'are'} not in ${rest}`,
        notes: [...counts].map(([name, of]) => ({ label: name ?? '', text: [...of.keys()].sort().join(', ') })),
        where: root,
        hint: 'every split needs the same classes, spelled alike',
      });
    }
    if (absent.length > 0) notes.push(`${split} has no images of ${listed(absent, 'the class', 'the classes')}.`);
  }
  if (found.length === 1) {
    throw new DdrcError({
      code: 'DATA_ONE_CLASS',
      message: `the data has one class only, "${found[0]}", and there is nothing to tell apart`,
      where: root,
      hint: 'give the folder that holds a folder for each class',
    });
  }
  return notes;
}

function otherSplitWith(counts: ReadonlyMap<string | null, ReadonlyMap<string, number>>, className: string): string | null {
  return [...counts].find(([, classes]) => classes.has(className))![0];
}

/** `the class "a"` or `the classes "a", "b"`, ten at most. */
function listed(names: readonly string[], one: string, many: string): string {
  const shown = names.slice(0, 10).map((name) => `"${name}"`);
  if (names.length > 10) shown.push(`and ${names.length - 10} more`);
  return `${names.length === 1 ? one : many} ${shown.join(', ')}`;
}
