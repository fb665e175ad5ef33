/*
 * The thread of a page in which pictures are decoded and graphs run, so that the page never waits for them.
 */
import { expose } from 'comlink';
import type { Manifest } from '../../contract/manifest.ts';
import { DdrcError, formatDiagnosis, isDdrcError } from '../../diagnostics/error.ts';
import { permutation, random } from '../../numeric/random.ts';
import { packState, unpackState } from '../flat-state.ts';
import { parseManifest } from '../manifest.ts';
import { argmax } from '../metrics.ts';
import { parseSafetensors, serializeSafetensors } from '../safetensors.ts';
import {
  type Example,
  type FinetuneProgress,
  finetune,
  graphOf,
  type Part,
  startState,
  type TrainingState,
  trainStep,
} from './finetune.ts';
import { loadOrt, type OrtSettings, type WebDevice } from './ort.ts';
import { type ImageSource, pixelsOf, writePlanes } from './pixels.ts';
import { fetchBytes, ModelFolder } from './session.ts';
import { withWeights } from './tunable.ts';

export interface WorkerSettings extends OrtSettings {
  /** URL of the folder with manifest.json and the files that it names, with a slash at its end. */
  readonly model: string;
}

/** What a model in a page is and can do. */
export interface ModelInfo {
  readonly model: string;
  readonly classes: readonly string[];
  /** Side of the picture that the model sees, in pixels. */
  readonly size: number;
  readonly device: WebDevice;
  readonly threads: number;
  readonly canExplain: boolean;
  /** The parts that can be trained. */
  readonly parts: readonly Part[];
}

export interface Scores {
  /** In the order of the classes. */
  readonly probabilities: Float32Array;
  /** Of decoding and of the graph, in ms. */
  readonly milliseconds: number;
}

/** Where a class comes from: [height,width] in [0,1], rows from the top. */
export interface AttentionMap {
  readonly width: number;
  readonly height: number;
  readonly data: Float32Array;
}

export interface LabelledImage {
  readonly image: ImageSource;
  /** Index of its class. */
  readonly label: number;
}

export interface FinetuneOptions {
  readonly part: Part;
  readonly epochs: number;
  readonly batch: number;
  readonly learningRate: number;
  /** Share of the images of each class that is held back, to compare before and after. */
  readonly holdBack: number;
  readonly seed: number;
}

/** How the held-back images fare; null where none are. */
export interface Figures {
  readonly images: number;
  readonly accuracy: number;
  readonly loss: number;
}

export interface FinetuneResult {
  readonly steps: number;
  /** Whether all steps were done. */
  readonly finished: boolean;
  readonly trained: number;
  readonly before: Figures | null;
  readonly after: Figures | null;
}

/** What comes to the page in place of a result: errors of another thread lose their class. */
export type Answer<T> =
  | { readonly value: T }
  | { readonly failure: { readonly code: string; readonly text: string; readonly hint?: string } };

class PageModel {
  private readonly undoable: TrainingState[] = [];
  private stopped = false;
  /** Whether the weights are others than those of model.onnx. */
  private tuned = false;
  /** The files that weights are written into, as they were built. */
  private readonly originals = new Map<string, Promise<Uint8Array>>();

  private constructor(
    private readonly folder: ModelFolder,
    private readonly info: ModelInfo,
    private state: TrainingState,
  ) {}

  static async open({ model, ...settings }: WorkerSettings): Promise<PageModel> {
    const text = new TextDecoder().decode(await fetchBytes(new URL('manifest.json', model).href, 'manifest.json'));
    const manifest = parseManifest(text, 'manifest.json');
    const size = imageSize(manifest);
    const [loaded, weights] = await Promise.all([
      loadOrt(settings),
      fetchBytes(new URL('initial.safetensors', model).href, 'initial.safetensors'),
    ]);
    const folder = new ModelFolder(manifest, model, loaded);
    const { tensors } = parseSafetensors(weights, 'initial.safetensors');
    const [parameters, statistics] = [manifest.parameters, manifest.statistics].map((table) => packState(table, tensors));
    const parts = (['head', 'all'] as const).filter((part) => folder.has(graphOf[part]) && folder.has('tunable.onnx'));
    const { device, threads } = loaded;
    const classes = classesOf(manifest);
    const info = { model: manifest.model, classes, size, device, threads, canExplain: folder.has('explain.onnx'), parts };
    return new PageModel(folder, info, startState(manifest, parameters, statistics));
  }

  describe(): ModelInfo {
    return this.info;
  }

  async classify(image: ImageSource): Promise<Scores> {
    const start = performance.now();
    const probabilities = await this.probabilities([await pixelsOf(image, this.info.size)]);
    return { probabilities, milliseconds: performance.now() - start };
  }

  async explain(image: ImageSource, label: number): Promise<AttentionMap> {
    const pixels = await pixelsOf(image, this.info.size);
    const feeds = {
      ...this.imageFeed([pixels]),
      class: { dtype: 'int64', shape: [1], data: BigInt64Array.of(BigInt(label)) } as const,
    };
    const { attention } = await this.folder.run('explain.onnx', feeds, ['attention']);
    const [, height, width] = attention.shape;
    return { width, height, data: attention.data as Float32Array };
  }

  /** Trains on labelled pictures; `onProgress` is told of each step. Pictures that cannot be read are an error before anything is trained. */
  async finetune(
    images: readonly LabelledImage[],
    options: FinetuneOptions,
    onProgress: (progress: FinetuneProgress) => void,
  ): Promise<FinetuneResult> {
    this.stopped = false;
    const examples: Example[] = [];
    for (const { image, label } of images) examples.push({ pixels: await pixelsOf(image, this.info.size), label });
    const { train, held } = holdBack(examples, options);
    if (train.length === 0)
      throw new DdrcError({ code: 'DATA_EMPTY', message: 'there are no images to train on', hint: 'add some' });
    const batch = Math.min(options.batch, train.length);
    const steps = options.epochs * Math.floor(train.length / batch);
    const before = await this.figures(held);
    let done = 0;
    const state = await finetune(
      this.folder,
      { ...options, batch, steps },
      { ...this.state, ...this.zeroMoments() },
      train,
      async (progress) => {
        done = progress.step;
        onProgress(progress);
        // Lets a call of `stop` arrive.
        await new Promise((resolve) => setTimeout(resolve));
        return !this.stopped;
      },
    );
    this.undoable.push(this.state);
    await this.take(state);
    return { steps: done, finished: done === steps, trained: train.length, before, after: await this.figures(held) };
  }

  /** One step on exactly these pictures; gives its loss. */
  async step(images: readonly LabelledImage[], part: Part, learningRate: number, seed: number): Promise<number> {
    const examples: Example[] = [];
    for (const { image, label } of images) examples.push({ pixels: await pixelsOf(image, this.info.size), label });
    const { state, loss } = await trainStep(this.folder, { part, learningRate, seed }, this.state, examples);
    await this.take(state);
    return loss;
  }

  /** Ends a training after the step that is running; its weights stay. */
  stop(): void {
    this.stopped = true;
  }

  /** Takes the last training back; false where there was none. */
  async undo(): Promise<boolean> {
    const before = this.undoable.pop();
    if (before) await this.take(before);
    return before !== undefined;
  }

  /** Parameters and statistics as safetensors, as `ddrc … --weights` takes them. */
  weights(): Uint8Array {
    const { manifest } = this.folder;
    return serializeSafetensors(this.tensors(), { model: manifest.model, modelHash: manifest.modelHash });
  }

  /** The flat vectors that a training graph takes. */
  vectors(): TrainingState['vectors'] {
    return this.state.vectors;
  }

  /** The model with its present weights as an ONNX file. */
  async onnx(): Promise<Uint8Array> {
    return withWeights(this.folder.manifest, 'tunable.onnx', await this.folder.bytes('tunable.onnx'), this.tensors());
  }

  private tensors() {
    const { parameters, statistics } = this.folder.manifest;
    const { vectors } = this.state;
    return new Map([
      ...unpackState(parameters, vectors.parameters),
      ...unpackState(statistics, vectors.statistics ?? new Float32Array(0)),
    ]);
  }

  private zeroMoments(): TrainingState {
    const { parameters, statistics = new Float32Array(0) } = this.state.vectors;
    return startState(this.folder.manifest, parameters, statistics);
  }

  /** From now on, pictures are classified with these weights. */
  private async take(state: TrainingState): Promise<void> {
    this.state = state;
    for (const name of ['tunable.onnx', 'explain.onnx'] as const) {
      if (!this.folder.has(name)) continue;
      let original = this.originals.get(name);
      if (!original) {
        original = this.folder.bytes(name);
        this.originals.set(name, original);
      }
      await this.folder.replace(name, await withWeights(this.folder.manifest, name, await original, this.tensors()));
    }
    this.tuned = true;
  }

  private imageFeed(pictures: readonly Uint8Array[]) {
    const { size } = this.info;
    const each = 3 * size * size;
    const planes = new Float32Array(each * pictures.length);
    pictures.forEach((pixels, i) => {
      writePlanes(pixels, planes, i * each);
    });
    const [{ input }] = this.folder.manifest.preprocessing;
    return { [input]: { dtype: 'float32', shape: [pictures.length, 3, size, size], data: planes } as const };
  }

  private async probabilities(pictures: readonly Uint8Array[]): Promise<Float32Array> {
    const graph = this.tuned ? 'tunable.onnx' : 'model.onnx';
    const { probabilities } = await this.folder.run(graph, this.imageFeed(pictures), ['probabilities']);
    return probabilities.data as Float32Array;
  }

  private async figures(held: readonly Example[]): Promise<Figures | null> {
    if (held.length === 0) return null;
    let [right, loss] = [0, 0];
    for (const { pixels, label } of held) {
      const probabilities = await this.probabilities([pixels]);
      if (argmax(probabilities, 0, probabilities.length) === label) right++;
      loss -= Math.log(Math.max(probabilities[label], 1e-12));
    }
    return { images: held.length, accuracy: right / held.length, loss: loss / held.length };
  }
}

function imageSize({ preprocessing, model }: Manifest): number {
  const [first] = preprocessing;
  if (preprocessing.length === 1 && first.layout === 'NCHW' && first.size[1] === first.size[2]) return first.size[1];
  throw new DdrcError({
    code: 'MODEL_FOREIGN',
    message: `${model} does not take one square picture as float32, so it cannot be used in a page`,
    hint: 'build a model with one input image(3, size, size)',
  });
}

function classesOf({ classes, scores, files, model }: Manifest): readonly string[] {
  const count = files['model.onnx']?.outputs.find(({ name }) => name === scores?.output)?.shape.at(-1);
  if (typeof count !== 'number')
    throw new DdrcError({ code: 'MODEL_FOREIGN', message: `${model} has no scores of classes`, hint: 'give defineModel scores' });
  return classes ?? Array.from({ length: count }, (_, i) => String(i));
}

/** Holds a share of each class back, chosen by the seed; a class of one image is all trained on. */
function holdBack(
  examples: readonly Example[],
  { holdBack: share, seed }: FinetuneOptions,
): { train: Example[]; held: Example[] } {
  const [train, held]: [Example[], Example[]] = [[], []];
  const order = Array.from(permutation(examples.length, random(seed, 'hold back')), (index) => examples[index]);
  for (const label of new Set(examples.map((example) => example.label))) {
    const own = order.filter((example) => example.label === label);
    const count = Math.floor(own.length * share);
    held.push(...own.slice(0, count));
    train.push(...own.slice(count));
  }
  return { train, held };
}

let opened: PageModel | null = null;

/** What the page calls. */
const api = {
  open: (settings: WorkerSettings) =>
    answer(async () => {
      opened = await PageModel.open(settings);
      return opened.describe();
    }),
  classify: (image: ImageSource) => answer(() => opened!.classify(image)),
  explain: (image: ImageSource, label: number) => answer(() => opened!.explain(image, label)),
  finetune: (images: readonly LabelledImage[], options: FinetuneOptions, onProgress: (progress: FinetuneProgress) => void) =>
    answer(() => opened!.finetune(images, options, onProgress)),
  step: (images: readonly LabelledImage[], part: Part, learningRate: number, seed: number) =>
    answer(() => opened!.step(images, part, learningRate, seed)),
  stop: () => opened?.stop(),
  undo: () => answer(() => opened!.undo()),
  weights: () => answer(async () => opened!.weights()),
  vectors: () => answer(async () => opened!.vectors()),
  onnx: () => answer(() => opened!.onnx()),
};

export type WorkerApi = typeof api;

async function answer<T>(work: () => Promise<T>): Promise<Answer<T>> {
  try {
    return { value: await work() };
  } catch (error) {
    if (isDdrcError(error)) return { failure: { code: error.code, text: error.message, hint: error.hint } };
    const text = error instanceof Error ? error.message : formatDiagnosis({ code: 'ENGINE_FAILED', message: String(error) });
    return { failure: { code: 'ENGINE_FAILED', text } };
  }
}

expose(api);
