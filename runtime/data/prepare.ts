import { existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join, relative, resolve, sep } from 'node:path';
import { counted } from '../../diagnostics/counted.ts';
import { DdrcError } from '../../diagnostics/error.ts';
import { makeFolder, outputError, partialSuffix, writeFileAtomic } from '../files.ts';
import { type BySplitAndClass, countsBy } from './counts.ts';
import { formatCsv } from './csv.ts';
import { type Division, divide, divideByFold, divideIntoFolds, type FoldDivision } from './division.ts';
import { hashFiles } from './examine.ts';
import { changedError, isChanged } from './hash.ts';
import { byRole, type Listing, pathWithin, placeOf } from './listing.ts';
import { isKnown } from './relatives.ts';
import { sharedBetween, sharedSentence } from './shared.ts';

/** A division, or folds each of which is a division: then `val` is a fraction of the folds that are not the test. */
export type Preparation = Division | (FoldDivision & Pick<Division, 'val'>);

interface Counts {
  readonly images: BySplitAndClass;
  /** Groups, and originals, by split; null where the data name none. */
  readonly groups: Readonly<Record<string, number>> | null;
  readonly originals: Readonly<Record<string, number>> | null;
}

/** What {@link prepare} has written, as `prepared.json` has it. */
export interface Prepared {
  readonly preparedBy: 'ddrc data prepare';
  readonly version: 1;
  /** The folder or CSV that was divided, relative to the folder of this file. */
  readonly data: string;
  readonly division: Preparation;
  readonly classes: readonly string[];
  /** How many images are in the manifest. */
  readonly images: number;
  /** Of each CSV the images by split (or fold) and class, and the number of groups and originals by split. */
  readonly files: Readonly<Record<string, Counts>>;
  /** What a user should know, a sentence each. */
  readonly notes: readonly string[];
}

const preparedName = 'prepared.json';
const preparedBy = 'ddrc data prepare';

/**
 * Divides a data set and writes the division into a folder that is new, empty, or was written by an earlier call: `manifest.csv` (columns
 * `path,label,split,group,hash`, and `original` where it is known; paths relative to the folder, hash the SHA-256 of the file's bytes) and `prepared.json`. With folds,
 * `manifest.csv` has a column `fold` in place of `split`, and `fold-0.csv` … are manifests with one fold as the test each. The images stay where they are. Nothing is written
 * before everything is known.
 *
 * @throws those of {@link divide} and {@link divideIntoFolds}, of an image that cannot be read, DATA_CHANGED for one whose bytes are not those of the hash that the CSV
 * states, OUTPUT_UNWRITABLE, DISK_FULL
 */
export async function prepare(
  listing: Listing,
  preparation: Preparation,
  out: string,
  onProgress: (done: number, total: number) => void = () => {},
): Promise<Prepared> {
  const folder = resolve(out);
  const earlier = earlierFiles(listing, out);
  const { files, notes } = 'folds' in preparation ? foldTables(listing, preparation) : divisionTables(listing, preparation);
  const used = listing.items.flatMap((_, i) => (files[0].cells[i] === null ? [] : [i]));
  const hashed = await hashFiles(
    used.map((i) => listing.items[i].path),
    onProgress,
  );
  const hashes = new Map(used.map((i, place) => [i, hashed[place]]));
  checkHashes(listing, hashes);
  const prepared: Prepared = {
    preparedBy,
    version: 1,
    data: relative(folder, listing.root).replaceAll('\\', '/'),
    division: preparation,
    classes: listing.classes,
    images: used.length,
    files: Object.fromEntries(files.map((table) => [table.name, countsOf(listing, table)])),
    notes: [...new Set([...notes, ...notesOfTables(listing, files, hashes)]), ...notesOnLabels(listing, hashes)],
  };
  makeFolder(folder);
  // First, so that a folder that was left half-written can be written again.
  writeFileAtomic(join(folder, preparedName), `${JSON.stringify(prepared, null, 2)}\n`);
  for (const table of files) writeFileAtomic(join(folder, table.name), tableText(listing, table, folder, hashes));
  for (const name of earlier) if (!(name in prepared.files)) remove(join(folder, name));
  return prepared;
}

/** Whether a folder has all that {@link prepare} writes. */
export function isPrepared(folder: string): boolean {
  return earlierPrepared(folder)?.every((name) => existsSync(join(folder, name))) ?? false;
}

/** What {@link prepare} had to say of a folder that it wrote; nothing of another one. */
export function preparedNotes(folder: string): readonly string[] {
  return readPrepared(folder)?.notes ?? [];
}

/** A CSV to be written. */
interface Table {
  readonly name: string;
  /** The column that says how the images are divided. */
  readonly column: 'split' | 'fold';
  /** What is in it for each item of the listing. */
  readonly cells: readonly (string | null)[];
  /** What is to be said of this division. */
  readonly notes: readonly string[];
}

interface Tables {
  readonly files: readonly Table[];
  /** What is to be said of all of them. */
  readonly notes: readonly string[];
}

function divisionTables(listing: Listing, division: Division): Tables {
  const { splits, notes } = divide(listing, division);
  return { files: [{ name: 'manifest.csv', column: 'split', cells: splits, notes }], notes: [] };
}

function foldTables(listing: Listing, division: FoldDivision & Pick<Division, 'val'>): Tables {
  const folds = divideIntoFolds(listing, division);
  const divided = Array.from({ length: folds.count }, (_, fold) => divideByFold(listing, folds, fold, division));
  const cells = folds.folds.map((fold) => (fold === null ? null : String(fold)));
  const files = divided.map(
    ({ splits, notes }, fold): Table => ({
      name: `fold-${fold}.csv`,
      column: 'split',
      cells: splits,
      notes: notes.filter((note) => !folds.notes.includes(note)),
    }),
  );
  return { files: [{ name: 'manifest.csv', column: 'fold', cells, notes: [] }, ...files], notes: folds.notes };
}

/** Notes on the divisions, among them on bytes that two of their parts share; those of folds with the fold's number. */
function notesOfTables({ items }: Listing, files: readonly Table[], hashes: ReadonlyMap<number, string>): string[] {
  const contents = items.map((_, i) => hashes.get(i) ?? null);
  const divisions = files.filter(({ column }) => column === 'split');
  const notes = divisions.map(({ cells, notes }) => [
    ...notes,
    ...sharedBetween(cells, contents).map((shared) => sharedSentence(shared, 'content (same bytes)', 'contents (same bytes)')),
  ]);
  if (divisions.length === 1) return notes[0];
  const ofAll = (note: string) => notes.every((own) => own.includes(note));
  return notes.flatMap((own, fold) => own.map((note) => `${ofAll(note) ? 'Every fold' : `Fold ${fold}`}: ${note}`));
}

/** A note on images that have the same bytes and not the same label. */
function notesOnLabels(listing: Listing, hashes: ReadonlyMap<number, string>): string[] {
  const { items, classes } = listing;
  const firsts = new Map<string, number>();
  const conflicts = new Map<string, readonly [number, number]>();
  for (const [i, hash] of hashes) {
    const first = firsts.get(hash) ?? i;
    firsts.set(hash, first);
    if (items[first].label !== items[i].label && !conflicts.has(hash)) conflicts.set(hash, [first, i]);
  }
  if (conflicts.size === 0) return [];
  const named = [...conflicts.values()][0].map((i) => `${pathWithin(listing, items[i])} (${classes[items[i].label]})`);
  const what = counted(conflicts.size, 'content (same bytes) has', 'contents (same bytes) have');
  return [`${what} several labels, such as ${named.join(' and ')}; ddrc data inspect lists them.`];
}

/** Refuses images whose bytes are not those that a CSV has stated: writing the hash of what is there now would lose that evidence. */
function checkHashes(listing: Listing, hashes: ReadonlyMap<number, string>): void {
  const changed = [...hashes].flatMap(([i, hash]) => (isChanged(listing.items[i], hash) ? [listing.items[i]] : []));
  if (changed.length === 0) return;
  const others = changed.slice(1, 5).map((item) => pathWithin(listing, item));
  const note = `${others.join(', ')}${changed.length > 5 ? ' and others' : ''}`;
  throw changedError(changed[0], [
    { label: 'stated in', text: placeOf(listing, changed[0]) },
    ...(others.length > 0 ? [{ label: `${changed.length} of ${hashes.size} differ`, text: note }] : []),
  ]);
}

function countsOf({ items, classes }: Listing, { cells }: Table): Counts {
  const labels = items.map(({ label }) => classes[label]);
  const images = inOrder(countsBy(cells, labels, [...items.keys()], classes));
  const bySplit = (names: readonly (string | null)[]) => {
    const own = (split: string) => new Set(names.filter((name, i) => cells[i] === split && name !== null));
    return isKnown(names) ? Object.fromEntries(Object.keys(images).map((split) => [split, own(split).size])) : null;
  };
  return {
    images,
    groups: bySplit(items.map(({ group }) => group)),
    originals: bySplit(items.map(({ original }) => original ?? null)),
  };
}

/** Train, validation, test and others, or folds, in the order in which they are read. */
function inOrder(counts: BySplitAndClass): BySplitAndClass {
  return Object.fromEntries(Object.entries(counts).sort(([a], [b]) => byRole(a, b)));
}

function tableText(
  { items, classes }: Listing,
  { column, cells }: Table,
  folder: string,
  hashes: ReadonlyMap<number, string>,
): string {
  const withOriginal = items.some(({ original }) => original !== undefined);
  const header = ['path', 'label', column, 'group', 'hash', ...(withOriginal ? ['original'] : [])];
  const rows = [...hashes].map(([i, hash]) => {
    const { path, label, group, original } = items[i];
    const place = relative(folder, path).replaceAll('\\', '/');
    return [place, classes[label], cells[i] as string, group ?? '', hash, ...(withOriginal ? [original ?? ''] : [])];
  });
  return formatCsv([header, ...rows]);
}

/**
 * The CSV files that an earlier call has written into the folder.
 * @throws OUTPUT_UNWRITABLE where the folder holds something else, lies among the images, or is a file
 */
function earlierFiles(listing: Listing, out: string): string[] {
  const folder = resolve(out);
  const refuse = (message: string, hint: string) =>
    new DdrcError({ code: 'OUTPUT_UNWRITABLE', message: `${out} ${message}`, where: folder, hint });
  const kind = statSync(folder, { throwIfNoEntry: false });
  if (kind && !kind.isDirectory()) throw refuse('cannot be written: it is a file, not a folder', 'give --out a folder');
  const isTable = statSync(listing.root).isFile();
  if (!isTable && `${folder}${sep}`.startsWith(`${listing.root}${sep}`)) {
    throw refuse('lies in the folder of the data, in which nothing is changed', 'give --out a folder elsewhere');
  }
  if (!kind) return [];
  const inside = readdirSync(folder).filter((name) => !name.endsWith(partialSuffix));
  if (inside.length === 0) return [];
  const files = earlierPrepared(folder);
  if (files === null) {
    throw refuse(`is not empty and was not written by ${preparedBy}: it holds ${inside[0]}`, 'give --out a new or empty folder');
  }
  if (isTable && resolve(listing.root, '..') === folder) {
    throw refuse('holds the CSV that is to be divided', 'give --out a folder elsewhere');
  }
  return files.filter((name) => /^(manifest|fold-\d+)\.csv$/.test(name));
}

/** The names of files in the `prepared.json` of a folder; null where it has none of ours. */
function earlierPrepared(folder: string): string[] | null {
  const found = readPrepared(folder);
  return found && Object.keys(found.files);
}

/** The `prepared.json` of a folder; null where it has none of ours. */
function readPrepared(folder: string): Prepared | null {
  try {
    const found = JSON.parse(readFileSync(join(folder, preparedName), 'utf8')) as Prepared | null;
    return found?.preparedBy === preparedBy && typeof found.files === 'object' ? found : null;
  } catch {
    return null;
  }
}

function remove(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch (error) {
    throw outputError(path, error);
  }
}
