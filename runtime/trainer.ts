import { existsSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { DdrcError, isDdrcError } from '../diagnostics/error.ts';
import { shellWord } from '../diagnostics/shell-word.ts';
import { checkExamples, cut, overlap, prepareBatch } from './batches.ts';
import { type Checkpoint, loadCheckpoint, loadWeights, type Progress, saveCheckpoint } from './checkpoint.ts';
import { type Dataset, epochOrder } from './data/dataset.ts';
import { Engine, inferenceSession, trainingSession } from './engine.ts';
import { type EpochFigures, evaluate, figuresOf, namesOf, type TestFigures, testFiguresOf } from './evaluator.ts';
import { appendLine, readLines, writeLines } from './files.ts';
import { type ExpectedState, packState, type Weights } from './flat-state.ts';
import { expectedState, fileOf, type ManifestFile, portsOf, type Scores, scoresOf } from './manifest.ts';
import { argmax } from './metrics.ts';
import { checkMix, type MixedBatch, mixFeeds } from './mixed-batches.ts';
import { ortTraining } from './ort-training.ts';
import { predictionsOf, writePredictions } from './predictions.ts';
import { requireBlock } from './providers.ts';
import { engineState, loopBatches, loopScalars, stepScalars } from './step-inputs.ts';
import type { TensorData } from './tensor.ts';
import {
  cannotResume,
  checkLoop,
  checkOrtTraining,
  checkPatience,
  type EpochLine,
  isExhausted,
  partOf,
  type TrainingUpdate,
  type TrainRequest,
} from './train-request.ts';

export type { EpochLine, TrainingUpdate, TrainRequest } from './train-request.ts';

export interface TrainResult {
  /** Whether the signal ended the training before its end; it can then be resumed. */
  readonly stopped: boolean;
  /** Whether the training is over before its last epoch because the validation loss fell no more; see {@link TrainRequest.patience}. */
  readonly stoppedEarly: boolean;
  /** Epochs that are done. */
  readonly epochs: number;
  readonly bestEpoch: number | null;
  /** Lowest validation loss; null without validation. */
  readonly bestLoss: number | null;
  /** How the best weights fare on the test data; null without such, or where the training was stopped. */
  readonly test: TestFigures | null;
}

/** Sums over the examples of an epoch so far. Wall time is not among them: a checkpoint must not depend on it. */
interface Sums {
  loss: number;
  images: number;
  correct: number;
}

/**
 * Trains a model by its step graph, with validation, checkpoints and metrics.jsonl.
 *
 * Everything random follows from `seed`: the order of examples from (seed, epoch), their variation from (seed, epoch, example), dropout and mixing from
 * (seed, step), or, of part i of N of a batch, from (seed, step·N + i). So a training is a pure function of its request, and one that goes on from a checkpoint ends in the same bytes
 * as one that was never stopped. In each epoch, the examples that do not fill a batch are left out.
 *
 * Where the files keep averages of the weights (the manifest's `ema`), validation, test, best.safetensors and `onBest` are of these; last.safetensors has both.
 *
 * After an epoch, in this order, so that a process killed in between repeats the epoch's end: best.safetensors, `onBest`, metrics.jsonl, last.safetensors. After the test:
 * predictions.csv, metrics.jsonl. A loss that is no number leaves a last line `{"failed": "why"}`.
 *
 * @throws DdrcError TRAIN_TOO_FEW, LOSS_NOT_FINITE (the last checkpoint is the last good one), RESUME_DIFFERS, those of {@link partOf}, {@link checkLoop}, checkpoints,
 * files, data sets and the engine
 */
export async function train(request: TrainRequest): Promise<TrainResult> {
  const training = new Training(request);
  try {
    return await training.run();
  } catch (error) {
    if (isDdrcError(error) && error.code === 'LOSS_NOT_FINITE') appendLine(request.paths.metrics, { failed: error.message });
    throw error;
  } finally {
    await training.engine.close();
  }
}

class Training {
  readonly engine: Engine;
  private readonly accumulate: number;
  private readonly loop: number;
  /** Examples of one run of {@link graph}, or of one step of its loop. */
  private readonly part: number;
  /** The graph that takes the examples. */
  private readonly graph: 'step.onnx' | 'loop.onnx' | 'grad.onnx' | 'training_model.onnx';
  private readonly evaluating: 'eval.onnx' | 'eval_model.onnx';
  /** What the manifest says of a single step of that graph. */
  private readonly stepFile: ManifestFile;
  private readonly scores: Scores | null;
  private readonly expected: ExpectedState;
  private readonly batches: number;
  private readonly minutes: number;
  private epoch = 1;
  private batch = 0;
  private step = 0;
  private best: { loss: number | null; epoch: number | null } = { loss: null, epoch: null };
  private sums: Sums = { loss: 0, images: 0, correct: 0 };
  private savedAt = performance.now();
  /** Steps that last.safetensors has behind it. */
  private savedStep = 0;

  constructor(private readonly request: TrainRequest) {
    const { manifest, data, batch, accumulate = 1, loop = 1, provider, threads, checkpointMinutes = 5 } = request;
    this.accumulate = accumulate;
    this.loop = loop;
    this.part = partOf(batch, accumulate);
    checkLoop(loop, accumulate);
    checkPatience(request.patience ?? null, Boolean(data.val));
    const ort = request.engine === 'ort-training';
    if (ort) checkOrtTraining({ ...request, ema: manifest.ema });
    if (ort && request.resume) throw cannotResume(request.paths.last);
    const stock = accumulate === 1 ? 'step.onnx' : 'grad.onnx';
    const single = ort ? 'training_model.onnx' : stock;
    this.graph = loop === 1 ? single : 'loop.onnx';
    this.evaluating = ort ? 'eval_model.onnx' : 'eval.onnx';
    this.stepFile = fileOf(manifest, single);
    this.expected = expectedState(manifest);
    this.scores = data.train.labels && scoresOf(manifest, this.stepFile);
    this.batches = Math.floor(data.train.size / batch);
    this.minutes = checkpointMinutes;
    if (this.batches === 0) {
      const message = `there are ${data.train.size} training examples, fewer than one batch of ${batch}`;
      throw new DdrcError({ code: 'TRAIN_TOO_FEW', message, where: '--batch', hint: 'use a smaller --batch, or give more data' });
    }
    this.engine = new Engine(ort ? { ortTraining: ortTraining(manifest, request.frozen) } : { provider, threads });
  }

  async run(): Promise<TrainResult> {
    await this.begin();
    const { request } = this;
    while (!this.isOver()) {
      const start = performance.now();
      if (!(await this.trainEpoch()) || !(await this.endEpoch(start))) return this.stop();
    }
    const { epoch: bestEpoch, loss: bestLoss } = this.best;
    const stoppedEarly = this.epoch <= request.epochs;
    const result = { stopped: false, stoppedEarly, epochs: this.epoch - 1, bestEpoch, bestLoss, test: null };
    const { test } = request.data;
    if (!test || bestEpoch === null) return result;
    const { manifest, paths } = request;
    await this.engine.load(engineState(manifest, loadWeights(paths.best, this.expected)));
    const evaluation = await this.evaluate(test, 'test');
    if (!evaluation) return this.stop();
    const { scored, confusion, finite } = evaluation;
    if (!finite) throw this.notFinite('the scores of test examples are no numbers');
    const classes = manifest.classes ?? test.classes;
    const figures = testFiguresOf(evaluation, classes, test.groups);
    if (scored) writePredictions(paths.predictions, predictionsOf(scored, test, namesOf(classes, confusion!.classes)));
    appendLine(paths.metrics, { test: figures });
    return { ...result, test: figures };
  }

  /** Whether there is no epoch left to train. */
  private isOver(done = this.epoch - 1): boolean {
    const { epochs, patience = null } = this.request;
    return done >= epochs || isExhausted(patience, done, this.best.epoch);
  }

  /** Opens the graphs, checks the data, and puts the state of the start or of the last checkpoint in place. */
  private async begin(): Promise<void> {
    const { manifest, files, data, weights, paths, resume, sessionOptions } = this.request;
    const inputs = portsOf(this.stepFile.inputs, 'data', 'target');
    checkMix(this.stepFile, this.request.mix ?? null);
    const classes = this.scores?.classes ?? null;
    await checkExamples('the training data', data.train, inputs, classes);
    if (data.val) await checkExamples('the validation data', data.val, inputs, classes);
    if (data.test) await checkExamples('the test data', data.test, inputs, classes);
    await requireBlock(manifest.block, 'the training graph');
    const evaluated = data.val || data.test;
    if (evaluated) fileOf(manifest, this.evaluating);
    const updating = this.graph === 'training_model.onnx' ? 'optimizer_model.onnx' : 'update.onnx';
    for (const name of this.graph === 'step.onnx' || this.graph === 'loop.onnx' ? [this.graph] : [this.graph, updating]) {
      fileOf(manifest, name);
      await this.engine.open(name, files.get(name)!, { ...trainingSession, ...sessionOptions });
    }
    if (evaluated || updating === 'optimizer_model.onnx')
      await this.engine.open(this.evaluating, files.get(this.evaluating)!, inferenceSession);
    if (resume && existsSync(paths.last)) {
      const { slots, ema } = manifest;
      const checkpoint = loadCheckpoint(paths.last, { ...this.expected, slots, averaged: ema !== undefined });
      this.place(checkpoint);
      await this.engine.load(engineState(manifest, checkpoint));
      this.cutMetrics();
      return;
    }
    // What is there already is the work of epochs: it is not to be trained over by a run that only lost its checkpoint.
    if (resume && existsSync(paths.best)) {
      throw new DdrcError({
        code: 'FILE_MISSING',
        message: `the run has trained epochs, but its checkpoint ${paths.last} is missing`,
        where: paths.last,
        hint: `put it back, or start a new run from what there is: --weights ${shellWord(paths.best)}`,
      });
    }
    rmSync(paths.best, { force: true });
    const parameters = packState(this.expected.parameters, weights, 'the initial weights');
    const statistics = packState(this.expected.statistics, weights, 'the initial weights');
    await this.engine.load(engineState(manifest, { parameters, statistics }));
    // A start that fails here leaves no file.
    await this.save();
    this.cutMetrics();
  }

  private place({ step, progress }: Checkpoint): void {
    const { seed, paths } = this.request;
    const differs = (message: string, hint: string) =>
      new DdrcError({ code: 'RESUME_DIFFERS', message, where: paths.last, hint });
    if (progress.seed !== seed) {
      throw differs(`the run was started with seed ${progress.seed}, not ${seed}`, `resume with --seed ${progress.seed}`);
    }
    if (progress.batch > this.batches) {
      const message = `the run had done ${progress.batch} batches of its epoch, and now there are only ${this.batches}`;
      throw differs(message, 'resume with the data and the --batch of the start');
    }
    const { epoch, batch, bestLoss, bestEpoch, sums } = progress;
    Object.assign(this, { epoch, batch, step, savedStep: step, best: { loss: bestLoss, epoch: bestEpoch } });
    this.sums = { loss: 0, images: 0, correct: 0, ...(sums as Partial<Sums>) };
  }

  /** Drops the lines of epochs that will be done again, and what the test left. */
  private cutMetrics(): void {
    const { metrics, predictions } = this.request.paths;
    rmSync(predictions, { force: true });
    const lines = existsSync(metrics) ? (readLines(metrics) as Partial<EpochLine>[]) : [];
    writeLines(
      metrics,
      lines.filter(({ epoch }) => epoch !== undefined && epoch < this.epoch),
    );
  }

  /** Trains from the current batch to the end of the epoch; false where it was stopped. */
  private async trainEpoch(): Promise<boolean> {
    const { request, stepFile, scores, epoch, accumulate, loop, graph } = this;
    const { data, seed, signal } = request;
    const inputs = portsOf(stepFile.inputs, 'data', 'target');
    const [lossPort] = portsOf(stepFile.outputs, 'loss');
    const fetch = [lossPort.name, ...(scores ? [scores.output] : [])];
    const augmentation = request.augmentation ? { settings: request.augmentation, seed, epoch } : undefined;
    const batches = cut(epochOrder(data.train.size, seed, epoch), request.batch, { dropRest: true });
    while (this.batch < this.batches) {
      const pause = this.savedAt + this.minutes * 60_000;
      const first = this.step * accumulate;
      const parts = batches.slice(this.batch).flatMap((batch) => cut(batch, this.part));
      await overlap(
        cut(parts, loop).map((together, i) => ({ parts: together, run: first + i * loop })),
        async ({ parts, run }) => {
          // Between steps only, as a checkpoint holds no sum of gradients, and after one at least.
          const pausing = performance.now() > pause && run > first;
          if (run % accumulate === 0 && (signal?.aborted || pausing)) return null;
          const count = parts.length;
          const plain = await prepareBatch(data.train, inputs, parts.flat(), augmentation);
          const mixing = { count, seed, run, looped: graph === 'loop.onnx' };
          const batch = request.mix ? mixFeeds(plain, stepFile, request.mix, mixing) : { ...plain, scalars: {} };
          return { running: this.compute(run, count, batch, fetch).then((outputs) => ({ outputs, labels: batch.labels })) };
        },
        ({ outputs, labels }, { parts, run }) => this.account(outputs, lossPort.name, labels, run, parts.length),
        (request.provider ?? 'cpu') !== 'cpu' || availableParallelism() > (request.threads ?? availableParallelism()),
      );
      if (signal?.aborted) return false;
      if (this.batch < this.batches) await this.save();
    }
    return true;
  }

  /** Takes in what one run of the graph gave for `count` batches, or parts of such. */
  private account(
    outputs: Readonly<Record<string, TensorData>>,
    lossName: string,
    labels: Int32Array | null,
    run: number,
    count: number,
  ): void {
    const { scores, epoch, accumulate, sums, request } = this;
    for (const [i, loss] of (outputs[lossName].data as Float32Array).entries()) {
      const step = Math.floor((run + i) / accumulate) + 1;
      if (!Number.isFinite(loss)) throw this.notFinite(`the loss became ${loss} at step ${step} (epoch ${epoch})`);
      sums.loss += loss * this.part;
      sums.images += this.part;
    }
    if (scores) sums.correct += countCorrect(outputs[scores.output].data as Float32Array, labels!);
    const rest = (run + count) % accumulate;
    const steps = Math.floor((run + count) / accumulate) - this.step;
    this.step += steps;
    this.batch += steps;
    this.update('train', this.batch * request.batch + rest * this.part, this.batches * request.batch);
  }

  /**
   * Starts one run of the graph that takes the examples, and after the last part of a batch the optimizer, on the mean of the parts' gradients.
   * @param run counts the batches, or parts of such, of the training from 0
   * @param count of those that the examples are
   * @returns what the graph gives, when all that was started is done
   */
  private async compute(run: number, count: number, batch: Pick<MixedBatch, 'feeds' | 'scalars'>, fetch: readonly string[]) {
    const { engine, accumulate, graph, stepFile } = this;
    const { manifest, schedule, seed } = this.request;
    if (graph === 'loop.onnx') {
      const scalars = loopScalars(manifest, run, count, schedule, seed);
      return engine.step(graph, { ...loopBatches(batch.feeds, count), ...scalars, ...batch.scalars }, fetch);
    }
    const step = Math.floor(run / accumulate);
    const scalars = (name: string, count: number) => stepScalars(manifest, count, schedule(step), seed, name);
    const fed = { ...batch.feeds, ...batch.scalars, ...scalars(graph, run) };
    if (accumulate === 1) return engine.step(graph, fed, fetch);
    const [{ name: add }] = portsOf(stepFile.outputs, 'gradient');
    const running = engine.step(graph, fed, fetch, { add });
    if ((run + 1) % accumulate > 0) return running;
    const [{ name: mean }] = portsOf(fileOf(manifest, 'update.onnx').inputs, 'gradient');
    const updating = engine.step('update.onnx', scalars('update.onnx', step), [], { mean });
    const [outputs] = await Promise.all([running, updating]);
    return outputs;
  }

  /** Validation, best and last checkpoint, metrics; false where it was stopped. */
  private async endEpoch(start: number): Promise<boolean> {
    const { request, epoch, sums } = this;
    const { data, schedule, paths } = request;
    let val: EpochFigures | undefined;
    if (data.val) {
      const evaluation = await this.evaluate(data.val, 'validate');
      if (!evaluation) return false;
      val = figuresOf(evaluation);
      if (!Number.isFinite(val.loss)) throw this.notFinite(`the validation loss is ${val.loss} after epoch ${epoch}`);
    }
    if (!val || this.best.loss === null || val.loss < this.best.loss) {
      this.best = { loss: val?.loss ?? null, epoch };
      const state = await this.state();
      const weights = averagesOf(state) ?? state;
      this.write(paths.best, weights, { epoch: epoch + 1, batch: 0, sums: {} });
      await request.onBest?.(weights, epoch);
    }
    const line: EpochLine = {
      epoch,
      train: { loss: sums.loss / sums.images, ...(this.scores && { accuracy: sums.correct / sums.images }) },
      ...(val && { val }),
      learningRate: schedule(this.step - 1).learningRate,
      seconds: Math.round(performance.now() - start) / 1000,
      ...(epoch < request.epochs && this.isOver(epoch) && { stoppedEarly: true }),
    };
    appendLine(paths.metrics, line);
    this.epoch++;
    this.batch = 0;
    this.sums = { loss: 0, images: 0, correct: 0 };
    await this.save();
    request.onEpoch?.(line);
    return true;
  }

  private evaluate(dataset: Dataset, phase: 'validate' | 'test') {
    const { manifest, signal } = this.request;
    const file = fileOf(manifest, this.evaluating);
    return evaluate({
      engine: this.engine,
      graph: this.evaluating,
      inputs: portsOf(file.inputs, 'data', 'target'),
      scores: scoresOf(manifest, file),
      loss: portsOf(file.outputs, 'loss')[0].name,
      dataset,
      batch: this.part,
      signal,
      onBatch: (done, total) => this.update(phase, done, total),
    });
  }

  private async stop(): Promise<TrainResult> {
    // After the last epoch only the test is missing, and the checkpoint of that epoch's end stands.
    if (!this.isOver()) await this.save();
    const { epoch: bestEpoch, loss: bestLoss } = this.best;
    return { stopped: true, stoppedEarly: false, epochs: this.epoch - 1, bestEpoch, bestLoss, test: null };
  }

  /** Writes the last checkpoint. */
  private async save(): Promise<void> {
    this.write(this.request.paths.last, await this.state());
    this.savedStep = this.step;
  }

  private async state(): Promise<Weights> {
    const { parameters, statistics = new Float32Array(0), ema, ema_statistics, ...slots } = await this.engine.state();
    const [moment1, moment2] = this.request.manifest.slots.map((name) => slots[name]);
    return { parameters, statistics, moment1, moment2, ema, emaStatistics: ema_statistics, step: this.step };
  }

  /** Writes a checkpoint, with the progress as of now but for `at`. */
  private write(path: string, weights: Weights, at: Partial<Progress> = {}): void {
    const { manifest, seed } = this.request;
    const { epoch, batch, best } = this;
    const now = { epoch, batch, seed, bestLoss: best.loss, bestEpoch: best.epoch, sums: batch > 0 ? { ...this.sums } : {} };
    const { frozen = [] } = this.request;
    const kept = frozen.length > 0 && { frozen: [...frozen, ...manifest.statistics.map(({ name }) => name)] };
    const { modelHash, slots: names } = manifest;
    const state = { ...weights, step: this.step, modelHash, slots: names, ...kept, progress: { ...now, ...at } };
    saveCheckpoint(path, this.expected, state);
    this.savedAt = performance.now();
  }

  private update(phase: TrainingUpdate['phase'], done: number, total: number): void {
    const { loss, images, correct } = this.sums;
    this.request.onUpdate?.({
      phase,
      epoch: Math.min(this.epoch, this.request.epochs),
      epochs: this.request.epochs,
      done,
      total,
      loss: images > 0 ? loss / images : null,
      accuracy: images > 0 && this.scores ? correct / images : null,
    });
  }

  private notFinite(message: string): DdrcError {
    const { savedStep } = this;
    const { last } = this.request.paths;
    const again = 'resume is pointless; train again with a lower --lr or with gradient clipping';
    return new DdrcError({
      code: 'LOSS_NOT_FINITE',
      message,
      ...(savedStep > 0
        ? {
            notes: [{ label: 'last good checkpoint', text: `${last}, after step ${savedStep}` }],
            hint: `${again}, or start from that checkpoint with --weights`,
          }
        : { notes: [{ label: 'weights of the start', text: `${last}: no later checkpoint was written` }], hint: again }),
    });
  }
}

/** The averages in place of the weights, without the optimizer's state, which is not theirs; null where there are none. */
function averagesOf({ ema, emaStatistics = new Float32Array(0), step }: Weights): Weights | null {
  return ema ? { parameters: ema, statistics: emaStatistics, step } : null;
}

/** How many rows of scores [N, classes] have their largest entry at the label. */
function countCorrect(scores: Float32Array, labels: Int32Array): number {
  const classes = scores.length / labels.length;
  return labels.reduce((count, label, n) => count + Number(argmax(scores, n * classes, classes) === label), 0);
}
