import { DdrcError } from '../diagnostics/error.ts';
import { shellWord } from '../diagnostics/shell-word.ts';
import type { AugmentationSettings } from './data/augment.ts';
import type { Dataset } from './data/dataset.ts';
import type { MixSettings } from './data/mix.ts';
import type { SessionOptions } from './engine.ts';
import type { EpochFigures } from './evaluator.ts';
import type { Weights } from './flat-state.ts';
import type { Manifest } from './manifest.ts';
import type { RunPaths } from './runfolder.ts';
import type { Schedule } from './schedule.ts';
import type { TensorData } from './tensor.ts';

/** How far a training is, told after each batch. */
export interface TrainingUpdate {
  readonly phase: 'train' | 'validate' | 'test';
  /** From 1. */
  readonly epoch: number;
  readonly epochs: number;
  /** Examples of this phase that are done, and all. */
  readonly done: number;
  readonly total: number;
  /** The epoch's means so far, of training; null where there is none. */
  readonly loss: number | null;
  readonly accuracy: number | null;
}

/** A line of metrics.jsonl. Everything but `seconds` follows from the seed. */
export interface EpochLine {
  readonly epoch: number;
  readonly train: { readonly loss: number; readonly accuracy?: number };
  readonly val?: EpochFigures;
  /** The rate of the epoch's last step. */
  readonly learningRate: number;
  /** Wall time of the epoch with its validation, as far as this process did it. */
  readonly seconds: number;
  /** Of the epoch after which {@link TrainRequest.patience} ended the training. */
  readonly stoppedEarly?: true;
}

/** What to train, on what, and how. */
export interface TrainRequest {
  readonly manifest: Manifest;
  /**
   * `step.onnx` (with `loop`, `loop.onnx` as well; with `accumulate`, `grad.onnx` and `update.onnx`) and, where there are validation or test data, `eval.onnx`.
   */
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** Parameters and statistics to start from, by name. */
  readonly weights: ReadonlyMap<string, TensorData>;
  readonly data: { readonly train: Dataset; readonly val?: Dataset | null; readonly test?: Dataset | null };
  readonly epochs: number;
  /** Examples of one step of the optimizer. */
  readonly batch: number;
  /**
   * How many equal parts a batch is cut into, for batches that do not fit into memory; default 1. The gradients of the parts are averaged before the
   * optimizer takes them: the whole batch's gradient, where the loss is the mean over its examples (not one that classes weigh) and no layer looks at the
   * batch. A batch norm normalises over a part, and running statistics follow each part in turn. Evaluation goes by parts, too.
   */
  readonly accumulate?: number;
  /**
   * How many steps one run of `loop.onnx` takes, the state crossing ONNX Runtime's border once for all of them; default 1, by `step.onnx`. Not with `accumulate`.
   * The numbers are the same. Progress, checkpoints and the signal come between runs.
   */
  readonly loop?: number;
  readonly schedule: Schedule;
  readonly seed: number | string;
  /** Early stopping: the training is over after so many epochs in a row without a lower validation loss. Needs validation; null (default): never. */
  readonly patience?: number | null;
  /** How to vary images in training; null: not at all. */
  readonly augmentation: AugmentationSettings | null;
  /** How to mix the examples of a batch in training, by files that were compiled with `mixed`; null (default): not at all. */
  readonly mix?: MixSettings | null;
  /** The files of a run folder that this process has locked. */
  readonly paths: RunPaths;
  /** Whether to go on from the folder's last checkpoint; where it has none yet, the training begins. */
  readonly resume?: boolean;
  readonly provider?: string;
  readonly threads?: number;
  /**
   * `stock` (default), or `ort-training`: ONNX Runtime's own training API, by `training_model.onnx`, `eval_model.onnx` and `optimizer_model.onnx` in place of the
   * other files, on one thread. Their optimizer has the schedule in it. It gives no optimizer's state, so checkpoints hold none and cannot be resumed.
   */
  readonly engine?: 'stock' | 'ort-training';
  /** Names of the parameters that the files were compiled to leave as they are. */
  readonly frozen?: readonly string[];
  readonly sessionOptions?: SessionOptions;
  /** Minutes between checkpoints within an epoch; default 5. */
  readonly checkpointMinutes?: number;
  /** Stops the training after the step that is running, with a checkpoint. */
  readonly signal?: AbortSignal;
  readonly onUpdate?: (update: TrainingUpdate) => void;
  readonly onEpoch?: (line: EpochLine) => void;
  /** Called after best.safetensors was written, before the epoch counts as done: the place to write model.onnx. */
  readonly onBest?: (weights: Weights, epoch: number) => void | Promise<void>;
}

/**
 * How many examples one of `accumulate` equal parts of a batch has: the batch size to compile `grad.onnx` for.
 * @throws DdrcError USAGE where the batch cannot be cut so
 */
export function partOf(batch: number, accumulate: number): number {
  if (Number.isSafeInteger(accumulate) && accumulate >= 1 && batch % accumulate === 0) return batch / accumulate;
  throw new DdrcError({
    code: 'USAGE',
    message: `a batch of ${batch} cannot be cut into ${accumulate} equal parts`,
    where: '--accumulate',
    hint: 'give an --accumulate that divides --batch',
  });
}

/**
 * Whether so many epochs have passed since the lowest validation loss that a training with this patience is over.
 * @param epochs how many are done
 */
export function isExhausted(patience: number | null, epochs: number, bestEpoch: number | null): boolean {
  return patience !== null && bestEpoch !== null && epochs - bestEpoch >= patience;
}

/** @throws DdrcError USAGE where there is a patience but no validation that could try it */
export function checkPatience(patience: number | null, validated: boolean): void {
  if (patience === null || (validated && Number.isSafeInteger(patience) && patience >= 1)) return;
  const refused = (message: string, hint: string) => new DdrcError({ code: 'USAGE', message, where: '--patience', hint });
  if (validated) throw refused(`a patience of ${patience} epochs cannot be`, 'give a whole number from 1 up');
  throw refused(
    '--patience waits for a lower validation loss, and there is no validation',
    'give --val, or leave --patience out',
  );
}

/** @throws DdrcError USAGE where a run cannot take so many steps of a batch in so many parts */
export function checkLoop(loop: number, accumulate: number): void {
  const refused = (message: string, hint: string) => new DdrcError({ code: 'USAGE', message, where: '--loop', hint });
  if (!Number.isSafeInteger(loop) || loop < 1) throw refused(`a run cannot take ${loop} steps`, 'give a whole number from 1 up');
  if (loop === 1 || accumulate === 1) return;
  const message = `--loop ${loop} takes several steps in one run, and --accumulate ${accumulate} several runs for one step`;
  throw refused(message, 'leave one of them out');
}

/** @throws DdrcError USAGE where ONNX Runtime's training API cannot do what is asked for */
export function checkOrtTraining({
  accumulate = 1,
  loop = 1,
  mix = null,
  ema = null,
}: Pick<TrainRequest, 'accumulate' | 'loop' | 'mix'> & { readonly ema?: number | null }): void {
  const refused = (what: string, hint: string) => {
    const message = `ONNX Runtime's training API ${what}`;
    return new DdrcError({ code: 'USAGE', message, where: '--engine ort-training', hint });
  };
  if (accumulate > 1)
    throw refused('adds the gradients of several batches up and does not average them', 'leave --accumulate out');
  if (loop > 1) throw refused('takes one step at a time', 'leave --loop out');
  if (mix) throw refused('takes no mixed examples', 'leave --mixup and --cutmix out');
  if (ema !== null) throw refused('keeps no averages of the weights', 'leave --ema out');
}

/** That a training by ONNX Runtime's training API cannot go on. @param last its last checkpoint */
export function cannotResume(last: string): DdrcError {
  return new DdrcError({
    code: 'USAGE',
    message: "ONNX Runtime's training API gives no optimizer's state, so a run by it cannot be resumed as if it had not stopped",
    where: '--engine ort-training',
    hint: `start a new run from its weights: --weights ${shellWord(last)}`,
  });
}
