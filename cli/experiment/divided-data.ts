import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { DdrcError } from '../../diagnostics/error.ts';
import { contentsHash } from '../../runtime/data/contents.ts';
import { divide, divideByFold, divideIntoFolds } from '../../runtime/data/division.ts';
import { readListing } from '../../runtime/data/layout.ts';
import { type Listing, type SplitRole, splitRole } from '../../runtime/data/listing.ts';
import { isPrepared, prepare, preparedNotes } from '../../runtime/data/prepare.ts';
import type { PlannedRun } from './plan.ts';
import type { TrainingProtocol } from './protocol.ts';

/** How many images the parts of a run have. */
export interface PartCounts {
  readonly train: number;
  readonly val: number;
  readonly test: number;
}

/** The images of an experiment, divided in memory. */
export interface DividedData {
  readonly listing: Listing;
  /** A hash of what the images hold, see {@link contentsHash}. */
  readonly contents: string;
  readonly counts: (run: Pick<PlannedRun, 'seed' | 'fold'>) => PartCounts;
}

/**
 * Looks at the data and divides them as a protocol says; nothing is written.
 * @throws DdrcError of data; DATA_SPLIT where the protocol tests and the division has no test
 */
export function openData(protocol: TrainingProtocol, data: string): DividedData {
  const listing = readListing(data);
  const counts = new Map<string, PartCounts>();
  const countsFor = ({ seed, fold }: Pick<PlannedRun, 'seed' | 'fold'>) => {
    const key = `${dependsOnSeed(protocol) ? seed : 'all'} ${fold}`;
    if (!counts.has(key)) counts.set(key, countsOf(listing, protocol, seed, fold));
    return counts.get(key)!;
  };
  const first = countsFor({ seed: 0, fold: 'folds' in protocol.division ? 0 : null });
  const refused = (message: string, hint: string) => new DdrcError({ code: 'DATA_SPLIT', message, where: data, hint });
  if (protocol.test === null && first.test === 0)
    throw refused('the division of the protocol has no test', 'give it a "test" fraction, or "test": "none" beside it');
  if (first.train < Number(protocol.train.batch))
    throw refused(
      `there are ${first.train} images to train on, fewer than one batch of ${protocol.train.batch}`,
      'give a smaller --batch, or more images',
    );
  if (protocol.train.patience !== undefined && first.val === 0)
    throw refused('patience needs validation, and the division of the protocol has none', 'give it a "val" fraction');
  return { listing, contents: contentsHash(listing.items.map(({ path }) => path)), counts: countsFor };
}

/** The folder of the manifests that a seed's runs train from: one for all seeds where the division does not depend on it. */
export function manifestFolder(folder: string, protocol: TrainingProtocol, seed: number): string {
  return join(folder, 'data', dependsOnSeed(protocol) ? `seed${seed}` : 'all');
}

/**
 * Writes the manifests that are not there yet.
 * @returns what a user should know, a sentence each
 * @throws DdrcError of data and files
 */
export async function writeManifests(
  folder: string,
  protocol: TrainingProtocol,
  { listing }: DividedData,
  seeds: readonly number[],
  onProgress: (done: number, total: number) => void,
): Promise<string[]> {
  const notes = new Set(listing.notes);
  for (const seed of seeds) {
    const out = manifestFolder(folder, protocol, seed);
    if (isPrepared(out)) continue;
    const prepared = await prepare(listing, { ...protocol.division, seed }, out, onProgress);
    for (const note of prepared.notes) notes.add(note);
  }
  return [...notes];
}

/** What is known of the divisions that are written: what they share, what they lack. A sentence each. */
export function divisionNotes(folder: string, protocol: TrainingProtocol, seeds: readonly number[]): string[] {
  const folders = [...new Set(seeds.map((seed) => manifestFolder(folder, protocol, seed)))];
  return folders.flatMap((each) => {
    const notes = preparedNotes(each);
    return folders.length === 1 ? notes : notes.map((note) => `${basename(each)}: ${note}`);
  });
}

/** The manifest that a run trains from. */
export function manifestOf(folder: string, protocol: TrainingProtocol, { seed, fold }: PlannedRun): string {
  return join(manifestFolder(folder, protocol, seed), fold === null ? 'manifest.csv' : `fold-${fold}.csv`);
}

/** The groups that a manifest has in training. */
export function trainedGroups(manifest: string): ReadonlySet<string> {
  if (!existsSync(manifest)) return new Set();
  const { items } = readListing(manifest);
  const own = items.filter(({ split }) => split !== null && splitRole(split) === 'train');
  return new Set(own.flatMap(({ group }) => (group === null ? [] : [group])));
}

function dependsOnSeed({ division }: TrainingProtocol): boolean {
  return division.by !== 'given' || (division.val ?? 0) > 0;
}

function countsOf(listing: Listing, { division, test }: TrainingProtocol, seed: number, fold: number | null): PartCounts {
  const seeded = { ...division, seed };
  const { splits } =
    'folds' in seeded ? divideByFold(listing, divideIntoFolds(listing, seeded), fold!, seeded) : divide(listing, seeded);
  const count = (role: SplitRole) => splits.filter((split) => split !== null && splitRole(split) === role).length;
  return { train: count('train'), val: count('val'), test: test === 'none' ? 0 : count('test') };
}
