import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { readListing } from '../../runtime/data/layout.ts';
import { splitRole } from '../../runtime/data/listing.ts';
import type { EpochFigures, TestFigures } from '../../runtime/evaluator.ts';
import { readLines } from '../../runtime/files.ts';
import { bootstrapOverGroups, type GroupIntervals } from '../../runtime/metrics/bootstrap.ts';
import { type OverRuns, overRuns } from '../../runtime/metrics/runs.ts';
import { addPrediction, createConfusion, type Report, report } from '../../runtime/metrics.ts';
import { type Predictions, readPredictions } from '../../runtime/predictions.ts';
import { dataFolder, runFolder, stateOf } from './carry-out.ts';
import { type ExperimentSettings, type PlannedRun, plannedRuns } from './plan.ts';
import type { TrainingProtocol, Variant } from './protocol.ts';

/** What a training came to. */
export interface RunResult {
  readonly name: string;
  readonly seed: number;
  readonly fold: number | null;
  readonly epochs: number;
  /** Of its epochs, in seconds. */
  readonly seconds: number;
  /** Share of the training images that the last epoch got right, varied as they were. */
  readonly trainAccuracy: number | null;
  /** Of the epoch with the lowest validation loss; null without validation. */
  readonly val: EpochFigures | null;
  readonly test: TestFigures | null;
}

/** What a variant came to with one seed, all folds together. */
export interface SeedResult {
  readonly seed: number;
  readonly report: Report;
  /** Over groups; null where none are known. */
  readonly intervals: GroupIntervals | null;
  /** Accuracy on the test images that have no relative in training, and how many there are; null where all or none have. */
  readonly unrelated: { readonly images: number; readonly accuracy: number; readonly intervals: GroupIntervals | null } | null;
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
export function collectResults(folder: string, protocol: TrainingProtocol, settings: ExperimentSettings): VariantResult[] {
  const runs = plannedRuns(protocol, settings);
  return settings.variants.map((variant) =>
    variantResult(
      folder,
      protocol,
      runs.filter((run) => run.variant === variant),
      settings,
    ),
  );
}

function variantResult(
  folder: string,
  protocol: TrainingProtocol,
  planned: readonly PlannedRun[],
  { train, seeds }: ExperimentSettings,
): VariantResult {
  const tests = protocol.test !== 'none';
  const done = planned.filter((run) => stateOf(runFolder(folder, run), Number(train.epochs), tests) === 'done');
  const runs = done.map((run) => runResult(runFolder(folder, run), run));
  const whole = seeds.filter((seed) => planned.filter((run) => run.seed === seed).every((run) => done.includes(run)));
  const bySeed = tests
    ? whole.map((seed) =>
        seedResult(
          folder,
          protocol,
          seed,
          done.filter((run) => run.seed === seed),
        ),
      )
    : [];
  const over = (values: readonly (number | null | undefined)[]) => {
    const known = values.filter((value) => typeof value === 'number');
    return known.length > 0 ? overRuns(known) : null;
  };
  const epochs = runs.map(({ seconds, epochs }) => seconds / epochs).sort((a, b) => a - b);
  return {
    variant: planned[0].variant,
    runs,
    seeds: bySeed,
    accuracy: over(bySeed.map((each) => each.report.accuracy)),
    macroF1: over(bySeed.map((each) => each.report.macro.f1)),
    unrelated: over(bySeed.map((each) => each.unrelated?.accuracy)),
    trainAccuracy: over(runs.map((run) => run.trainAccuracy)),
    valAccuracy: over(runs.map((run) => run.val?.accuracy)),
    secondsPerEpoch: epochs[Math.floor(epochs.length / 2)] ?? null,
  };
}

interface MetricsLine {
  readonly epoch?: number;
  readonly seconds?: number;
  readonly train?: { readonly accuracy?: number };
  readonly val?: EpochFigures;
  readonly test?: TestFigures | null;
}

function runResult(folder: string, { name, seed, fold }: PlannedRun): RunResult {
  const lines = readLines(join(folder, 'metrics.jsonl')) as MetricsLine[];
  const epochs = lines.filter(({ epoch }) => epoch !== undefined);
  const validated = epochs.flatMap(({ val }) => (val ? [val] : []));
  return {
    name,
    seed,
    fold,
    epochs: epochs.length,
    seconds: epochs.reduce((sum, { seconds = 0 }) => sum + seconds, 0),
    trainAccuracy: epochs.at(-1)?.train?.accuracy ?? null,
    val: validated.length > 0 ? validated.reduce((a, b) => (b.loss < a.loss ? b : a)) : null,
    test: lines.findLast(({ test }) => test)?.test ?? null,
  };
}

function seedResult(folder: string, protocol: TrainingProtocol, seed: number, runs: readonly PlannedRun[]): SeedResult {
  const predictions = runs.map((run) => readPredictions(join(runFolder(folder, run), 'predictions.csv')));
  const all = together(predictions);
  const classes = all.classes.length;
  const trained = runs.length === 1 ? trainedGroups(join(dataFolder(folder, protocol, seed), 'manifest.csv')) : new Set<string>();
  const rows = all.groups.flatMap((group, n) => (group === null || !trained.has(group) ? [n] : []));
  const some = rows.length > 0 && rows.length < all.groups.length;
  const unrelated = some ? chosen(all, rows) : null;
  return {
    seed,
    report: report(confusionOf(all), all.classes, all),
    intervals: bootstrapOverGroups(all, classes, all.groups),
    unrelated: unrelated && {
      images: rows.length,
      accuracy: unrelated.labels.reduce((sum, label, n) => sum + Number(label === unrelated.predicted[n]), 0) / rows.length,
      intervals: bootstrapOverGroups(unrelated, classes, unrelated.groups),
    },
  };
}

/** The groups that a manifest has in training. */
function trainedGroups(manifest: string): ReadonlySet<string> {
  if (!existsSync(manifest)) return new Set();
  const { items } = readListing(manifest);
  return new Set(
    items.flatMap(({ split, group }) => (split !== null && splitRole(split) === 'train' && group !== null ? [group] : [])),
  );
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
