import { createHash } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { gradientGraph } from '../compiler/artifacts/training.ts';
import type { Compiled } from '../compiler/compile.ts';
import { portable, type Target } from '../compiler/emit/lowering.ts';
import type { Program } from '../compiler/ir/program.ts';
import { DdrcError } from '../diagnostics/error.ts';
import { type AugmentationSettings, defaultAugmentation, parseAugmentation } from '../runtime/data/augment.ts';
import type { MixSettings } from '../runtime/data/mix.ts';
import { type Choice, chooseProvider, type Device, parseDevice } from '../runtime/providers.ts';
import { createSchedule, parseSchedule, type Schedule } from '../runtime/schedule.ts';
import { checkLoop, checkOrtTraining, checkPatience, partOf } from '../runtime/train-request.ts';
import { classWeightsOf } from './class-weights.ts';
import { compileTraining, stepsPerRun, targetFor } from './compile-for-device.ts';
import { drawnSize } from './drawn-data.ts';
import { portsOfProgram } from './example-ports.ts';
import { usageError } from './failure.ts';
import { type ModelFlags, optionsOf } from './flags.ts';
import { instantiate, type LoadedModel, loadModel } from './load-model.ts';
import { parseOptimizer } from './optimizer-text.ts';
import { rateTable } from './rate-table.ts';
import { shown } from './shown-path.ts';
import type { TrainSettings } from './train-settings.ts';
import { type DataSource, openSource } from './training-data.ts';

/** The flags of `ddrc train`; what was not given is absent. */
export interface TrainFlags extends ModelFlags {
  readonly data?: string;
  readonly val?: string;
  readonly test?: string;
  readonly epochs?: number;
  readonly batch?: number;
  readonly accumulate?: number;
  readonly lr?: number;
  readonly schedule?: string;
  readonly optimizer?: string;
  readonly clip?: number;
  readonly patience?: number;
  readonly classWeights?: string;
  readonly ema?: number;
  readonly mixup?: number;
  readonly cutmix?: number;
  readonly checkpointActivations?: boolean;
  readonly freeze?: string[];
  readonly seed?: number;
  readonly augment?: string;
  readonly device?: string;
  readonly threads?: number;
  readonly loop?: number;
  readonly engine?: 'stock' | 'ort-training';
  readonly run?: string;
  readonly resume?: string;
  readonly weights?: string;
  readonly resetHead?: boolean;
  readonly onBadImage?: 'stop' | 'skip';
  readonly cache?: string;
  readonly json?: boolean;
}

/** A training that has been checked and compiled, before anything is written or any example read. */
export interface Prepared {
  readonly program: Program;
  readonly source: DataSource;
  readonly settings: TrainSettings;
  readonly compiled: Compiled;
  /** Why the device was taken. */
  readonly why: string;
}

/** ONNX Runtime's training API under Node. */
const onOneThread: Choice = { provider: 'cpu', why: "onnxruntime-web's training API" };

/** Epochs on drawn smears, unless the model asks for more: enough for 95 of 100 cells with room to spare. */
const drawnEpochs = 8;

/**
 * Prepares a new training from its flags.
 * @throws DdrcError of the flags, the model, the data and the device
 */
export async function prepareTraining(path: string | undefined, flags: TrainFlags): Promise<Prepared> {
  checkTexts(flags);
  const device = parseDevice(flags.device ?? 'auto');
  const loaded = await loadModel(path);
  const more = { size: flags.data === undefined ? drawnSize : undefined };
  const unfitted = withDefaults(loaded, flags, more);
  // That a model cannot be trained is said before anything about its data, which may be wrong for that reason.
  gradientGraph(unfitted, unfitted.training.batch);
  const source = openSource({ ...dataOf(flags), seed: flags.seed ?? 0 }, portsOfProgram(unfitted));
  const program = withDefaults(loaded, flags, { ...more, classes: source.classCount ?? undefined });
  checkTogether(flags, flags.batch ?? program.training.batch, source, device);
  const choice = flags.engine === 'ort-training' ? onOneThread : await chooseProvider(device);
  const settings = settingsFrom(flags, path === undefined ? null : loaded.file, program, source, choice);
  scheduleOf(settings, source.counts.train, flags.schedule === undefined ? shown(loaded.file) : undefined);
  const { compiled, step } = await compileFor(program, settings, choice);
  return { program, source, settings: { ...settings, step }, compiled, why: choice.why };
}

/** Reads the flags that hold more than a number or a name, so that a mistake in them is said before anything is loaded. */
function checkTexts({ optimizer, schedule, augment, resetHead, weights }: TrainFlags): void {
  if (optimizer !== undefined) parseOptimizer(optimizer);
  if (schedule !== undefined) parseSchedule(schedule);
  if (augment !== undefined) parseAugmentation(augment);
  if (resetHead && weights === undefined)
    throw usageError('--reset-head needs --weights: it is for a file whose head has another size', 'train', 'leave it out');
}

/** Refuses flags that do not go together, or not with the data. */
function checkTogether(flags: TrainFlags, batch: number, source: DataSource, device: Device): void {
  const { accumulate = 1, loop, patience = null, ema = null, threads = 1, engine } = flags;
  partOf(batch, accumulate);
  checkLoop(loop ?? 1, accumulate);
  checkPatience(patience, source.counts.val > 0);
  const mix = mixOf(flags, source);
  if (engine !== 'ort-training') return;
  checkOrtTraining({ accumulate, loop, mix, ema });
  const unfit = (what: string, flag: string) => usageError(`--engine ort-training runs on ${what}`, 'train', `leave ${flag} out`);
  if (device !== 'auto' && device !== 'cpu') throw unfit(`the processor, not on ${device}`, '--device');
  if (threads > 1) throw unfit(`one thread, not on ${threads}`, '--threads');
}

/** Where the examples are from, as the flags say it. */
function dataOf({ data, val, test }: TrainFlags): Pick<TrainSettings['data'], 'path' | 'val' | 'test'> {
  return { path: data === undefined ? null : resolve(data), val: val ?? null, test: test ?? null };
}

/** All settings: those of the flags, then the model's. */
function settingsFrom(
  flags: TrainFlags,
  modelFile: string | null,
  program: Program,
  source: DataSource,
  { provider }: Choice,
): Omit<TrainSettings, 'step'> {
  const { training } = program;
  const { accumulate = 1, engine = 'stock' } = flags;
  const ort = engine === 'ort-training';
  const data = dataOf(flags);
  const optimizer = flags.optimizer === undefined ? training.optimizer : parseOptimizer(flags.optimizer);
  return {
    modelFile,
    options: program.options,
    data: {
      ...data,
      onBadImage: flags.onBadImage ?? 'stop',
      fingerprint: source.fingerprint,
      partFingerprints: source.partFingerprints,
      contents: source.contents(),
      examples: source.counts,
    },
    classes: source.classes,
    epochs: flags.epochs ?? (data.path === null ? Math.max(drawnEpochs, training.epochs) : training.epochs),
    batch: flags.batch ?? training.batch,
    accumulate,
    learningRate: flags.lr ?? training.learningRate,
    schedule: flags.schedule ?? training.schedule,
    optimizer,
    clipNorm: flags.clip ?? training.clipNorm,
    patience: flags.patience ?? null,
    classWeights: weighed(flags, source),
    ema: flags.ema ?? null,
    checkpointActivations: flags.checkpointActivations ?? false,
    freeze: flags.freeze ?? [],
    seed: flags.seed ?? 0,
    augmentation: augmentationOf(flags.augment, source),
    mix: mixOf(flags, source),
    weights: flags.weights === undefined ? null : resolve(flags.weights),
    resetHead: flags.resetHead ?? false,
    engine,
    provider,
    threads: ort ? 1 : (flags.threads ?? availableParallelism()),
    loop: flags.loop ?? (accumulate > 1 || ort ? 1 : stepsPerRun(program, provider, optimizer)),
  };
}

/**
 * Prepares a run to go on: the same model, data and settings as at its start; device, threads and cache may be others.
 * @throws DdrcError RESUME_DIFFERS where the model file or the data have changed, and those of {@link prepareTraining}
 */
export async function prepareResumed(before: TrainSettings, folder: string, flags: TrainFlags): Promise<Prepared> {
  const loaded = await loadModel(before.modelFile ?? undefined);
  const program = instantiate(loaded, before.options);
  const source = openSource({ ...before.data, seed: before.seed }, portsOfProgram(program));
  const differs = (message: string, hint: string) => new DdrcError({ code: 'RESUME_DIFFERS', message, where: folder, hint });
  const { path, fingerprint, contents } = before.data;
  const changed =
    source.fingerprint !== fingerprint
      ? `${path ?? 'the drawn cells'} holds other examples now`
      : contents !== null && source.contents() !== contents
        ? `images of ${path} have other contents now`
        : null;
  if (changed) {
    const message = `the data are not those that the run was started with: ${changed}`;
    throw differs(message, 'bring the data back as they were, or train anew with --weights best.safetensors of the run');
  }
  const choice = await chooseProvider(parseDevice(flags.device ?? before.provider));
  const { threads = before.threads, loop = before.loop } = flags;
  checkLoop(loop, before.accumulate);
  const settings = { ...before, provider: choice.provider, threads, loop };
  const { compiled, step } = await compileFor(program, settings, choice, before.step);
  const comparable = choice.provider === before.provider && step.block === before.step.block;
  if (comparable && step.sha256 !== before.step.sha256) {
    const message = `the model is not the one that the run was started with: ${loaded.file} compiles to another training step now`;
    throw differs(message, 'bring the model file (and the version of ddrc) back as it was, or train anew with --weights');
  }
  return { program, source, settings: { ...settings, step }, compiled, why: choice.why };
}

/**
 * The learning rate of each step of a training on so many examples.
 * @param where what the schedule came from, for messages; `--schedule` by default
 * @throws DdrcError SCHEDULE_INVALID
 */
export function scheduleOf(
  { schedule, learningRate, batch, epochs }: Pick<TrainSettings, 'schedule' | 'learningRate' | 'batch' | 'epochs'>,
  examples: number,
  where?: string,
): Schedule {
  const stepsPerEpoch = Math.max(1, Math.floor(examples / batch));
  return createSchedule(parseSchedule(schedule, where), { learningRate, steps: stepsPerEpoch * epochs, stepsPerEpoch }, where);
}

/** The program with the options that the flags set, and those of `more` that the model has, takes, and the flags do not set. */
function withDefaults(loaded: LoadedModel, flags: ModelFlags, more: Readonly<Record<string, number | undefined>>): Program {
  const { options } = loaded.model;
  const fitting = Object.entries(more).filter(
    ([name, value]) => value !== undefined && Object.hasOwn(options, name) && options[name].check(value) === null,
  );
  return instantiate(loaded, { ...Object.fromEntries(fitting), ...optionsOf(flags) });
}

function augmentationOf(text: string | undefined, { kind }: DataSource): AugmentationSettings | null {
  const asked = text === undefined ? undefined : parseAugmentation(text);
  if (kind !== 'arrays') return asked === undefined ? defaultAugmentation : asked;
  if (asked)
    throw usageError('--augment varies images, and these data are arrays', 'train', 'leave it out, or give --augment none');
  return null;
}

/** @throws DdrcError USAGE, AID_UNFIT */
function weighed({ classWeights, accumulate = 1 }: TrainFlags, source: DataSource): number[] | null {
  if (classWeights === undefined) return null;
  if (accumulate === 1) return classWeightsOf(classWeights, source);
  throw usageError(
    '--class-weights weighs the examples of a whole batch against one another, and --accumulate takes it in parts',
    'train',
    'leave one of them out',
  );
}

function mixOf({ mixup = 0, cutmix = 0 }: TrainFlags, { kind }: DataSource): MixSettings | null {
  if (mixup === 0 && cutmix === 0) return null;
  if (kind !== 'arrays') return { mixup, cutmix };
  const flag = mixup > 0 ? '--mixup' : '--cutmix';
  throw usageError(`${flag} mixes images, and these data are arrays`, 'train', 'leave it out');
}

/** @param before what the run was compiled with, which a measurement since then must not change */
async function compileFor(
  program: Program,
  settings: Omit<TrainSettings, 'step'>,
  { provider }: Choice,
  before?: TrainSettings['step'],
) {
  const { batch, accumulate, loop, optimizer, clipNorm, checkpointActivations, freeze, seed, classes, engine } = settings;
  const { classWeights, mix, ema } = settings;
  const ort = engine === 'ort-training';
  const here = ort ? portable : await targetFor(provider, settings.threads);
  const target: Target = before?.block === here.block ? { ...here, tuned: new Map(Object.entries(before.tuned)) } : here;
  const accumulated = accumulate > 1;
  const compiled = compileTraining(program, {
    target,
    batch: partOf(batch, accumulate),
    looped: loop > 1,
    accumulated,
    ...(ort && { rates: ratesOf(settings) }),
    optimizer,
    clipNorm,
    checkpointActivations,
    freeze,
    seed,
    classes,
    ...(classWeights && { classWeights }),
    ...(mix && { mixed: true }),
    ...(ema !== null && { ema }),
  });
  const stock = accumulated ? ['grad.onnx', 'update.onnx'] : ['step.onnx'];
  const names = ort ? ['training_model.onnx', 'optimizer_model.onnx'] : stock;
  const measured = names.flatMap((name) => compiled.choices.get(name)!).filter((choice) => choice.measured !== undefined);
  const tuned = Object.fromEntries(measured.map((choice) => [choice.measured!, choice.lowering]));
  const hashes = names.map((name) => compiled.manifest.files[name].sha256);
  return { compiled, step: { block: target.block, tuned, sha256: hashes.length > 1 ? hashOf(hashes.join()) : hashes[0] } };
}

/** The learning rates of a whole training, for an optimizer that has them in its graph. */
function ratesOf(settings: Omit<TrainSettings, 'step'>): readonly number[] {
  const { epochs, batch, optimizer, data } = settings;
  const steps = Math.max(1, Math.floor(data.examples.train / batch)) * epochs;
  return rateTable(scheduleOf(settings, data.examples.train), steps, optimizer);
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
