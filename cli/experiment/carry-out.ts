/*
 * Carries the trainings of an experiment out, each by `ddrc train` in a process of its own: what one leaves in memory slows no other, and several can run side by side.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { DdrcError } from '../../diagnostics/error.ts';
import { divide, divideByFold, divideIntoFolds } from '../../runtime/data/division.ts';
import { readListing } from '../../runtime/data/layout.ts';
import { type Listing, type SplitRole, splitRole } from '../../runtime/data/listing.ts';
import { prepare } from '../../runtime/data/prepare.ts';
import { readLines } from '../../runtime/files.ts';
import { packageRoot } from '../project.ts';
import { type ExperimentSettings, modelFileOf, optionFlags, type PlannedRun } from './plan.ts';
import type { WholeProgress } from './progress.ts';
import type { TrainingProtocol } from './protocol.ts';

/** What an experiment is carried out with; nothing of it changes a result but the device. */
export interface Means {
  /** Trainings side by side. */
  readonly jobs: number;
  readonly device: string;
  readonly threads: number;
}

/** The folder of a planned run within an experiment's. */
export function runFolder(folder: string, { name }: PlannedRun): string {
  return join(folder, 'runs', name);
}

/** How far a run is. */
export type RunState = 'open' | 'begun' | 'done';

/** Whether a run has its result: its last epoch, and its test where it has one. */
export function stateOf(folder: string, epochs: number, tests: boolean): RunState {
  if (!existsSync(join(folder, 'config.json'))) return 'open';
  const metrics = join(folder, 'metrics.jsonl');
  if (!existsSync(metrics) || !existsSync(join(folder, 'model.onnx'))) return 'begun';
  const lines = readLines(metrics) as { readonly epoch?: number; readonly test?: unknown; readonly stoppedEarly?: unknown }[];
  const last = lines.reduce((most, { epoch = 0 }) => Math.max(most, epoch), 0);
  const tested = lines.some(({ test }) => test !== undefined && test !== null);
  return (tests ? tested : last >= epochs) ? 'done' : 'begun';
}

/** The folder of the manifests that a seed's runs train from: one for all seeds where the division does not depend on it. */
export function dataFolder(folder: string, { division }: TrainingProtocol, seed: number): string {
  return join(folder, 'data', dependsOnSeed(division) ? `seed${seed}` : 'all');
}

function dependsOnSeed({ by, ...rest }: TrainingProtocol['division']): boolean {
  return by !== 'given' || (rest.val ?? 0) > 0;
}

/** How many images the parts of a run have. */
export interface PartCounts {
  readonly train: number;
  readonly val: number;
  readonly test: number;
}

export interface DividedData {
  readonly counts: (run: Pick<PlannedRun, 'seed' | 'fold'>) => PartCounts;
  /** What a user should know, a sentence each. */
  readonly notes: readonly string[];
}

/**
 * Divides the data as a protocol says, and writes the manifests that are not there yet.
 * @param dry whether nothing is to be written
 * @throws DdrcError of data
 */
export async function divideData(
  folder: string,
  protocol: TrainingProtocol,
  { data, seeds }: ExperimentSettings,
  dry: boolean,
  onProgress: (done: number, total: number) => void,
): Promise<DividedData> {
  const listing = readListing(data!);
  const notes = new Set(listing.notes);
  for (const seed of seeds) {
    const out = dataFolder(folder, protocol, seed);
    if (dry || existsSync(join(out, 'prepared.json'))) continue;
    const prepared = await prepare(listing, { ...protocol.division, seed }, out, onProgress);
    for (const note of prepared.notes) notes.add(note);
  }
  return { notes: [...notes], counts: ({ seed, fold }) => countsOf(listing, protocol, seed, fold) };
}

function countsOf(listing: Listing, { division, test }: TrainingProtocol, seed: number, fold: number | null): PartCounts {
  const seeded = { ...division, seed };
  const { splits } =
    'folds' in seeded ? divideByFold(listing, divideIntoFolds(listing, seeded), fold!, seeded) : divide(listing, seeded);
  const count = (role: SplitRole) => splits.filter((split) => split !== null && splitRole(split) === role).length;
  return { train: count('train'), val: count('val'), test: test === 'none' ? 0 : count('test') };
}

/** The arguments of `ddrc train` for a run that begins, or goes on. */
export function trainArguments(
  folder: string,
  protocol: TrainingProtocol,
  { train }: ExperimentSettings,
  run: PlannedRun,
  { device, threads }: Means,
): string[] {
  const own = runFolder(folder, run);
  const means = ['--device', device, '--threads', String(threads)];
  if (stateOf(own, Number.POSITIVE_INFINITY, true) !== 'open') return ['train', '--resume', own, ...means];
  const manifest = join(dataFolder(folder, protocol, run.seed), run.fold === null ? 'manifest.csv' : `fold-${run.fold}.csv`);
  const validates = (protocol.division.val ?? 0) > 0;
  const flags = Object.entries(train).flatMap(([name, value]) => [`--${name}`, String(value)]);
  return [
    'train',
    modelFileOf(run.variant),
    '--data',
    manifest,
    '--val',
    validates ? 'val' : 'none',
    ...(protocol.test === 'none' ? ['--test', 'none'] : []),
    ...flags,
    ...optionFlags(run.variant),
    '--seed',
    String(run.seed),
    '--run',
    own,
    ...means,
  ];
}

/**
 * Runs trainings, several side by side, until all are done or one fails; those that are running are then asked to stop, which leaves checkpoints.
 * @param commands the arguments of each, by the name of its run
 * @returns whether all ended; false where the signal stopped them
 * @throws DdrcError EXPERIMENT_RUN with what a failed training said
 */
export async function carryOut(
  commands: ReadonlyMap<string, readonly string[]>,
  jobs: number,
  progress: WholeProgress,
  signal: AbortSignal,
): Promise<boolean> {
  const waiting = [...commands];
  const failures: DdrcError[] = [];
  const stop = new AbortController();
  const abort = () => stop.abort();
  signal.addEventListener('abort', abort);
  const work = async () => {
    for (let next = waiting.shift(); next && !stop.signal.aborted; next = waiting.shift()) {
      const [name, args] = next;
      try {
        await runChild(name, args, progress, stop.signal);
      } catch (error) {
        failures.push(error as DdrcError);
        stop.abort();
      }
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
  signal.removeEventListener('abort', abort);
  if (failures.length > 0) throw failures[0];
  return !signal.aborted;
}

/** One `ddrc train`. Ctrl-C in a terminal reaches it as well; another signal is passed on. */
function runChild(name: string, args: readonly string[], progress: WholeProgress, signal: AbortSignal): Promise<void> {
  const child = spawn(process.execPath, [join(packageRoot, 'dist', 'cli', 'main.js'), ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const stop = () => child.kill('SIGTERM');
  signal.addEventListener('abort', stop);
  let said = '';
  progress.begin(name);
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-4000);
    for (const line of text.split(/[\r\n]+/)) if (line.trim() !== '') progress.line(name, line.trim());
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      signal.removeEventListener('abort', stop);
      progress.end(name, code === 0);
      if (code === 0 || signal.aborted) return resolve();
      reject(
        new DdrcError({
          code: 'EXPERIMENT_RUN',
          message: `the training ${name} failed`,
          notes: [{ label: 'it said', text: said.trim().split('\n').slice(-4).join('\n') }],
          where: `ddrc ${args.join(' ')}`,
          hint: 'mend what it says, and give the same command again: what is done stays',
        }),
      );
    });
  });
}
