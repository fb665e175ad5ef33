import { type Command, Option } from 'commander';
import { frozenBy } from '../compiler/artifacts/frozen.ts';
import { checkpointArrays } from '../compiler/artifacts/ort-training.ts';
import type { Artifact, CompileRequest } from '../compiler/compile.ts';
import type { OptimizerSpec, Program } from '../compiler/ir/program.ts';
import { serializeOrtCheckpoint } from '../runtime/ort-checkpoint.ts';
import { createSchedule, parseSchedule } from '../runtime/schedule.ts';
import type { TensorData } from '../runtime/tensor.ts';
import { usageError } from './failure.ts';
import { decimal, list, oneOf, wholeNumber, written } from './flags.ts';
import { parseOptimizer } from './optimizer-text.ts';
import { rateTable } from './rate-table.ts';

/** The flags of `ddrc build` that say which files it makes, and what is in those that train. */
export interface ArtifactFlags {
  readonly artifacts: 'stock' | 'ort-training' | 'all';
  readonly loop?: boolean;
  readonly optimizer?: string;
  readonly clip?: number;
  readonly lr?: number;
  readonly schedule?: string;
  readonly steps?: number;
  readonly epochs?: number;
  readonly freeze?: string[];
  readonly checkpointVersion?: 1 | 2;
}

export function addArtifactFlags(command: Command): Command {
  return command
    .option(
      '--artifacts <set>',
      "stock (model, step, grad, eval), ort-training (training_model, eval_model, optimizer_model and checkpoint, for ONNX Runtime's TrainingSession), or all",
      oneOf('stock', 'ort-training', 'all'),
      'stock',
    )
    .option('--loop', 'also write loop.onnx: K training steps in one run, with batches [K,N,…]')
    .option('--optimizer <text>', "adam, adamw:decay=0.01, sgd:momentum=0.9, rmsprop (default: the model's)")
    .option('--clip <norm>', "largest global norm of the gradient; 0 does not clip (default: the model's)", decimal(0, true))
    .option('--lr <rate>', "ort-training: the learning rate that the optimizer takes (default: the model's)", decimal(0))
    .option('--schedule <text>', 'ort-training: how it goes on, as for train (default: constant)')
    .option('--steps <n>', 'ort-training: steps of the whole training, for --schedule', wholeNumber(1))
    .option(
      '--epochs <n>',
      "ort-training: epochs of these, for a schedule that counts in them (default: the model's)",
      wholeNumber(1),
    )
    .option('--freeze <a,b,c>', 'parameters, or scopes of them, that training leaves as they are', list)
    .addOption(
      new Option('--checkpoint-version <n>', 'ort-training: 2 for ONNX Runtime 1.18 and 1.19, 1 for 1.17 (default: 2)').argParser(
        wholeNumber(1, 2),
      ),
    );
}

/**
 * What the flags ask the compiler for.
 * @throws DdrcError USAGE, and those of optimizers and schedules
 */
export function artifactRequest(program: Program, flags: ArtifactFlags): CompileRequest {
  const optimizer = flags.optimizer === undefined ? program.training.optimizer : parseOptimizer(flags.optimizer);
  const training = flags.artifacts !== 'stock';
  if (flags.artifacts === 'ort-training' && flags.loop)
    throw usageError('--loop is a stock file, which --artifacts ort-training does not make', 'build', 'give --artifacts all');
  const idle = (['lr', 'schedule', 'steps', 'epochs', 'checkpointVersion'] as const).find(
    (name) => !training && flags[name] !== undefined,
  );
  if (idle) throw usageError(`${written(idle)} is for --artifacts ort-training`, 'build', 'leave it out');
  return {
    artifacts: artifactsOf(program, flags),
    optimizer,
    clipNorm: flags.clip,
    freeze: flags.freeze,
    ...(training && { rates: ratesOf(program, optimizer, flags) }),
  };
}

/** A model without a loss has no training files. */
function artifactsOf(program: Program, { artifacts, loop }: ArtifactFlags): readonly Artifact[] {
  const { loss, parameters } = program.build({ mode: 'training', batch: 1, loss: true });
  const trainable = loss && parameters.length > 0;
  const asked = loop ? '--loop' : artifacts === 'stock' ? null : `--artifacts ${artifacts}`;
  if (!trainable && asked)
    throw usageError(`${asked} is for training, and ${program.name} cannot be trained`, 'build', 'leave it out');
  if (!trainable) return ['model'];
  const stock: Artifact[] = ['model', 'step', ...(loop ? (['loop'] as const) : []), 'grad', 'eval'];
  const ort: Artifact[] = ['training_model', 'eval_model', 'optimizer_model'];
  return { stock, 'ort-training': ort, all: [...stock, ...ort] }[artifacts];
}

function ratesOf(program: Program, optimizer: OptimizerSpec, flags: ArtifactFlags): number[] {
  const { lr: learningRate = program.training.learningRate, epochs = program.training.epochs, schedule = 'constant' } = flags;
  const description = parseSchedule(schedule);
  if (description.kind === 'constant' && description.warmup === 0) {
    const idle = (['steps', 'epochs'] as const).find((name) => flags[name] !== undefined);
    if (idle)
      throw usageError(`--${idle} is for a --schedule that changes the rate`, 'build', 'leave it out, or give --schedule');
    return [learningRate];
  }
  const { steps } = flags;
  if (steps === undefined)
    throw usageError(
      `--schedule ${schedule} needs --steps: it is fitted to the whole training`,
      'build',
      'give the number of steps',
    );
  const rateOf = createSchedule(description, { learningRate, steps, stepsPerEpoch: Math.max(1, Math.ceil(steps / epochs)) });
  const rates = rateTable(rateOf, steps, optimizer);
  if (rates.length > 1) return rates;
  throw usageError(
    `--schedule ${schedule} changes nothing in ${steps} steps of ${epochs} epochs`,
    'build',
    'give more --epochs, or leave it out',
  );
}

/** The file `checkpoint` beside the training artifacts: the weights that training starts from. */
export function checkpointFile(program: Program, weights: ReadonlyMap<string, TensorData>, flags: ArtifactFlags): Uint8Array {
  const { trainable, frozen } = checkpointArrays(program, frozenBy(program, flags.freeze ?? []));
  const part = (names: readonly string[]) => new Map(names.map((name) => [name, weights.get(name)!]));
  return serializeOrtCheckpoint({
    version: flags.checkpointVersion ?? 2,
    trainable: part(trainable),
    frozen: part(frozen),
    optimizer: null,
    properties: new Map(),
  });
}
