/*
 * A model with weights that can change: classifies, explains, learns, and writes what it has learned.
 */
import type { Manifest } from '../../contract/manifest.ts';
import { DdrcError } from '../../diagnostics/error.ts';
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
  plannedSteps,
  type Roles,
  startState,
  type TrainingState,
  trainStep,
  weightsOf,
} from './finetune.ts';
import { canHash } from './hash.ts';
import type { FinetuneOptions } from './options.ts';
import { hasAdapter, loadOrt, type OrtSettings, type WebDevice } from './ort.ts';
import { type ImageSource, pixelsOf, writePlanes } from './pixels.ts';
import { fetchBytes, ModelFolder } from './session.ts';
import { withWeights } from './tunable.ts';

export interface ModelSettings extends OrtSettings {
  /** URL of the folder with manifest.json and the files that it names, with a slash at its end. */
  readonly model: string;
  readonly device: 'auto' | WebDevice;
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

/** The most trainings that can be taken back. */
const mostUndoable = 10;

export class PageModel {
  /** The weights before each training, the last one last. */
  private readonly earlier: Weights[] = [];
  private readonly roles: Roles = new Map();
  /** Whether the weights are others than those of model.onnx. */
  private tuned = false;

  private constructor(
    private readonly graphs: ModelFolder,
    readonly info: ModelInfo,
    private state: TrainingState,
  ) {}

  static async open(settings: ModelSettings): Promise<PageModel> {
    const text = new TextDecoder().decode(await fetchBytes(new URL('manifest.json', settings.model).href, 'manifest.json'));
    const manifest = parseManifest(text, 'manifest.json');
    const size = imageSize(manifest);
    const classes = classesOf(manifest);
    const graphs = await openGraphs(manifest, settings);
    const { tensors } = parseSafetensors(await graphs.bytes('initial.safetensors'), 'initial.safetensors');
    const [parameters, statistics] = [manifest.parameters, manifest.statistics].map((table) => packState(table, tensors));
    const canLearn = (graph: string) => graphs.has(graph) && scoresOf(manifest, manifest.files[graph]) !== null;
    // The hash in a file with other weights has to be made anew.
    const parts = (['head', 'all'] as const).filter((part) => canHash && graphs.has('tunable.onnx') && canLearn(graphOf[part]));
    const { device, threads } = graphs.loaded;
    const info = { model: manifest.model, classes, size, device, threads, canExplain: graphs.has('explain.onnx'), parts };
    return new PageModel(graphs, info, startState(manifest, { parameters, statistics }));
  }

  /** How many trainings can be taken back. */
  get undoable(): number {
    return this.earlier.length;
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
    const { attention } = await this.graphs.run('explain.onnx', feeds, ['attention']);
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
  ): Promise<FinetuneResult> {
    const nothing = { steps: 0, finished: false, trained: 0, before: null, after: null };
    const examples: Example[] = [];
    for (const { image, label } of images) {
      if (stopped()) return nothing;
      examples.push({ pixels: await pixelsOf(image, this.info.size), label });
    }
    const { train, held } = holdBack(examples, options, this.roles);
    if (train.length === 0)
      throw new DdrcError({ code: 'DATA_EMPTY', message: 'there are no images to train on', hint: 'add some' });
    const { batch, steps } = plannedSteps(train.length, options);
    const before = await this.figures(held);
    if (stopped()) return nothing;
    let done = 0;
    const state = await finetune(
      this.graphs,
      { ...options, batch, steps },
      startState(this.graphs.manifest, weightsOf(this.state)),
      train,
      async (progress) => {
        done = progress.step;
        onProgress(progress);
        // Lets a call of `stop` arrive.
        await new Promise((resolve) => setTimeout(resolve));
        return !stopped();
      },
    );
    await this.learned(state);
    const after = await this.figures(held);
    return { steps: done, finished: done === steps, trained: train.length, before, after };
  }

  /** One step on exactly these pictures, which can be taken back; gives its loss. */
  async step(images: readonly LabelledImage[], part: Part, learningRate: number, seed: number): Promise<number> {
    const examples: Example[] = [];
    for (const { image, label } of images) examples.push({ pixels: await pixelsOf(image, this.info.size), label });
    const { state, loss } = await trainStep(this.graphs, { part, learningRate, seed }, this.state, examples);
    await this.learned(state);
    return loss;
  }

  /** Takes the last training back; false where there was none. */
  async undo(): Promise<boolean> {
    const before = this.earlier.at(-1);
    if (!before) return false;
    await this.take(startState(this.graphs.manifest, before));
    this.earlier.pop();
    return true;
  }

  /** Parameters and statistics as safetensors, as `ddrc … --weights` takes them. */
  weights(): Uint8Array {
    const { manifest } = this.graphs;
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
    const { parameters, statistics } = this.graphs.manifest;
    const weights = weightsOf(state);
    return new Map([...unpackState(parameters, weights.parameters), ...unpackState(statistics, weights.statistics)]);
  }

  /** A file with the weights of a state in it. */
  private async written(name: 'tunable.onnx' | 'explain.onnx', state: TrainingState): Promise<Uint8Array> {
    return withWeights(this.graphs.manifest, name, await this.graphs.bytes(name), this.tensors(state));
  }

  /** {@link take}, of what a training came to. */
  private async learned(state: TrainingState): Promise<void> {
    const weights = weightsOf(this.state);
    await this.take(state);
    this.earlier.push(weights);
    if (this.earlier.length > mostUndoable) this.earlier.shift();
  }

  /** From now on, pictures are classified with these weights. */
  private async take(state: TrainingState): Promise<void> {
    const files = new Map<string, Uint8Array>();
    for (const name of ['tunable.onnx', 'explain.onnx'] as const) {
      if (this.graphs.has(name)) files.set(name, await this.written(name, state));
    }
    // From here on nothing fails that would leave the old weights in one place and the new ones in another.
    this.state = state;
    this.tuned = true;
    await this.graphs.replace(files);
    await this.graphs.release(['model.onnx']);
  }

  private imageFeed(pictures: readonly Uint8Array[]) {
    const { size } = this.info;
    const each = 3 * size * size;
    const planes = new Float32Array(each * pictures.length);
    pictures.forEach((pixels, i) => {
      writePlanes(pixels, planes, i * each);
    });
    const [{ input }] = this.graphs.manifest.preprocessing;
    return { [input]: { dtype: 'float32', shape: [pictures.length, 3, size, size], data: planes } as const };
  }

  private async probabilities(pictures: readonly Uint8Array[]): Promise<Float32Array> {
    const graph = this.tuned ? 'tunable.onnx' : 'model.onnx';
    const { probabilities } = await this.graphs.run(graph, this.imageFeed(pictures), ['probabilities']);
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

/** The graphs of a model, where `auto` says so on WebGPU, if the browser has it and it takes the model, and else on wasm. */
async function openGraphs(manifest: Manifest, { model, device, ...settings }: ModelSettings): Promise<ModelFolder> {
  const open = async (device: WebDevice) => {
    const graphs = new ModelFolder(manifest, model, await loadOrt(settings, device));
    await graphs.prepare('model.onnx');
    return graphs;
  };
  if (device !== 'auto') return open(device);
  // Without a connection, ONNX Runtime's build for WebGPU may not be there.
  const tried = (await hasAdapter()) ? await open('webgpu').catch(() => null) : null;
  return tried ?? open('wasm');
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
