import { statSync } from 'node:fs';
import { join } from 'node:path';
import { DdrcError } from '../diagnostics/error.ts';
import { checkExamples, toPort } from './batches.ts';
import type { Dataset } from './data/dataset.ts';
import { loadImageFile } from './data/images.ts';
import { orient, orientations, oriented, type TestAugmentation } from './data/orientations.ts';
import { Engine, type EngineOptions, inferenceSession, type SessionPort } from './engine.ts';
import { averaged, type Evaluation, evaluate, fixedBatch, meanOf, namesOf } from './evaluator.ts';
import { inputError, readBytes } from './files.ts';
import type { Manifest, Scores } from './manifest.ts';
import { argmax } from './metrics.ts';
import { readOnnxMetadata } from './onnx-metadata.ts';
import { requireBlock } from './providers.ts';
import type { TensorData } from './tensor.ts';

/** What a model.onnx says of itself in its metadata. */
export interface ModelDescription {
  readonly model: string;
  readonly options: Manifest['options'];
  readonly classes: Manifest['classes'];
  readonly scores: Manifest['scores'];
  /** The target that is a class index, as files of arrays name it; null where the model has none. */
  readonly label: string | null;
  /** Channels in a block of the blocked kernels that it was built for; 0: it uses none. */
  readonly block: number;
  readonly preprocessing: Manifest['preprocessing'];
  readonly modelHash: string;
}

/** What a model makes of one image. */
export interface Prediction {
  readonly file: string;
  readonly class: string;
  /** By class name; for a softmax they add up to 1. */
  readonly probabilities: Readonly<Record<string, number>>;
}

const graph = 'model.onnx';

/**
 * Reads the metadata that ddrc writes into model.onnx.
 * @throws DdrcError ONNX_INVALID, MODEL_FOREIGN
 */
export function describeModel(bytes: Uint8Array, where: string): ModelDescription {
  const metadata = readOnnxMetadata(bytes, where);
  const foreign = (message: string, cause?: unknown) =>
    new DdrcError({
      code: 'MODEL_FOREIGN',
      message,
      where,
      hint: 'give a model.onnx that ddrc build or ddrc train wrote; the training graphs beside it classify nothing',
      cause,
    });
  const value = (key: string): never => {
    const text = metadata.get(`ddrc.${key}`);
    if (text === undefined) throw foreign(`${where} was made by another version of ddrc: it does not say "ddrc.${key}"`);
    try {
      return JSON.parse(text) as never;
    } catch (cause) {
      throw foreign(`${where} has unreadable metadata "ddrc.${key}"`, cause);
    }
  };
  if (!metadata.has('ddrc.model'))
    throw foreign(`${where} does not say its classes and how images are prepared, as a model.onnx of ddrc does`);
  return {
    model: metadata.get('ddrc.model')!,
    options: value('options'),
    classes: value('classes'),
    scores: value('scores'),
    label: value('label'),
    block: value('block'),
    preprocessing: value('preprocessing'),
    modelHash: metadata.get('ddrc.modelHash') ?? '',
  };
}

/**
 * The model.onnx that a path names: the file itself, or the one in a run folder or a folder that `ddrc build` wrote.
 * @throws DdrcError FILE_UNREADABLE
 */
export function modelFile(path: string): string {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() ? join(path, graph) : path;
  } catch (error) {
    throw inputError(path, error);
  }
}

/**
 * Opens a model for prediction and evaluation; close it when done.
 * @param path a run folder, a folder that `ddrc build` wrote, or an ONNX file
 * @throws DdrcError FILE_MISSING, FILE_UNREADABLE, ONNX_INVALID, MODEL_FOREIGN, MODEL_ELSEWHERE, ENGINE_FAILED
 */
export async function openModel(path: string, options: EngineOptions = {}): Promise<OpenModel> {
  const file = modelFile(path);
  const bytes = readBytes(file);
  const description = describeModel(bytes, file);
  await requireBlock(description.block, file);
  const engine = new Engine(options);
  try {
    const { inputs, outputs } = await engine.open(graph, bytes, inferenceSession);
    return new OpenModel(file, description, engine, inputs, outputs);
  } catch (error) {
    await engine.close();
    throw error;
  }
}

/** An inference model that is ready to run. */
export class OpenModel {
  constructor(
    readonly file: string,
    readonly description: ModelDescription,
    private readonly engine: Engine,
    readonly inputs: readonly SessionPort[],
    private readonly outputs: readonly SessionPort[],
  ) {}

  /**
   * The scores and how many classes they tell apart.
   * @throws DdrcError MODEL_SCORELESS where it has none
   */
  get scores(): Scores {
    const port = this.outputs.find(({ name }) => name === this.description.scores?.output);
    const classes = port?.shape.at(-1);
    if (port?.shape.length === 2 && typeof classes === 'number')
      return { output: port.name, classes, activation: this.description.scores!.activation };
    throw this.scoreless('gives no scores by class');
  }

  /** Names of its inputs. */
  get inputNames(): readonly string[] {
    return this.inputs.map(({ name }) => name);
  }

  /**
   * Names of the classes, one for each score; their numbers where the model was built without names.
   * @throws DdrcError MODEL_SCORELESS, MODEL_FOREIGN where it names another number of classes
   */
  get classes(): readonly string[] {
    const { classes: count } = this.scores;
    const names = namesOf(this.description.classes, count);
    if (names.length === count) return names;
    throw new DdrcError({
      code: 'MODEL_FOREIGN',
      message: `${this.file} names ${names.length} classes, but gives ${count} scores`,
      where: this.file,
      hint: 'build the model again, with a name for each score',
    });
  }

  /**
   * Its image input, of three channels, and the size in pixels, width and height alike, that images are brought to.
   * @throws DdrcError MODEL_SCORELESS where it takes no such image, or other things too
   */
  get image(): { readonly input: string; readonly size: number } {
    const [image] = this.description.preprocessing;
    const [channels, height, width] = image?.size ?? [];
    if (image && this.inputs.length === 1 && channels === 3 && height === width) return { input: image.input, size: height };
    throw this.scoreless('does not take just one square colour image');
  }

  /**
   * How it fares on a data set; there is no loss. Null where the signal ended it.
   * @param tta whether to show it each image in several orientations, and take the mean of the probabilities; default `none`
   * @throws DdrcError MODEL_SCORELESS, MODEL_DAMAGED, and those of {@link checkExamples}
   */
  async evaluate(
    dataset: Dataset,
    {
      batch = 32,
      tta = 'none',
      signal,
      onBatch,
    }: {
      batch?: number;
      tta?: TestAugmentation;
      signal?: AbortSignal;
      /** Examples that are done, and all; each counts once for each orientation. */
      onBatch?: (done: number, total: number) => void;
    } = {},
  ): Promise<Evaluation | null> {
    const { engine, inputs, scores } = this;
    await checkExamples('the data', dataset, inputs, scores.classes);
    const fitting = fixedBatch(inputs[0]) ?? batch;
    const views = orientations[tta];
    const shown = views.length === 1 ? [dataset] : views.map((view) => oriented(dataset, this.image.input, view));
    const results: Evaluation[] = [];
    for (const dataset of shown) {
      const before = results.length * dataset.size;
      const result = await evaluate({
        engine,
        graph,
        inputs,
        scores,
        loss: null,
        dataset,
        batch: fitting,
        signal,
        onBatch: (done) => onBatch?.(before + done, shown.length * dataset.size),
      });
      if (!result) return null;
      if (!result.finite) throw this.notFinite();
      results.push(result);
    }
    return averaged(results);
  }

  /**
   * Classifies image files, in their order.
   * @param tta whether to show it each image in several orientations, and take the mean of the probabilities; default `none`
   * @param onBadImage takes an image that does not decode, which is then left out; without it, the first one ends the prediction
   * @throws DdrcError MODEL_SCORELESS, IMAGE_DAMAGED and the other errors of images
   */
  async predict(
    files: readonly string[],
    {
      batch = 16,
      tta = 'none',
      onBadImage,
    }: { batch?: number; tta?: TestAugmentation; onBadImage?: (file: string, error: unknown) => void } = {},
  ): Promise<Prediction[]> {
    const { input, size } = this.image;
    const predictions: Prediction[] = [];
    const count = fixedBatch(this.inputs[0]) ?? batch;
    for (let at = 0; at < files.length; at += count) {
      const some = files.slice(at, at + count);
      const loaded = await Promise.allSettled(some.map((file) => loadImageFile(file, size)));
      const good: { file: string; planes: Float32Array }[] = [];
      loaded.forEach((result, i) => {
        if (result.status === 'fulfilled') good.push({ file: some[i], planes: result.value });
        else if (onBadImage) onBadImage(some[i], result.reason);
        else throw result.reason;
      });
      if (good.length > 0) predictions.push(...(await this.classify(good, input, size, tta)));
    }
    return predictions;
  }

  async close(): Promise<void> {
    await this.engine.close();
  }

  private async classify(
    images: readonly { file: string; planes: Float32Array }[],
    input: string,
    size: number,
    tta: TestAugmentation,
  ): Promise<Prediction[]> {
    const { classes } = this;
    const count = this.scores.classes;
    const length = 3 * size * size;
    // A model for batches of one size gets black images beside the last ones.
    const rows = fixedBatch(this.inputs[0]) ?? images.length;
    const data = new Float32Array(rows * length);
    images.forEach(({ planes }, i) => {
      data.set(planes, i * length);
    });
    const results: Float32Array[] = [];
    for (const view of orientations[tta]) {
      const planes: TensorData = { dtype: 'float32', shape: [rows, 3, size, size], data: orient(data, size, view) };
      const feeds = { [input]: toPort(planes, this.inputs[0]) };
      const { probabilities } = await this.engine.run(graph, feeds, ['probabilities']);
      results.push((probabilities.data as Float32Array).subarray(0, images.length * count));
    }
    const values = meanOf(results);
    if (!values.every(Number.isFinite)) throw this.notFinite();
    return images.map(({ file }, i) => {
      const row = values.subarray(i * count, (i + 1) * count);
      return { file, class: classes[argmax(row)], probabilities: Object.fromEntries(classes.map((name, k) => [name, row[k]])) };
    });
  }

  private notFinite(): DdrcError {
    return new DdrcError({
      code: 'MODEL_DAMAGED',
      message: `${this.description.model} gives scores that are no numbers`,
      where: this.file,
      hint: 'build it again from weights that are finite',
    });
  }

  private scoreless(what: string): DdrcError {
    const message = `${this.description.model} ${what}, so it cannot classify images`;
    return new DdrcError({
      code: 'MODEL_SCORELESS',
      message,
      where: this.file,
      hint: 'use it from a program, through its ONNX file',
    });
  }
}
