import { statSync } from 'node:fs';
import { dirname, relative } from 'node:path';
import { type AlikePair, findAlike } from './alike.ts';
import { type BySplitAndClass, countsBy } from './counts.ts';
import { type Examined, examineImages } from './examine.ts';
import { isChanged } from './hash.ts';
import type { Listing } from './listing.ts';
import { isKnown } from './relatives.ts';
import { type Shared, sharedBetween } from './shared.ts';

/** Near-duplicates of two splits, or of one (`splits` has it twice). */
export interface NearDuplicates {
  readonly splits: readonly [string, string];
  /** Pairs. */
  readonly count: number;
  /** Images of each split that are in a pair. */
  readonly images: Readonly<Record<string, number>>;
  /** The first {@link mostListed} pairs of paths. */
  readonly pairs: readonly (readonly [string, string])[];
}

/** Several labels where one is expected. */
export interface LabelConflict {
  /** What the images have in common: their bytes, an original, a group, or (a pair of near-duplicates) their look. */
  readonly by: 'bytes' | 'original' | 'group' | 'look';
  /** The hash, the original or the group; for a look the two paths. */
  readonly name: string;
  /** Images of each class. */
  readonly classes: Readonly<Record<string, number>>;
  /** The originals of each class, where they are known. */
  readonly originals?: Readonly<Record<string, readonly string[]>>;
  /** The files, for bytes and look. */
  readonly paths?: readonly string[];
}

/** What {@link inspect} found. Paths are relative to `data`, or to its folder if it is a CSV. */
export interface Inspection {
  readonly data: string;
  readonly images: number;
  readonly classes: readonly string[];
  /** Images by split and class. */
  readonly splits: BySplitAndClass;
  /** Groups, and originals, by split and class; null where none are known. */
  readonly groups: BySplitAndClass | null;
  readonly originals: BySplitAndClass | null;
  /** Images that training would stop at. */
  readonly unreadable: readonly { readonly path: string; readonly code: string; readonly message: string }[];
  /** Images whose bytes are not those of the hash that the CSV states. */
  readonly changed: readonly string[];
  /** Sets of files with the same bytes. */
  readonly duplicates: readonly (readonly string[])[];
  readonly duplicatesShared: readonly Shared[];
  readonly groupsShared: readonly Shared[];
  readonly originalsShared: readonly Shared[];
  /** Pairs that look alike (see {@link findAlike}) and whose bytes differ: between two splits, and within one. */
  readonly nearDuplicates: readonly NearDuplicates[];
  readonly nearDuplicatesWithin: readonly NearDuplicates[];
  readonly labelConflicts: readonly LabelConflict[];
  /** Images by size (`320x240`) and by format and mode (`JPEG RGB`). */
  readonly sizes: Readonly<Record<string, number>>;
  readonly modes: Readonly<Record<string, number>>;
  readonly notes: readonly string[];
}

/** What is known of each image. */
interface Columns {
  readonly paths: readonly string[];
  readonly splits: readonly string[];
  readonly labels: readonly string[];
  readonly originals: readonly (string | null)[];
}

/** Pairs of near-duplicates that an {@link Inspection} lists for two splits. */
export const mostListed = 1000;

/** Looks at every image of a listing. Images that do not decode are named and left out of what needs pixels. */
export async function inspect(
  listing: Listing,
  onProgress: (what: string, done: number, total: number) => void = () => {},
): Promise<Inspection> {
  const { items, classes } = listing;
  const examined = await examineImages(
    items.map(({ path }) => path),
    (done, total) => onProgress('reading images', done, total),
  );
  const folder = statSync(listing.root).isFile() ? dirname(listing.root) : listing.root;
  const paths = items.map(({ path }) => relative(folder, path).replaceAll('\\', '/'));
  const hashes = examined.map(({ hash }) => hash);
  const copies = [...indicesBy(hashes).values()];
  const { pairs, complete } = await nearDuplicatePairs(copies, examined, (done, total) =>
    onProgress('comparing images', done, total),
  );
  const columns: Columns = {
    paths,
    splits: items.map(({ split }) => split ?? 'all'),
    labels: items.map(({ label }) => classes[label]),
    originals: items.map(({ original }) => original ?? null),
  };
  const { splits, labels, originals } = columns;
  const groups = items.map(({ group }) => group);
  const near = bySplits(pairs, columns);
  const table = (names: readonly unknown[]) => countsBy(splits, labels, names, classes);
  return {
    data: listing.root,
    images: items.length,
    classes,
    splits: table(items.map((_, i) => i)),
    groups: isKnown(groups) ? table(groups) : null,
    originals: isKnown(originals) ? table(originals) : null,
    unreadable: examined.flatMap(({ error }, i) =>
      error === null ? [] : [{ path: paths[i], code: error.code, message: error.message }],
    ),
    changed: paths.filter((_, i) => hashes[i] !== null && isChanged(items[i], hashes[i])),
    duplicates: copies.filter((set) => set.length > 1).map((set) => set.map((i) => paths[i])),
    duplicatesShared: sharedBetween(splits, hashes),
    groupsShared: sharedBetween(splits, groups),
    originalsShared: sharedBetween(splits, originals),
    nearDuplicates: near.filter(({ splits: [a, b] }) => a !== b),
    nearDuplicatesWithin: near.filter(({ splits: [a, b] }) => a === b),
    labelConflicts: [
      ...conflictsBy('bytes', hashes, columns),
      ...conflictsBy('original', originals, columns),
      ...conflictsBy('group', groups, columns),
      ...pairs
        .filter(({ a, b }) => labels[a] !== labels[b])
        .map(({ a, b }) => conflictOf('look', `${paths[a]} ${paths[b]}`, [a, b], columns)),
    ],
    sizes: tally(examined.flatMap(({ kind }) => (kind === null ? [] : [`${kind.width}x${kind.height}`]))),
    modes: tally(examined.flatMap(({ kind }) => (kind === null ? [] : [kind.mode]))),
    notes: complete ? listing.notes : [...listing.notes, `More than ${pairs.length} pairs look alike; the search ended there.`],
  };
}

/** Near-duplicates with different bytes; each file with the bytes of one of a pair makes a pair of its own. */
async function nearDuplicatePairs(
  copies: readonly (readonly number[])[],
  examined: readonly Examined[],
  onProgress: (done: number, total: number) => void,
): Promise<{ pairs: Pick<AlikePair, 'a' | 'b'>[]; complete: boolean }> {
  const { pairs, complete } = await findAlike(
    copies.map(([first]) => examined[first].look),
    onProgress,
  );
  const ofFiles = pairs.flatMap(({ a, b }) =>
    copies[a].flatMap((i) => copies[b].map((j) => ({ a: Math.min(i, j), b: Math.max(i, j) }))),
  );
  return { pairs: ofFiles, complete };
}

function bySplits(pairs: readonly Pick<AlikePair, 'a' | 'b'>[], { splits, paths }: Columns): NearDuplicates[] {
  const order = [...new Set(splits)];
  const found = new Map<string, Pick<AlikePair, 'a' | 'b'>[]>();
  for (const { a, b } of pairs) {
    const [first, second] = order.indexOf(splits[a]) <= order.indexOf(splits[b]) ? [a, b] : [b, a];
    const key = JSON.stringify([splits[first], splits[second]]);
    if (!found.has(key)) found.set(key, []);
    found.get(key)!.push({ a: first, b: second });
  }
  return [...found].map(([key, list]) => {
    const both: [string, string] = JSON.parse(key);
    const members = new Set(list.flatMap(({ a, b }) => [a, b]));
    const images = Object.fromEntries(both.map((split) => [split, [...members].filter((i) => splits[i] === split).length]));
    const listed = list.slice(0, mostListed).map(({ a, b }) => [paths[a], paths[b]] as const);
    return { splits: both, count: list.length, images, pairs: listed };
  });
}

function conflictsBy(by: LabelConflict['by'], names: readonly (string | null)[], columns: Columns): LabelConflict[] {
  const { labels } = columns;
  const several = [...indicesBy(names)].filter(([, members]) => members.some((i) => labels[i] !== labels[members[0]]));
  return several.map(([name, members]) => conflictOf(by, name, members, columns));
}

function conflictOf(
  by: LabelConflict['by'],
  name: string,
  members: readonly number[],
  { labels, originals, paths }: Columns,
): LabelConflict {
  const classes = tally(members.map((i) => labels[i]));
  const known = members.filter((i) => originals[i] !== null);
  const ofClass = (name: string) => [...new Set(known.filter((i) => labels[i] === name).map((i) => originals[i]!))].sort();
  return {
    by,
    name,
    classes,
    ...(known.length > 0 && { originals: Object.fromEntries(Object.keys(classes).map((name) => [name, ofClass(name)])) }),
    ...((by === 'bytes' || by === 'look') && { paths: members.map((i) => paths[i]) }),
  };
}

/** Indices by name, in the order of first appearance; a null has no name. */
function indicesBy(names: readonly (string | null)[]): Map<string, number[]> {
  const found = new Map<string, number[]>();
  names.forEach((name, i) => {
    if (name === null) return;
    if (!found.has(name)) found.set(name, []);
    found.get(name)!.push(i);
  });
  return found;
}

/** How often each text is there, the most frequent first. */
function tally(texts: readonly string[]): Record<string, number> {
  const counts = new Map<string, number>();
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1);
  return Object.fromEntries([...counts].sort((a, b) => b[1] - a[1]));
}
