/*
 * `ddrc/web`: a model that was built by ddrc, in a page. Nothing here needs Node, and nothing of the compiler is in it.
 */
import { proxy, type Remote, wrap } from 'comlink';
import { DdrcError, type ErrorCode } from '../../diagnostics/error.ts';
import type { FinetuneProgress, TrainingState } from './finetune.ts';
import { completed, type FinetuneOptions } from './options.ts';
import type { WebDevice } from './ort.ts';
import type { AttentionMap, FinetuneResult, LabelledImage, ModelInfo, ModelSettings } from './page-model.ts';
import type { ImageSource } from './pixels.ts';
import type { Answer, WorkerApi } from './worker.ts';

export { DdrcError } from '../../diagnostics/error.ts';
export type { FinetuneProgress, Part } from './finetune.ts';
export type { FinetuneOptions } from './options.ts';
export type { WebDevice } from './ort.ts';
export type { AttentionMap, Figures, FinetuneResult, ModelInfo } from './page-model.ts';
export type { ImageSource } from './pixels.ts';

export interface OpenOptions {
  /** URL of the folder with `manifest.json` and the files that it names; `./model/` beside the page by default. */
  readonly model?: string | URL;
  /** URL of the folder with onnxruntime-web's files (its `dist`); `./ort/` beside the page by default. */
  readonly ort?: string | URL;
  /** Where graphs run; `auto`, WebGPU where the browser has it, by default. */
  readonly device?: 'auto' | WebDevice;
  /** Threads of one operator on wasm; by default one for each processor, at most 4. They need a page that is isolated from others (COOP, COEP). */
  readonly threads?: number;
  /** Makes the worker, for bundlers that want to see its file; `worker.js` beside this file by default. */
  readonly worker?: () => Worker;
}

/** What a model makes of one image. */
export interface Classification {
  readonly class: string;
  /** By class, the most likely first; for a softmax they add up to 1. */
  readonly probabilities: readonly { readonly class: string; readonly probability: number }[];
  /** Of decoding and of the graph, in ms. */
  readonly milliseconds: number;
}

/** A picture and its class, to learn from. */
export interface LabelledPicture {
  readonly image: ImageSource;
  readonly class: string;
}

/** How to learn; what is left out has the default that stands in brackets. */
export interface LearnOptions extends Partial<FinetuneOptions> {
  /** Told of each step. */
  readonly onProgress?: (progress: FinetuneProgress) => void;
  /** Ends the training after the step that is running, or before the first; what was learned by then stays. */
  readonly signal?: AbortSignal;
}

/**
 * Opens a model.
 * @throws DdrcError FILE_UNREADABLE, MANIFEST_INVALID, MODEL_FOREIGN
 */
export async function openModel(options: OpenOptions = {}): Promise<WebModel> {
  const folder = (url: string | URL) => new URL(url, document.baseURI).href.replace(/\/?$/, '/');
  const worker = options.worker?.() ?? new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
  const model = new WebModel(worker);
  try {
    await model.open({
      model: folder(options.model ?? './model/'),
      ortFolder: folder(options.ort ?? './ort/'),
      device: options.device ?? 'auto',
      threads: options.threads ?? Math.min(4, navigator.hardwareConcurrency || 1),
    });
  } catch (error) {
    model.close();
    throw error;
  }
  return model;
}

/** A model in a worker. Calls are answered one after the other. */
export class WebModel {
  private readonly remote: Remote<WorkerApi>;
  /** What rejects the calls that are not answered yet. */
  private readonly pending = new Set<(error: DdrcError) => void>();
  private gone: DdrcError | null = null;
  private described: ModelInfo | null = null;
  private canUndo = 0;
  private runs = 0;

  /** Use {@link openModel}. */
  constructor(private readonly worker: Worker) {
    this.remote = wrap<WorkerApi>(worker);
    worker.addEventListener('error', ({ message }) => this.lost(message));
    worker.addEventListener('messageerror', () => this.lost('its answer cannot be read'));
  }

  /** Use {@link openModel}. */
  async open(settings: ModelSettings): Promise<void> {
    const lock = `ddrc ${Date.now()} ${Math.random()}`;
    await this.unlessLost(this.remote.hold(lock));
    // A browser that ends a worker, as where memory runs out, may say nothing; but then its lock is free.
    navigator.locks?.request(lock, () => this.lost()).catch(() => {});
    this.described = await this.answered(this.remote.open(settings));
  }

  get info(): ModelInfo {
    return this.described!;
  }

  /** How many trainings {@link undo} can take back, at most 10. */
  get undoable(): number {
    return this.canUndo;
  }

  /**
   * Classifies a picture by the present weights.
   * @throws DdrcError of the image, ENGINE_FAILED, ENGINE_STOPPED
   */
  async classify(image: ImageSource): Promise<Classification> {
    const { probabilities, milliseconds } = await this.answered(this.remote.classify(picture(image)));
    const ordered = this.info.classes
      .map((name, i) => ({ class: name, probability: probabilities[i] }))
      .sort((a, b) => b.probability - a.probability);
    return { class: ordered[0].class, probabilities: ordered, milliseconds };
  }

  /** Where in a picture a class comes from (Grad-CAM), by the present weights. */
  async explain(image: ImageSource, className: string): Promise<AttentionMap> {
    return this.answered(this.remote.explain(picture(image), this.indexOf(className)));
  }

  /**
   * Learns from pictures of known classes; from then on, pictures are classified by what was learned.
   * @throws DdrcError USAGE of an option; of an image, before anything is trained; LOSS_NOT_FINITE, with the weights as before
   */
  async finetune(
    pictures: readonly LabelledPicture[],
    { onProgress, signal, ...options }: LearnOptions = {},
  ): Promise<FinetuneResult> {
    const settings = completed(options, this.info.parts);
    const images = this.labelled(pictures);
    const run = this.runs++;
    const stop = () => void this.remote.stop(run);
    const told = proxy((progress: FinetuneProgress) => {
      try {
        onProgress?.(progress);
      } catch (error) {
        // As of any listener: training goes on.
        reportError(error);
      }
    });
    if (signal?.aborted) stop();
    signal?.addEventListener('abort', stop);
    try {
      return await this.answered(this.remote.finetune(images, settings, run, told));
    } finally {
      signal?.removeEventListener('abort', stop);
    }
  }

  /** One training step on exactly these pictures, which {@link undo} takes back like a training; gives its loss. */
  async step(
    pictures: readonly LabelledPicture[],
    options: Partial<Pick<FinetuneOptions, 'part' | 'learningRate' | 'seed'>> = {},
  ): Promise<number> {
    const { part, learningRate, seed } = completed(options, this.info.parts);
    return this.answered(this.remote.step(this.labelled(pictures), part, learningRate, seed));
  }

  /** Takes the last training back; false where there was none. */
  undo(): Promise<boolean> {
    return this.answered(this.remote.undo());
  }

  /** The present parameters and statistics as a safetensors file, which `ddrc train|build --weights` take. */
  exportWeights(): Promise<Uint8Array> {
    return this.answered(this.remote.weights());
  }

  /** The model with the present weights as an ONNX file, which `ddrc predict` and every engine take. */
  exportOnnx(): Promise<Uint8Array> {
    return this.answered(this.remote.onnx());
  }

  /** The flat vectors that training graphs take: parameters, statistics, the optimizer's. */
  state(): Promise<TrainingState['vectors']> {
    return this.answered(this.remote.vectors());
  }

  /** Ends the worker. Calls that are not answered yet, and later ones, are rejected with ENGINE_STOPPED. */
  close(): void {
    this.end(new DdrcError({ code: 'ENGINE_STOPPED', message: 'the model was closed', hint: 'open it again' }));
  }

  private lost(how?: string): void {
    const message = `the worker of the page stopped${how ? `: ${how}` : ''}`;
    const hint = 'reload the page; if memory ran out, close other pages';
    this.end(new DdrcError({ code: 'ENGINE_STOPPED', message, hint }));
  }

  private end(why: DdrcError): void {
    this.worker.terminate();
    this.gone ??= why;
    for (const reject of this.pending) reject(this.gone);
    this.pending.clear();
  }

  private labelled(pictures: readonly LabelledPicture[]): LabelledImage[] {
    return pictures.map(({ image, class: name }) => ({ image: picture(image), label: this.indexOf(name) }));
  }

  private indexOf(name: string): number {
    const index = this.info.classes.indexOf(name);
    if (index >= 0) return index;
    const hint = `the classes are ${this.info.classes.join(', ')}`;
    throw new DdrcError({ code: 'DATA_LABEL', message: `the model has no class '${name}'`, hint });
  }

  private async answered<T>(asked: Promise<Answer<T>>): Promise<T> {
    const answer = await this.unlessLost(asked);
    this.canUndo = answer.undoable;
    if ('value' in answer) return answer.value;
    const { code, text, hint } = answer.failure;
    throw new DdrcError({ code: code as ErrorCode, message: text, hint });
  }

  /** What a worker answers, or ENGINE_STOPPED where it ends before. */
  private unlessLost<T>(asked: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.gone) return reject(this.gone);
      this.pending.add(reject);
      void asked.then(resolve, reject).finally(() => this.pending.delete(reject));
    });
  }
}

/** @throws DdrcError USAGE for what a worker cannot take as a picture */
function picture(image: ImageSource): ImageSource {
  if (image instanceof Blob || image instanceof ImageBitmap || image instanceof ImageData) return image;
  const kind = (image as object | null | undefined)?.constructor.name ?? String(image);
  const message = `a picture has to be a Blob (a File is one), an ImageBitmap or an ImageData, not ${kind}`;
  throw new DdrcError({ code: 'USAGE', message, hint: 'createImageBitmap makes one of an element' });
}
