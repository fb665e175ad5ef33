import { createHash } from 'node:crypto';
import { extname, relative } from 'node:path';
import { isDdrcError } from '../diagnostics/error.ts';
import { contentsHash } from '../runtime/data/contents.ts';
import { type Dataset, imageDataset, openArrays, subset } from '../runtime/data/dataset.ts';
import { loadImages } from '../runtime/data/images.ts';
import { readListing } from '../runtime/data/layout.ts';
import type { Listing } from '../runtime/data/listing.ts';
import { chooseParts, type Parts, parseSplit } from '../runtime/data/split.ts';
import { readBytes } from '../runtime/files.ts';
import { drawnClasses, drawnCounts, drawnDataset } from './drawn-data.ts';
import { type ExamplePorts, imagePorts } from './example-ports.ts';
import { usageError } from './failure.ts';
import { grouped } from './quantity.ts';

export type Part = 'train' | 'val' | 'test';

/** Which data, and how to divide them. */
export interface DataRequest {
  /** A folder, a CSV, a safetensors file; null: drawn smears. */
  readonly path: string | null;
  /** As `--val` and `--test` have it; null: as the data suggest. */
  readonly val: string | null;
  readonly test: string | null;
  readonly seed: number;
}

/** How to read examples. */
export interface LoadRequest {
  /** Folder for decoded images, or `none`; null: the user's cache folder. */
  readonly cache: string | null;
  readonly onBadImage: 'stop' | 'skip';
  readonly onProgress?: (what: string, done: number, total: number) => void;
}

/** Examples in memory. */
export interface LoadedData {
  /** Null for a part that the data do not have. */
  readonly parts: Readonly<Record<Part, Dataset | null>>;
  /** What a user should know: images that were left out. A sentence each. */
  readonly notes: readonly string[];
  close(): Promise<void>;
}

/** Data that were looked at and divided, but not read yet. */
export interface DataSource {
  readonly kind: 'drawn' | 'images' | 'arrays';
  /** Class names by label; null where the data have none. */
  readonly classes: readonly string[] | null;
  /** How many classes there are; null where the examples have no class. */
  readonly classCount: number | null;
  /** The number of examples of each part, and where they come from. */
  readonly counts: Readonly<Record<Part, number>>;
  readonly sources: Readonly<Record<Part, string>>;
  /** How many examples to train on each class has; null where the examples have no class. */
  trainingCounts(): readonly number[] | null;
  /** What a user should know, a sentence each. */
  readonly notes: readonly string[];
  /** A hash of what the examples are and how they are divided: a resumed run must find the same. */
  readonly fingerprint: string;
  /** A hash of what the examples of each part are, whatever their order: where two runs have the same, their figures are of the same examples. */
  readonly partFingerprints: Readonly<Record<Part, string>>;
  /** A hash of what the images hold, see {@link contentsHash}; null for other data, whose fingerprint covers it. */
  contents(): string | null;
  /** Reads the examples of these parts. */
  load(parts: readonly Part[], request: LoadRequest): Promise<LoadedData>;
}

/**
 * Looks at the data and divides them into training, validation and test.
 * @throws DdrcError of the data's layout and division, DATA_SHAPE where the model does not take such data
 */
export function openSource(request: DataRequest, ports: ExamplePorts): DataSource {
  if (request.path === null) return drawnSource(request, ports);
  return extname(request.path).toLowerCase() === '.safetensors'
    ? arraySource(request.path, request, ports)
    : imageSource(request.path, request, ports);
}

/** One sentence: how many examples each part has and where they come from. */
export function describeParts({ kind, counts, sources }: DataSource): string {
  const what = kind === 'arrays' ? 'examples' : kind === 'drawn' ? 'drawn cells' : 'images';
  const other = (part: Part, verb: string) =>
    counts[part] === 0
      ? `none to ${verb}`
      : `${grouped(counts[part])} to ${verb}${kind === 'drawn' ? '' : ` (${sources[part]})`}`;
  const from = kind === 'drawn' ? '' : ` (${sources.train})`;
  return `${grouped(counts.train)} ${what} to train on${from}, ${other('val', 'validate')}, ${other('test', 'test')}`;
}

function drawnSource({ val, test }: DataRequest, ports: ExamplePorts): DataSource {
  imagePorts(ports);
  for (const [flag, value] of Object.entries({ '--val': val, '--test': test })) {
    if (value !== null && value.toLowerCase() !== 'none')
      throw usageError(
        `${flag} ${value} needs --data: the drawn cells have their own parts`,
        'train',
        `${flag} none leaves that part out`,
      );
  }
  const counts = { ...drawnCounts, ...(val !== null && { val: 0 }), ...(test !== null && { test: 0 }) };
  return {
    kind: 'drawn',
    classes: drawnClasses,
    classCount: drawnClasses.length,
    counts,
    sources: { train: 'drawn', val: 'drawn', test: 'drawn' },
    trainingCounts: () => drawnClasses.map(() => counts.train / drawnClasses.length),
    notes: [],
    fingerprint: hash(counts),
    partFingerprints: eachPart((part) => hash([part, counts[part]])),
    contents: () => null,
    load: async (parts, { onProgress }) => {
      const wanted = parts.filter((part) => counts[part] > 0);
      const total = wanted.reduce((sum, part) => sum + counts[part], 0);
      const loaded: Record<Part, Dataset | null> = { train: null, val: null, test: null };
      let done = 0;
      for (const part of wanted) {
        onProgress?.('drawing cells', done, total);
        // Drawing blocks: let the progress be seen, and a signal be noticed, in between.
        await new Promise((resolve) => setImmediate(resolve));
        loaded[part] = drawnDataset(part, ports);
        done += counts[part];
      }
      onProgress?.('drawing cells', done, total);
      return { parts: loaded, notes: [], close: async () => {} };
    },
  };
}

function imageSource(path: string, request: DataRequest, ports: ExamplePorts): DataSource {
  const { image, label, size } = imagePorts(ports);
  const listing = readListing(path);
  const parts = chooseParts(listing, divisionOf(request));
  return {
    kind: 'images',
    classes: listing.classes,
    classCount: listing.classes.length,
    counts: countsOf(parts),
    sources: parts.sources,
    trainingCounts: () =>
      countByClass(
        listing.classes.length,
        parts.train.map((i) => listing.items[i].label),
      ),
    notes: [...listing.notes, ...parts.notes],
    fingerprint: fingerprintOf(listing, parts),
    partFingerprints: eachPart((part) => hash(namedExamples(listing, parts[part]).sort())),
    contents: () => contentsHash([...parts.train, ...parts.val, ...parts.test].map((i) => listing.items[i].path)),
    load: async (wanted, { cache, onBadImage, onProgress }) => {
      const images = await loadImages(listing, {
        size,
        items: wanted.flatMap((part) => parts[part]),
        cache: cache ?? undefined,
        onBadImage,
        onProgress: (done, total) => onProgress?.('reading images', done, total),
      });
      const dataset = (part: Part) =>
        wanted.includes(part) && parts[part].length > 0 ? imageDataset(images, parts[part], { image, label }) : null;
      const notes = images.bad.map(({ path, error }) => `Left out: ${path}: ${error.message}.`);
      return {
        parts: { train: dataset('train'), val: dataset('val'), test: dataset('test') },
        notes: [...images.notes, ...notes],
        close: () => images.close(),
      };
    },
  };
}

function arraySource(path: string, request: DataRequest, { names, label }: ExamplePorts): DataSource {
  const all = openArrays(path, names, label);
  const { labels } = all;
  const classCount = labels && labels.reduce((most, value) => Math.max(most, value), 0) + 1;
  // A listing whose items are the examples, to be divided like images are.
  const listing: Listing = {
    root: path,
    items: Array.from({ length: all.size }, (_, i) => ({ path: String(i), label: labels?.[i] ?? 0, split: null, group: null })),
    classes: Array.from({ length: classCount ?? 1 }, (_, i) => String(i)),
    splits: [],
    notes: [],
  };
  const { sources, ...parts } = chooseParts(listing, divisionOf(request));
  const said = (source: string) => source.replace('all images', 'all examples').replace(' by file', '');
  const dataset = (part: Part) => (parts[part].length > 0 ? subset(all, parts[part]) : null);
  const content = createHash('sha256').update(readBytes(path)).digest('hex');
  return {
    kind: 'arrays',
    classes: null,
    classCount,
    counts: countsOf(parts),
    sources: { train: said(sources.train), val: said(sources.val), test: said(sources.test) },
    trainingCounts: () =>
      labels &&
      countByClass(
        classCount!,
        parts.train.map((i) => labels[i]),
      ),
    notes: [],
    fingerprint: hash([content, parts.train, parts.val, parts.test]),
    partFingerprints: eachPart((part) => hash([content, parts[part].toSorted((a, b) => a - b)])),
    contents: () => null,
    load: async () => ({
      parts: { train: dataset('train'), val: dataset('val'), test: dataset('test') },
      notes: [],
      close: async () => {},
    }),
  };
}

function divisionOf({ val, test, seed }: DataRequest) {
  return {
    val: val === null ? undefined : readPart('--val', val),
    test: test === null ? undefined : readPart('--test', test),
    seed,
  };
}

/** {@link parseSplit}; a fraction that no data could be divided by is wrong usage. */
function readPart(flag: string, text: string): number | string {
  try {
    return parseSplit(text);
  } catch (error) {
    throw isDdrcError(error) ? usageError(`${flag}: ${error.message}`, 'train', error.hint) : error;
  }
}

function countsOf({ train, val, test }: Readonly<Record<Part, readonly number[]>>): Record<Part, number> {
  return { train: train.length, val: val.length, test: test.length };
}

function countByClass(classes: number, labels: readonly number[]): number[] {
  const counts = new Array<number>(classes).fill(0);
  for (const label of labels) counts[label]++;
  return counts;
}

/** Of every item of every part its path within the data and its label, in order. */
function fingerprintOf({ root, items, classes }: Listing, parts: Parts): string {
  const named = (part: Part) => parts[part].map((i) => [relative(root, items[i].path).replaceAll('\\', '/'), items[i].label]);
  return hash([classes, named('train'), named('val'), named('test')]);
}

/** Of each of these items its path within the data and its class. */
function namedExamples({ root, items, classes }: Listing, part: readonly number[]): string[] {
  const pathOf = (i: number) => relative(root, items[i].path).replaceAll('\\', '/');
  return part.map((i) => JSON.stringify([pathOf(i), classes[items[i].label]]));
}

function eachPart<T>(of: (part: Part) => T): Record<Part, T> {
  return { train: of('train'), val: of('val'), test: of('test') };
}

function hash(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex');
}
