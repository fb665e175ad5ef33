/*
 * `ddrc/web`: a model that was built by ddrc, in a page. Nothing here needs Node, and nothing of the compiler is in it.
 */
import { proxy, type Remote, wrap } from 'comlink';
import { DdrcError, type ErrorCode } from '../../diagnostics/error.ts';
import type { FinetuneProgress, TrainingState } from './finetune.ts';
import type { WebDevice } from './ort.ts';
import type { ImageSource } from './pixels.ts';
import type { Answer, AttentionMap, FinetuneOptions, FinetuneResult, LabelledImage, ModelInfo, WorkerApi } from './worker.ts';

export { DdrcError } from '../../diagnostics/error.ts';
export type { FinetuneProgress, Part } from './finetune.ts';
export type { WebDevice } from './ort.ts';
export type { ImageSource } from './pixels.ts';
export type { AttentionMap, Figures, FinetuneResult, ModelInfo } from './worker.ts';

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

/** How to learn; what is left out has the default in brackets. */
export interface LearnOptions extends Partial<FinetuneOptions> {
  /** Told of each step. */
  readonly onProgress?: (progress: FinetuneProgress) => void;
  /** Ends the training after the step that is running; what was learned by then stays. */
  readonly signal?: AbortSignal;
}

const defaults: FinetuneOptions = { part: 'head', epochs: 5, batch: 8, learningRate: 1e-3, holdBack: 0.2, seed: 0 };

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
      folder: folder(options.ort ?? './ort/'),
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
  private readonly lost: Promise<never>;
  private described: ModelInfo | null = null;

  /** Use {@link openModel}. */
  constructor(private readonly worker: Worker) {
    this.remote = wrap<WorkerApi>(worker);
    this.lost = new Promise((_, reject) => {
      worker.addEventListener('error', ({ message }) => {
        const said = message ? `: ${message}` : '';
        reject(
          new DdrcError({
            code: 'ENGINE_STOPPED',
            message: `the worker of the page stopped${said}`,
            hint: 'reload the page; if memory ran out, close other pages',
          }),
        );
      });
    });
    this.lost.catch(() => {});
  }

  /** Use {@link openModel}. */
  async open(settings: Parameters<WorkerApi['open']>[0]): Promise<void> {
    this.described = await this.answered(this.remote.open(settings));
  }

  get info(): ModelInfo {
    return this.described!;
  }

  /**
   * Classifies a picture by the present weights.
   * @throws DdrcError of the image, ENGINE_FAILED, ENGINE_STOPPED
   */
  async classify(image: ImageSource): Promise<Classification> {
    const { probabilities, milliseconds } = await this.answered(this.remote.classify(image));
    const ordered = this.info.classes
      .map((name, i) => ({ class: name, probability: probabilities[i] }))
      .sort((a, b) => b.probability - a.probability);
    return { class: ordered[0].class, probabilities: ordered, milliseconds };
  }

  /** Where in a picture a class comes from (Grad-CAM), by the present weights. */
  explain(image: ImageSource, className: string): Promise<AttentionMap> {
    return this.answered(this.remote.explain(image, this.indexOf(className)));
  }

  /**
   * Learns from pictures of known classes; from then on, pictures are classified by what was learned.
   * @throws DdrcError of an image, before anything is trained; LOSS_NOT_FINITE, with the weights as before
   */
  async finetune(
    pictures: readonly LabelledPicture[],
    { onProgress, signal, ...options }: LearnOptions = {},
  ): Promise<FinetuneResult> {
    const stop = () => void this.remote.stop();
    signal?.addEventListener('abort', stop);
    try {
      return await this.answered(
        this.remote.finetune(
          this.labelled(pictures),
          { ...defaults, ...options },
          proxy((progress) => onProgress?.(progress)),
        ),
      );
    } finally {
      signal?.removeEventListener('abort', stop);
    }
  }

  /** One training step on exactly these pictures; gives its loss. */
  step(
    pictures: readonly LabelledPicture[],
    { part = 'head', learningRate = 1e-3, seed = 0 }: Partial<FinetuneOptions> = {},
  ): Promise<number> {
    return this.answered(this.remote.step(this.labelled(pictures), part, learningRate, seed));
  }

  /** Takes the last training back; false where there was none. */
  undo(): Promise<boolean> {
    return this.answered(this.remote.undo());
  }

  /** The present parameters and statistics as a safetensors file, which `ddrc train|build|eval --weights` take. */
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

  close(): void {
    this.worker.terminate();
  }

  private labelled(pictures: readonly LabelledPicture[]): LabelledImage[] {
    return pictures.map(({ image, class: name }) => ({ image, label: this.indexOf(name) }));
  }

  private indexOf(name: string): number {
    const index = this.info.classes.indexOf(name);
    if (index >= 0) return index;
    const hint = `the classes are ${this.info.classes.join(', ')}`;
    throw new DdrcError({ code: 'DATA_LABEL', message: `the model has no class '${name}'`, hint });
  }

  private async answered<T>(asked: Promise<Answer<T>>): Promise<T> {
    const answer = await Promise.race([asked, this.lost]);
    if ('value' in answer) return answer.value;
    const { code, text, hint } = answer.failure;
    throw new DdrcError({ code: code as ErrorCode, message: text, hint });
  }
}
