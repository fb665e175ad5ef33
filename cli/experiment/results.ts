import { join } from 'node:path';
import type { EpochFigures, TestFigures } from '../../runtime/evaluator.ts';
import { bootstrapOverGroups, type GroupIntervals } from '../../runtime/metrics/bootstrap.ts';
import { median, type OverRuns, overRuns } from '../../runtime/metrics/runs.ts';
import { addPrediction, createConfusion, type Report, report } from '../../runtime/metrics.ts';
import { type Predictions, readPredictions } from '../../runtime/predictions.ts';
import { openRun } from '../../runtime/runfolder.ts';
import { settingsOf } from '../train-settings.ts';
import { manifestOf, trainedGroups } from './divided-data.ts';
import { type PlannedRun, plannedRuns, readMetrics, stateOf } from './plan.ts';
import type { TrainingProtocol, Variant } from './protocol.ts';
import type { ExperimentSettings } from './settings.ts';

/** What a training came to. */
export interface RunResult {
  readonly name: string;
  readonly seed: number;
  readonly fold: number | null;
  readonly epochs: number;
  /** The median: an epoch that was stopped and gone on with counts the time after that only. */
  readonly secondsPerEpoch: number | null;
  /** Share of the training images that the last epoch got right, varied as they were. */
  readonly trainAccuracy: number | null;
  /** Of the epoch with the lowest validation loss; null without validation. */
  readonly val: EpochFigures | null;
  readonly test: TestFigures | null;
  /** Test images that could not be read, and were left out. */
  readonly unread: number;
}

/** What a variant came to with one seed, all folds together. */
export interface SeedResult {
  readonly seed: number;
  readonly report: Report;
  /** Over groups; null where none are known. */
  readonly intervals: GroupIntervals | null;
  /** Accuracy on the test images that have no relative in training (null where none is left), and how many there are; null where all are such. */
  readonly unrelated: {
    readonly images: number;
    readonly accuracy: number | null;
    readonly intervals: GroupIntervals | null;
  } | null;
}

export interface VariantResult {
  readonly variant: Variant;
  readonly runs: readonly RunResult[];
  /** One for each seed whose trainings are all done and have a test. */
  readonly seeds: readonly SeedResult[];
  /** Over the seeds; null where there is none. */
  readonly accuracy: OverRuns | null;
  readonly macroF1: OverRuns | null;
  readonly unrelated: OverRuns | null;
  readonly trainAccuracy: OverRuns | null;
  readonly valAccuracy: OverRuns | null;
  /** Of an epoch, the median. */
  readonly secondsPerEpoch: number | null;
}

/** The results of what is done of an experiment. */
export function collectResults(folder: string, protocol: TrainingProtocol, { seeds }: ExperimentSettings): VariantResult[] {
  const runs = plannedRuns(folder, protocol, seeds);
  return protocol.variants.map((variant) =>
    variantResult(
      folder,
      protocol,
      runs.filter((run) => run.variant === variant),
      seeds,
    ),
  );
}

function variantResult(
  folder: string,
  protocol: TrainingProtocol,
  planned: readonly PlannedRun[],
  seeds: readonly number[],
): VariantResult {
  const done = planned.filter((run) => stateOf(run, protocol) === 'done');
  const runs = done.map(runResult);
  const whole = seeds.filter((seed) => planned.filter((run) => run.seed === seed).every((run) => done.includes(run)));
  const results = (seed: number) =>
    seedResult(
      folder,
      protocol,
      done.filter((run) => run.seed === seed),
    );
  const bySeed = protocol.test === 'none' ? [] : whole.map(results);
  const over = (values: readonly (number | null | undefined)[]) => {
    const known = values.filter((value) => typeof value === 'number');
    return known.length > 0 ? overRuns(known) : null;
  };
  return {
    variant: planned[0].variant,
    runs,
    seeds: bySeed,
    accuracy: over(bySeed.map((each) => each.report.accuracy)),
    macroF1: over(bySeed.map((each) => each.report.macro.f1)),
    unrelated: over(bySeed.map((each) => each.unrelated?.accuracy)),
    trainAccuracy: over(runs.map((run) => run.trainAccuracy)),
    valAccuracy: over(runs.map((run) => run.val?.accuracy)),
    secondsPerEpoch: median(runs.flatMap(({ secondsPerEpoch }) => (secondsPerEpoch === null ? [] : [secondsPerEpoch]))),
  };
}

function runResult({ name, folder, seed, fold }: PlannedRun): RunResult {
  const { epochs, test } = readMetrics(folder);
  const { config, paths } = openRun(folder);
  const { examples } = settingsOf(config, paths.folder).data;
  const validated = epochs.flatMap(({ val }) => (val ? [val] : []));
  return {
    name,
    seed,
    fold,
    epochs: epochs.length,
    secondsPerEpoch: median(epochs.map(({ seconds }) => seconds)),
    trainAccuracy: epochs.at(-1)?.train.accuracy ?? null,
    val: validated.length > 0 ? validated.reduce((a, b) => (b.loss < a.loss ? b : a)) : null,
    test,
    unread: test ? examples.test - test.images : 0,
  };
}

function seedResult(folder: string, protocol: TrainingProtocol, runs: readonly PlannedRun[]): SeedResult {
  const [{ seed }] = runs;
  const predictions = runs.map((run) => readPredictions(join(run.folder, 'predictions.csv')));
  const all = together(predictions);
  const classes = all.classes.length;
  const trained = runs.length === 1 ? trainedGroups(manifestOf(folder, protocol, runs[0])) : new Set<string>();
  const rows = all.groups.flatMap((group, n) => (group === null || !trained.has(group) ? [n] : []));
  const unrelated = rows.length < all.groups.length ? chosen(all, rows) : null;
  return {
    seed,
    report: report(confusionOf(all), all.classes, all),
    intervals: bootstrapOverGroups(all, classes, all.groups),
    unrelated: unrelated && {
      images: rows.length,
      accuracy: rows.length === 0 ? null : report(confusionOf(unrelated), all.classes).accuracy,
      intervals: bootstrapOverGroups(unrelated, classes, unrelated.groups),
    },
  };
}

function confusionOf({ labels, predicted, classes }: Predictions) {
  const confusion = createConfusion(classes.length);
  for (const [n, label] of labels.entries()) addPrediction(confusion, label, predicted[n]);
  return confusion;
}

/** The predictions of several runs, each image once, as one list. */
function together(parts: readonly Predictions[]): Predictions {
  const [{ classes }] = parts;
  return {
    classes,
    paths: parts.flatMap(({ paths }) => paths),
    groups: parts.flatMap(({ groups }) => groups),
    labels: Int32Array.from(parts.flatMap(({ labels }) => [...labels])),
    predicted: Int32Array.from(parts.flatMap(({ predicted }) => [...predicted])),
    probabilities: Float32Array.from(parts.flatMap(({ probabilities }) => [...probabilities])),
  };
}

function chosen({ classes, paths, groups, labels, predicted, probabilities }: Predictions, rows: readonly number[]): Predictions {
  const k = classes.length;
  return {
    classes,
    paths: rows.map((n) => paths[n]),
    groups: rows.map((n) => groups[n]),
    labels: Int32Array.from(rows, (n) => labels[n]),
    predicted: Int32Array.from(rows, (n) => predicted[n]),
    probabilities: Float32Array.from(rows.flatMap((n) => [...probabilities.subarray(n * k, (n + 1) * k)])),
  };
}
