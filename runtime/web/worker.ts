/*
 * The thread of a page in which pictures are decoded and graphs run, so that the page never waits for them.
 */
import { expose, type Remote, releaseProxy } from 'comlink';
import type { Manifest } from '../../contract/manifest.ts';
import { DdrcError, formatDiagnosis, isDdrcError } from '../../diagnostics/error.ts';
import { packState, unpackState, type Weights } from '../flat-state.ts';
import { parseManifest, scoresOf } from '../manifest.ts';
import { argmax } from '../metrics.ts';
import { parseSafetensors, serializeSafetensors } from '../safetensors.ts';
import {
  type Example,
  type FinetuneProgress,
  finetune,
  graphOf,
  holdBack,
  type Part,
  startState,
  type TrainingState,
  trainStep,
  weightsOf,
} from './finetune.ts';
import { canHash } from './hash.ts';
import type { FinetuneOptions } from './options.ts';
import { loadOrt, type OrtSettings, type WebDevice } from './ort.ts';
import { type ImageSource, pixelsOf, writePlanes } from './pixels.ts';
import { fetchBytes, ModelFolder } from './session.ts';
import { withWeights } from './tunable.ts';

export interface WorkerSettings extends OrtSettings {
  /** URL of the folder with manifest.json and the files that it names, with a slash at its end. */
  readonly model: string;
  /** Name of a lock that the worker holds as long as it lives. */
  readonly lock: string;
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

/** How many trainings can be taken back. */
export interface Undoable {
  readonly undoable: number;
}

/** The most trainings that can be taken back. */
const mostUndoable = 10;

/** What comes to the page in place of a result: errors of another thread lose their class. */
export type Answer<T> =
  | { readonly value: T }
  | { readonly failure: { readonly code: string; readonly text: string; readonly hint?: string } };

class PageModel {
  /** The weights before each training, the last one last. */
  private readonly earlier: Weights[] = [];
  /** Whether the weights are others than those of model.onnx. */
  private tuned = false;

  private constructor(
    private readonly folder: ModelFolder,
    private readonly info: ModelInfo,
    private state: TrainingState,
  ) {}

  static async open({ model, lock, ...settings }: WorkerSettings): Promise<PageModel> {
    await hold(lock);
    const text = new TextDecoder().decode(await fetchBytes(new URL('manifest.json', model).href, 'manifest.json'));
    const manifest = parseManifest(text, 'manifest.json');
    const size = imageSize(manifest);
    const classes = classesOf(manifest);
    const loaded = await loadOrt(settings);
    const folder = new ModelFolder(manifest, model, loaded);
    const { tensors } = parseSafetensors(await folder.bytes('initial.safetensors'), 'initial.safetensors');
    const [parameters, statistics] = [manifest.parameters, manifest.statistics].map((table) => packState(table, tensors));
    const canLearn = (graph: string) => folder.has(graph) && scoresOf(manifest, manifest.files[graph]) !== null;
    // The hash in a file with other weights has to be made anew.
    const parts = (['head', 'all'] as const).filter((part) => canHash && folder.has('tunable.onnx') && canLearn(graphOf[part]));
    const { device, threads } = loaded;
    const info = { model: manifest.model, classes, size, device, threads, canExplain: folder.has('explain.onnx'), parts };
    return new PageModel(folder, info, startState(manifest, { parameters, statistics }));
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

  /**
   * Trains on labelled pictures; `onProgress` is told of each step. Pictures that cannot be read are an error before anything is trained.
   * @param stopped whether it is to end
   */
  async finetune(
    images: readonly LabelledImage[],
    options: FinetuneOptions,
    onProgress: (progress: FinetuneProgress) => void,
    stopped: () => boolean,
  ): Promise<FinetuneResult & Undoable> {
    const nothing = () => ({ steps: 0, finished: false, trained: 0, before: null, after: null, undoable: this.earlier.length });
    const examples: Example[] = [];
    for (const { image, label } of images) {
      if (stopped()) return nothing();
      examples.push({ pixels: await pixelsOf(image, this.info.size), label });
    }
    const { train, held } = holdBack(examples, options);
    if (train.length === 0)
      throw new DdrcError({ code: 'DATA_EMPTY', message: 'there are no images to train on', hint: 'add some' });
    const batch = Math.min(options.batch, train.length);
    const steps = options.epochs * Math.floor(train.length / batch);
    const before = await this.figures(held);
    if (stopped()) return nothing();
    let done = 0;
    const state = await finetune(
      this.folder,
      { ...options, batch, steps },
      startState(this.folder.manifest, weightsOf(this.state)),
      train,
      async (progress) => {
        done = progress.step;
        onProgress(progress);
        // Lets a call of `stop` arrive.
        await new Promise((resolve) => setTimeout(resolve));
        return !stopped();
      },
    );
    const weights = weightsOf(this.state);
    await this.take(state);
    this.earlier.push(weights);
    if (this.earlier.length > mostUndoable) this.earlier.shift();
    const after = await this.figures(held);
    return { steps: done, finished: done === steps, trained: train.length, before, after, undoable: this.earlier.length };
  }

  /** One step on exactly these pictures; gives its loss. */
  async step(images: readonly LabelledImage[], part: Part, learningRate: number, seed: number): Promise<number> {
    const examples: Example[] = [];
    for (const { image, label } of images) examples.push({ pixels: await pixelsOf(image, this.info.size), label });
    const { state, loss } = await trainStep(this.folder, { part, learningRate, seed }, this.state, examples);
    await this.take(state);
    return loss;
  }

  /** Takes the last training back, if there was one. */
  async undo(): Promise<Undoable & { readonly undone: boolean }> {
    const before = this.earlier.at(-1);
    if (before) await this.take(startState(this.folder.manifest, before));
    this.earlier.pop();
    return { undone: before !== undefined, undoable: this.earlier.length };
  }

  /** Parameters and statistics as safetensors, as `ddrc … --weights` takes them. */
  weights(): Uint8Array {
    const { manifest } = this.folder;
    return serializeSafetensors(this.tensors(this.state), { model: manifest.model, modelHash: manifest.modelHash });
  }

  /** The flat vectors that a training graph takes. */
  vectors(): TrainingState['vectors'] {
    return this.state.vectors;
  }

  /** The model with its present weights as an ONNX file. */
  async onnx(): Promise<Uint8Array> {
    return this.written('tunable.onnx', this.state);
  }

  private tensors(state: TrainingState) {
    const { parameters, statistics } = this.folder.manifest;
    const weights = weightsOf(state);
    return new Map([...unpackState(parameters, weights.parameters), ...unpackState(statistics, weights.statistics)]);
  }

  /** A file with the weights of a state in it. */
  private async written(name: 'tunable.onnx' | 'explain.onnx', state: TrainingState): Promise<Uint8Array> {
    return withWeights(this.folder.manifest, name, await this.folder.bytes(name), this.tensors(state));
  }

  /** From now on, pictures are classified with these weights. */
  private async take(state: TrainingState): Promise<void> {
    const files = new Map<string, Uint8Array>();
    for (const name of ['tunable.onnx', 'explain.onnx'] as const) {
      if (this.folder.has(name)) files.set(name, await this.written(name, state));
    }
    // From here on nothing can fail any more that would leave the old weights in one place and the new ones in another.
    this.state = state;
    this.tuned = true;
    await this.folder.replace(files);
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

function classesOf(manifest: Manifest): readonly string[] {
  const { classes, files, model } = manifest;
  const scores = files['model.onnx'] ? scoresOf(manifest, files['model.onnx']) : null;
  if (!scores)
    throw new DdrcError({ code: 'MODEL_FOREIGN', message: `${model} has no scores of classes`, hint: 'give defineModel scores' });
  return classes ?? Array.from({ length: scores.classes }, (_, i) => String(i));
}

/** Takes a lock and keeps it: the browser gives it away when the worker ends, however that comes. */
async function hold(lock: string): Promise<void> {
  await new Promise<void>((held) => {
    if (!navigator.locks) return held();
    const holding = navigator.locks.request(lock, () => {
      held();
      return new Promise(() => {});
    });
    holding.catch(held);
  });
}

let opened: PageModel | null = null;
/** Numbers of the trainings that are to end. */
const stopped = new Set<number>();

/** What the page calls. */
const api = {
  open: (settings: WorkerSettings) =>
    answer(async () => {
      opened = await PageModel.open(settings);
      return opened.describe();
    }),
  classify: (image: ImageSource) => answer(() => opened!.classify(image)),
  explain: (image: ImageSource, label: number) => answer(() => opened!.explain(image, label)),
  /** @param run a number by which `stop` can end it */
  finetune: (
    images: readonly LabelledImage[],
    options: FinetuneOptions,
    run: number,
    onProgress: (progress: FinetuneProgress) => void,
  ) =>
    answer(async () => {
      try {
        return await opened!.finetune(images, options, onProgress, () => stopped.has(run));
      } finally {
        stopped.delete(run);
        (onProgress as Remote<typeof onProgress>)[releaseProxy]();
      }
    }),
  step: (images: readonly LabelledImage[], part: Part, learningRate: number, seed: number) =>
    answer(() => opened!.step(images, part, learningRate, seed)),
  /** Ends a training after the step that is running, or before it begins; its weights stay. Waits for no other call. */
  stop: (run: number) => {
    stopped.add(run);
  },
  undo: () => answer(() => opened!.undo()),
  weights: () => answer(async () => opened!.weights()),
  vectors: () => answer(async () => opened!.vectors()),
  onnx: () => answer(() => opened!.onnx()),
};

export type WorkerApi = typeof api;

/** The end of the call that came last. */
let last: Promise<unknown> = Promise.resolve();

/** The answer to a call, which begins when all calls before it have ended: none may meet a session that another one releases. */
function answer<T>(work: () => Promise<T>): Promise<Answer<T>> {
  const answered = last.then(() => attempt(work));
  last = answered;
  return answered;
}

async function attempt<T>(work: () => Promise<T>): Promise<Answer<T>> {
  try {
    return { value: await work() };
  } catch (error) {
    if (isDdrcError(error)) return { failure: { code: error.code, text: error.message, hint: error.hint } };
    const text = error instanceof Error ? error.message : formatDiagnosis({ code: 'ENGINE_FAILED', message: String(error) });
    return { failure: { code: 'ENGINE_FAILED', text } };
  }
}

expose(api);
