/*
 * The thread of a page in which pictures are decoded and graphs run, so that the page never waits for them.
 */
import { expose, type Remote, releaseProxy } from 'comlink';
import { isDdrcError } from '../../diagnostics/error.ts';
import type { FinetuneProgress, Part } from './finetune.ts';
import type { FinetuneOptions } from './options.ts';
import { type LabelledImage, type ModelSettings, PageModel } from './page-model.ts';
import type { ImageSource } from './pixels.ts';

/** What comes to the page: a result, or, as errors of another thread lose their class, the parts of one; and how many trainings can be taken back now. */
export type Answer<T> = { readonly undoable: number } & (
  | { readonly value: T }
  | { readonly failure: { readonly code: string; readonly text: string; readonly hint?: string } }
);

/** Takes a lock of this name and keeps it: the browser gives it away when the worker ends, however that comes. */
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
  hold,
  open: (settings: ModelSettings) =>
    answer(async () => {
      opened = await PageModel.open(settings);
      return opened.info;
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
  const answered = last.then(async () => {
    const outcome = await attempt(work);
    return { ...outcome, undoable: opened?.undoable ?? 0 };
  });
  last = answered;
  return answered;
}

async function attempt<T>(work: () => Promise<T>) {
  try {
    return { value: await work() };
  } catch (error) {
    if (isDdrcError(error)) return { failure: { code: error.code, text: error.message, hint: error.hint } };
    return { failure: { code: 'ENGINE_FAILED', text: error instanceof Error ? error.message : String(error) } };
  }
}

expose(api);
