import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import type { TestFigures } from '../../runtime/evaluator.ts';
import { readLines } from '../../runtime/files.ts';
import { isTraining, openRun, type RunConfig, type RunPaths } from '../../runtime/runfolder.ts';
import type { EpochLine } from '../../runtime/trainer.ts';
import { settingsOf, type TrainSettings } from '../train-settings.ts';

/** The test's line of metrics.jsonl; only the number of images is certain: earlier versions measured less. */
export type TestRecord = Pick<TestFigures, 'images'> & Partial<TestFigures>;

/** What a run folder tells, however far the training came. */
export interface RunRecord {
  /** The folder's name. */
  readonly name: string;
  readonly paths: RunPaths;
  readonly config: RunConfig;
  readonly settings: TrainSettings;
  /** `going`: a process trains into it; `failed`: the loss was no number; `stopped`: none of these, and there is more to train. */
  readonly state: 'complete' | 'going' | 'failed' | 'stopped';
  /** Why a training that failed did; otherwise null. */
  readonly failure: string | null;
  /** Whether `--patience` ended the training before its last epoch. */
  readonly stoppedEarly: boolean;
  /** What was said when it started: images that were left out, groups that parts share, and the like. A sentence each. */
  readonly notes: readonly string[];
  readonly epochs: readonly EpochLine[];
  /** The epoch whose weights the run keeps: that with the lowest validation loss, or the last; null before the first. */
  readonly best: EpochLine | null;
  /** Null where there was no test (yet). */
  readonly test: TestRecord | null;
}

/**
 * Reads a run folder. Nothing in it is changed, and a training that goes on in it is not disturbed.
 * @param own whether this process has the folder's lock
 * @throws DdrcError RUN_INVALID, FILE_UNREADABLE
 */
export function readRun(folder: string, own = false): RunRecord {
  const { paths, config } = openRun(folder);
  const settings = settingsOf(config, paths.folder);
  const lines = existsSync(paths.metrics) ? readLines(paths.metrics) : [];
  const epochs = lines.filter(isEpoch);
  const test = lines.map(testOf).findLast((found) => found !== null) ?? null;
  const stoppedEarly = epochs.at(-1)?.stoppedEarly === true;
  const trained = stoppedEarly || epochs.length >= settings.epochs;
  const done = trained && (test !== null || settings.data.examples.test === 0);
  const state = done ? 'complete' : !own && isTraining(paths) ? 'going' : 'stopped';
  const failure = state === 'stopped' ? failureOf(lines.at(-1)) : null;
  return {
    name: basename(paths.folder),
    paths,
    config,
    settings,
    state: failure === null ? state : 'failed',
    failure,
    stoppedEarly,
    notes: Array.isArray(config.notes) ? config.notes.map(String) : [],
    epochs,
    best: epochs.reduce<EpochLine | null>(
      (best, line) => (best?.val && line.val && line.val.loss >= best.val.loss ? best : line),
      null,
    ),
    test,
  };
}

/** Whether a run has finished an epoch, also where its weights are gone. */
export function hasEpoch({ metrics }: RunPaths): boolean {
  return existsSync(metrics) && readLines(metrics).some(isEpoch);
}

function isEpoch(line: unknown): line is EpochLine {
  const { epoch, train } = line as Partial<EpochLine>;
  return typeof epoch === 'number' && typeof train?.loss === 'number';
}

/** Why the training failed, where its last line says so. */
function failureOf(line: unknown): string | null {
  const { failed } = (line ?? {}) as { readonly failed?: unknown };
  return typeof failed === 'string' ? failed : null;
}

/** The test of a line; its parts by class only where they fit together. */
function testOf(line: unknown): TestRecord | null {
  const { test } = line as { readonly test?: TestRecord | null };
  if (typeof test?.images !== 'number') return null;
  const { names, classes, confusion, ...rest } = test;
  const fits =
    names &&
    classes &&
    confusion?.length === names.length &&
    names.every((name, i) => classes[name] && confusion[i].length === names.length);
  return fits ? test : rest;
}
