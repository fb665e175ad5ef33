import { toPort } from '../runtime/batches.ts';
import { type Dataset, epochOrder } from '../runtime/data/dataset.ts';
import type { SessionPort } from '../runtime/engine.ts';
import { fixedBatch } from '../runtime/evaluator.ts';
import { readBytes } from '../runtime/files.ts';
import { argmax } from '../runtime/metrics.ts';
import { type OpenModel, openModel } from '../runtime/predictor.ts';
import { shipped } from './engines/all.ts';
import { type InputPort, type LoadedModel, type ModelFile, type OnnxEngine, ownWords } from './engines/engine.ts';
import { reference } from './engines/onnxruntime-node.ts';
import type { Feeds } from './feeds.ts';

/** The largest difference of a probability that is rounding. */
export const bar = 1e-4;

/** Two classes whose probabilities are as close as this are a tie, which rounding may decide either way. */
const tie = 1e-6;

/** What became of a model in an engine. */
export interface Row {
  readonly engine: string;
  readonly version: string;
  readonly loads: boolean;
  /** Why it does not load or run the model, in the engine's own words; null where it does. */
  readonly said: string | null;
  /** How many images it has classified. */
  readonly images: number;
  /** Largest difference of a probability from the reference's; null where it ran nothing or gave something that is no number. */
  readonly maxDifference: number | null;
  /** Images that it puts into another class than the reference does; null where it ran nothing. */
  readonly classesDiffer: number | null;
  /** Median of an image, in ms; null where it ran nothing. */
  readonly milliseconds: number | null;
  /** Whether it is within {@link bar} of the reference with every class the same; null where there is nothing to compare. */
  readonly agrees: boolean | null;
}

/** Examples for a model, to be run one after the other. */
export interface Runs {
  readonly images: number;
  /** How many runs they take. */
  readonly count: number;
  feeds(run: number): Promise<Feeds>;
}

/**
 * What a model takes and gives, as engines are told it.
 * @throws DdrcError MODEL_SCORELESS
 */
export function modelFileOf({ file, inputs, scores: { classes } }: OpenModel): ModelFile {
  const rows = fixedBatch(inputs[0]) ?? 1;
  const sized = ({ name, dtype, shape }: SessionPort): InputPort => ({
    name,
    dtype: dtype as InputPort['dtype'],
    shape: shape.map((size, axis) => (axis === 0 ? rows : Number(size))),
  });
  return { path: file, bytes: readBytes(file), inputs: inputs.map(sized), output: 'probabilities', classes, rows };
}

/** So many of the examples, in an order that has every class early on, as many in a run as the model takes. */
export function runsOf({ inputs, rows }: ModelFile, dataset: Dataset, most: number): Runs {
  const images = Math.min(most, dataset.size);
  const order = epochOrder(dataset.size, 'verify', 0);
  return {
    images,
    count: Math.ceil(images / rows),
    async feeds(run) {
      const indices = Array.from({ length: rows }, (_, row) => order[Math.min(run * rows + row, images - 1)]);
      const arrays = await dataset.batch(indices);
      return Object.fromEntries(inputs.map((port) => [port.name, toPort(arrays[port.name], port)]));
    },
  };
}

export interface Verification {
  readonly model: ModelFile;
  readonly runs: Runs;
  readonly engines: readonly OnnxEngine[];
  /** Seconds that an engine has for all its images; the first run is taken in any case. */
  readonly seconds: number;
  /** The same for the reference, and then for the others there are no more images than it has done; without it, it does them all. */
  readonly referenceSeconds?: number;
  readonly onProgress?: (engine: string, done: number, total: number) => void;
}

/**
 * Runs a model in engines and compares what they say with the reference, ONNX Runtime on the processor without its optimizations.
 * @returns a row for the reference, then one for each engine
 * @throws DdrcError ENGINE_FAILED, ENGINE_MEMORY where the reference does not run it
 */
export async function verifyModel(request: Verification): Promise<Row[]> {
  const { model, engines, seconds, referenceSeconds = Number.POSITIVE_INFINITY, onProgress } = request;
  let { runs } = request;
  const progress = (engine: OnnxEngine) => (done: number) => onProgress?.(engine.name, done, runs.images);
  const loaded = (await reference.open(model))!;
  let expected: Answers;
  try {
    expected = await answersOf(model, runs, loaded, referenceSeconds, progress(reference));
    runs = { ...runs, images: expected.images, count: Math.ceil(expected.images / model.rows) };
  } finally {
    await loaded.close();
  }
  const rows: Row[] = [{ ...rowOf(reference, expected, expected, model), agrees: finite(expected) }];
  for (const engine of engines) rows.push(await verifyIn(engine, model, runs, expected, seconds, progress(engine)));
  return rows;
}

async function verifyIn(
  engine: OnnxEngine,
  model: ModelFile,
  runs: Runs,
  expected: Answers,
  seconds: number,
  onProgress: (done: number) => void,
): Promise<Row> {
  const none = { images: 0, maxDifference: null, classesDiffer: null, milliseconds: null, agrees: null };
  const { name, version } = engine;
  let loaded: LoadedModel | null = null;
  try {
    loaded = await engine.open(model);
    if (!loaded) return { engine: name, version, loads: true, said: null, ...none };
    const answers = await answersOf(model, runs, loaded, seconds, onProgress);
    return rowOf(engine, answers, expected, model);
  } catch (error) {
    return { engine: name, version, loads: loaded !== null, said: ownWords(error, model), ...none };
  } finally {
    await loaded?.close();
  }
}

/** Probabilities of the first so many images, row by row. */
interface Answers {
  readonly images: number;
  readonly values: Float32Array;
  readonly milliseconds: number;
}

async function answersOf(
  { classes, rows }: ModelFile,
  runs: Runs,
  loaded: LoadedModel,
  seconds: number,
  onProgress: (done: number) => void,
): Promise<Answers> {
  const values = new Float32Array(runs.images * classes);
  const times: number[] = [];
  let images = 0;
  for (let run = 0, spent = 0; run < runs.count && (run === 0 || spent < seconds * 1000); run++) {
    const feeds = await runs.feeds(run);
    const start = performance.now();
    const given = await loaded.run(feeds);
    times.push(performance.now() - start);
    spent += times[run];
    if (given.length !== rows * classes)
      throw new Error(`it gives ${given.length} probabilities where there are ${rows * classes}`);
    const taken = Math.min(rows, runs.images - images);
    values.set(given.subarray(0, taken * classes), images * classes);
    images += taken;
    onProgress(images);
  }
  times.sort((a, b) => a - b);
  return { images, values: values.subarray(0, images * classes), milliseconds: times[times.length >> 1] / rows };
}

function rowOf({ name, version }: OnnxEngine, answers: Answers, expected: Answers, { classes }: ModelFile): Row {
  const { images, values, milliseconds } = answers;
  let most = 0;
  let differ = 0;
  values.forEach((value, i) => {
    // A difference that is no number stays.
    most = Math.max(most, Math.abs(value - expected.values[i]));
  });
  for (let image = 0; image < images; image++) {
    const [own, other] = [values, expected.values].map((all) => all.subarray(image * classes, (image + 1) * classes));
    const [a, b] = [argmax(own), argmax(other)];
    if (a !== b && !(other[b] - other[a] <= tie)) differ++;
  }
  const maxDifference = Number.isFinite(most) ? most : null;
  const agrees = maxDifference !== null && maxDifference <= bar && differ === 0;
  return { engine: name, version, loads: true, said: null, images, maxDifference, classesDiffer: differ, milliseconds, agrees };
}

function finite({ values }: Answers): boolean {
  return values.every(Number.isFinite);
}

/** What the check at the end of a training may take: it is to be over in a moment. */
const fewImages = 8;
const moment = 0.2;

/**
 * Runs a model.onnx in the engine that ships with ddrc, with its optimizations and without.
 * @returns what came of it, in one line; null for a model that gives no probabilities
 */
export async function checkExport(path: string, dataset: Dataset): Promise<string | null> {
  try {
    const model = await modelFileAt(path);
    if (!model) return null;
    const runs = runsOf(model, dataset, fewImages);
    return exportLine(await verifyModel({ model, runs, engines: shipped, seconds: moment, referenceSeconds: moment }));
  } catch (error) {
    // The training is done and its files are written, whatever becomes of this.
    return `warning: model.onnx could not be checked: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** What a model.onnx takes and gives; null where it gives no probabilities. */
async function modelFileAt(path: string): Promise<ModelFile | null> {
  const opened = await openModel(path);
  try {
    return opened.description.scores === null ? null : modelFileOf(opened);
  } finally {
    await opened.close();
  }
}

function exportLine(rows: readonly Row[]): string {
  const wrong = rows.find(({ agrees }) => agrees !== true);
  const { images } = rows[rows.length - 1];
  const examples = `${images} ${images === 1 ? 'example' : 'examples'}`;
  if (wrong?.said) return `warning: ${wrong.engine} does not run model.onnx: ${wrong.said}`;
  if (wrong === rows[0]) return `warning: model.onnx gives probabilities that are no numbers (${examples})`;
  if (wrong) return `warning: model.onnx gives other probabilities with ONNX Runtime's optimizations than without (${examples})`;
  const most = Math.max(...rows.map(({ maxDifference }) => maxDifference!));
  return `checked model.onnx on ${examples}: with and without ONNX Runtime's optimizations the same within ${most.toExponential(0)}`;
}
