import { existsSync } from 'node:fs';
import { extname, join } from 'node:path';
import type { Command } from 'commander';
import { DdrcError } from '../diagnostics/error.ts';
import { type Dataset, imageDataset, openArrays } from '../runtime/data/dataset.ts';
import { loadImages } from '../runtime/data/images.ts';
import { readListing } from '../runtime/data/layout.ts';
import { itemsOfSplit, type Listing } from '../runtime/data/listing.ts';
import type { TestAugmentation } from '../runtime/data/orientations.ts';
import { namesOf, type TestFigures, testFiguresOf } from '../runtime/evaluator.ts';
import { formatReport, type Report } from '../runtime/metrics.ts';
import { predictionsOf, writePredictions } from '../runtime/predictions.ts';
import type { OpenModel } from '../runtime/predictor.ts';
import { createProgress, type ProgressDisplay } from '../runtime/progress.ts';
import { openRun } from '../runtime/runfolder.ts';
import { example } from './example.ts';
import { imagePorts, portsOfModel } from './example-ports.ts';
import { usageError } from './failure.ts';
import { oneOf, ttaFlag, wholeNumber } from './flags.ts';
import { settingsOf } from './train-settings.ts';
import { type DeviceFlags, openTrained } from './trained-model.ts';
import { openSource } from './training-data.ts';

interface EvalFlags extends DeviceFlags {
  readonly data?: string;
  readonly split?: string;
  readonly batch: number;
  readonly onBadImage: 'stop' | 'skip';
  readonly cache?: string;
  readonly tta: TestAugmentation;
  readonly predictions?: string;
  readonly json?: boolean;
}

/** What is asked of data. */
interface ExampleFlags extends Pick<EvalFlags, 'data' | 'split' | 'onBadImage' | 'cache'> {
  /** How many images are enough, taken evenly from all; all of them unless told. */
  readonly most?: number;
}

/** Examples with what they are called in a sentence. */
export interface Examples {
  readonly dataset: Dataset;
  readonly name: string;
  close(): Promise<void>;
}

/** `ddrc eval RUN|MODEL.onnx`: how a trained model fares on labelled data. */
export function add(program: Command): void {
  program
    .command('eval')
    .description(
      'measure a trained model on labelled images: accuracy, calibration, and precision, recall, specificity, F1, MCC and AUC by class',
    )
    .argument('<model>', 'run folder, build folder, or model.onnx')
    .option('--data <path>', "folder of class folders, CSV, or safetensors file of arrays (default: the run's own test data)")
    .option('--split <name>', 'split of the data, or all (default: test, or all where the data have no splits)')
    .option('--batch <n>', 'examples at a time', wholeNumber(1), 32)
    .option('--device <name>', 'auto, cpu, cuda or webgpu (default: cpu)')
    .option('--threads <n>', 'threads of one operator (default: one for each processor)', wholeNumber(1, 256))
    .option('--on-bad-image <what>', 'stop at an image that cannot be read, or skip it', oneOf('stop', 'skip'), 'stop')
    .option('--cache <folder>', "folder for decoded images, or none (default: the user's cache folder)")
    .addOption(ttaFlag())
    .option('--predictions <file>', 'CSV to write: path, label, predicted class, group and probabilities of each image')
    .option('--json', 'one JSON object in place of the table')
    .addHelpText(
      'after',
      example(
        'ddrc eval runs/ddrnet-1 --data images --split test',
        'ddrc eval runs/ddrnet-1 --tta flips --predictions predictions.csv',
      ),
    )
    .action(evaluateModel);
}

async function evaluateModel(path: string, flags: EvalFlags): Promise<void> {
  const display = createProgress(process.stderr);
  const model = await openTrained(path, flags);
  try {
    checkScores(model);
    const { dataset, name, close } = await openExamples(path, model, flags, display);
    try {
      checkLabels(dataset, model, name);
      const onBatch = (done: number, total: number) => display.count('evaluating', done, total);
      const evaluation = await model.evaluate(dataset, { batch: flags.batch, tta: flags.tta, onBatch });
      display.end();
      const classes = namesOf(model.description.classes ?? dataset.classes, model.scores.classes);
      if (flags.predictions !== undefined)
        writePredictions(flags.predictions, predictionsOf(evaluation!.scored!, dataset, classes));
      const figures = testFiguresOf(evaluation!, classes, dataset.groups);
      process.stdout.write(flags.json ? `${JSON.stringify(figures)}\n` : asText(figures, name));
    } finally {
      await close();
    }
  } finally {
    display.end();
    await model.close();
  }
}

/** What is measured here is counted by class; the loss is not part of a model.onnx. */
function checkScores({ description, file }: OpenModel): void {
  if (description.scores !== null) return;
  throw new DdrcError({
    code: 'MODEL_SCORELESS',
    message: `${description.model} gives no scores by class, so there is nothing to count by class`,
    where: file,
    hint: "the loss on the run's test examples is in the last line of its metrics.jsonl",
  });
}

/** A file of arrays may have another array than class indices under the label's name. */
function checkLabels({ labels }: Dataset, { description: { label } }: OpenModel, name: string): void {
  if (labels !== null) return;
  throw new DdrcError({
    code: 'DATA_LABEL',
    message: `"${label}" of ${name} does not give each example one class`,
    hint: `store "${label}" as one whole number for each example: int64 [N]`,
  });
}

/**
 * The examples that the flags name; without --data those that the run in `path` has set aside for its test.
 * @throws DdrcError of the data, USAGE
 */
export function openExamples(path: string, model: OpenModel, flags: ExampleFlags, display: ProgressDisplay): Promise<Examples> {
  if (flags.data === undefined) return ownTest(path, model, flags, display);
  const ports = portsOfModel(model);
  if (extname(flags.data).toLowerCase() !== '.safetensors') return labelledImages(flags.data, model, flags, display);
  if (flags.split !== undefined)
    throw usageError('a file of arrays has no splits, so --split has no meaning', 'eval', 'leave it out');
  const dataset = openArrays(flags.data, ports.names, ports.label);
  return Promise.resolve({ dataset, name: flags.data, close: async () => {} });
}

/** The examples that a run has set aside for its test. */
async function ownTest(path: string, model: OpenModel, flags: ExampleFlags, display: ProgressDisplay): Promise<Examples> {
  if (!existsSync(join(path, 'config.json')))
    throw usageError(`which data ${path} is to be measured on is not known`, 'eval', 'give --data');
  if (flags.split !== undefined) throw usageError('--split needs --data', 'eval');
  const { config, paths } = openRun(path);
  const { data, seed } = settingsOf(config, paths.folder);
  const source = openSource({ ...data, seed }, portsOfModel(model));
  if (source.counts.test === 0) throw usageError('the run has set no data aside for a test', 'eval', 'give --data, with --split');
  const loaded = await source.load(['test'], loadRequest(flags, display));
  const name = source.kind === 'drawn' ? 'drawn cells (drawn by ddrc, not real)' : `test examples of ${data.path}`;
  return { dataset: loaded.parts.test!, name, close: () => loaded.close() };
}

async function labelledImages(path: string, model: OpenModel, flags: ExampleFlags, display: ProgressDisplay): Promise<Examples> {
  const { image, label, size } = imagePorts(portsOfModel(model));
  const all = readListing(path, { classes: model.description.classes ?? undefined });
  const split = flags.split ?? (all.splits.length > 0 ? 'test' : 'all');
  const { listing, items } = evenly(all, itemsOfSplit(all, split), flags.most);
  for (const note of listing.notes) display.print(note);
  const { cache, onBadImage, onProgress } = loadRequest(flags, display);
  const images = await loadImages(listing, {
    size,
    items,
    // The cache has whole splits.
    cache: flags.most === undefined ? (cache ?? undefined) : 'none',
    onBadImage,
    onProgress: (done, total) => onProgress('reading images', done, total),
  });
  for (const { path, error } of images.bad) display.print(`left out: ${path}: ${error.message}`);
  const where = split === 'all' ? path : `${listing.items[items[0]].split} of ${path}`;
  return { dataset: imageDataset(images, items, { image, label }), name: `images, ${where}`, close: () => images.close() };
}

/** So many of these items, from all over, as a listing of their own; all of them where there are no more. */
function evenly(
  listing: Listing,
  items: readonly number[],
  most = items.length,
): { readonly listing: Listing; readonly items: readonly number[] } {
  if (most >= items.length) return { listing, items };
  const chosen = Array.from({ length: most }, (_, i) => listing.items[items[Math.floor((i * items.length) / most)]]);
  return { listing: { ...listing, items: chosen }, items: chosen.map((_, i) => i) };
}

function loadRequest({ cache, onBadImage }: ExampleFlags, display: ProgressDisplay) {
  const onProgress = (what: string, done: number, total: number) => display.count(what, done, total);
  return { cache: cache ?? null, onBadImage, onProgress };
}

function asText(figures: TestFigures, name: string): string {
  return `${figures.images} ${name}\n${formatReport(figures as Report)}\n`;
}
