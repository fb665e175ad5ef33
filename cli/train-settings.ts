import { isAbsolute, relative, resolve } from 'node:path';
import type { OptimizerSpec, OptionValue } from '../compiler/ir/program.ts';
import { DdrcError } from '../diagnostics/error.ts';
import { type AugmentationSettings, isAugmentation } from '../runtime/data/augment.ts';
import type { MixSettings } from '../runtime/data/mix.ts';
import { type Provider, providers } from '../runtime/providers.ts';
import type { RunConfig } from '../runtime/runfolder.ts';
import { packageVersion } from './project.ts';
import type { Part } from './training-data.ts';

/** All that a training follows from; a run's config.json has it, so that the run can go on. */
export interface TrainSettings {
  /** The model file, an absolute path; null: the package's DDRNet. */
  readonly modelFile: string | null;
  /** Every option of the model. */
  readonly options: Readonly<Record<string, OptionValue>>;
  readonly data: {
    /** An absolute path; null: drawn smears. */
    readonly path: string | null;
    readonly val: string | null;
    readonly test: string | null;
    readonly onBadImage: 'stop' | 'skip';
    readonly fingerprint: string;
    /** The same of each part by itself, for comparisons; null in run folders of before there was one. */
    readonly partFingerprints: Readonly<Record<Part, string>> | null;
    /** A hash of what the images hold; null where the fingerprint covers it, and in the first run folders, which are not held to it. */
    readonly contents: string | null;
    /** How many examples each part has. */
    readonly examples: Readonly<Record<Part, number>>;
  };
  readonly classes: readonly string[] | null;
  readonly epochs: number;
  /** Examples of one step of the optimizer. */
  readonly batch: number;
  /** How many parts the batch is cut into, whose gradients are averaged. */
  readonly accumulate: number;
  readonly learningRate: number;
  /** As `--schedule` has it. */
  readonly schedule: string;
  readonly optimizer: OptimizerSpec;
  readonly clipNorm: number;
  /** Epochs without a lower validation loss after which the training is over; null: never. */
  readonly patience: number | null;
  /** The weight of each class in the loss that is minimised; null: none. */
  readonly classWeights: readonly number[] | null;
  /** The largest decay of the weights' moving averages; null: there are none. */
  readonly ema: number | null;
  /** Whether the backward pass computes the forward pass again in place of keeping it. */
  readonly checkpointActivations: boolean;
  /** Parameters, or scopes of them, that are not trained. */
  readonly freeze: readonly string[];
  readonly seed: number;
  readonly augmentation: AugmentationSettings | null;
  /** How the examples of a batch are mixed; null: not at all. */
  readonly mix: MixSettings | null;
  /** A file of parameters to start from, an absolute path; null: the initialisers. */
  readonly weights: string | null;
  /** Whether parameters of another shape than in that file take the initialisers' values. */
  readonly resetHead: boolean;
  readonly engine: 'stock' | 'ort-training';
  readonly provider: Provider;
  readonly threads: number;
  /** Steps in one run of the graph. */
  readonly loop: number;
  /**
   * What the step was compiled for, with the lowerings that were chosen by a measurement, and the SHA-256 of `step.onnx`; where other files take
   * its place, that of theirs.
   */
  readonly step: { readonly block: number; readonly tuned: Readonly<Record<string, string>>; readonly sha256: string };
}

/** The settings as config.json has them: paths within the working folder relative to the run folder, so that a project can be moved as a whole. */
export function configOf(model: string, folder: string, settings: TrainSettings): RunConfig {
  const place = (path: string | null) => path && shortest(folder, path);
  return {
    model,
    ddrc: packageVersion,
    ...settings,
    modelFile: place(settings.modelFile),
    weights: place(settings.weights),
    data: { ...settings.data, path: place(settings.data.path) },
  };
}

/**
 * The settings that a run folder's config.json has.
 * @throws DdrcError RUN_INVALID where one is missing or of another kind
 */
export function settingsOf(config: RunConfig, folder: string): TrainSettings {
  const given: RunConfig = {
    ...laterSettings,
    ...config,
    ...(isObject(config.data) && { data: { contents: null, partFingerprints: null, ...(config.data as object) } }),
    ...(isObject(config.augmentation) && { augmentation: { ...laterAugmentation, ...(config.augmentation as object) } }),
    ...(isObject(config.step) && { step: { tuned: {}, ...(config.step as object) } }),
  };
  const wrong = Object.entries(checks).find(([path, fits]) => !fits(valueAt(given, path), given))?.[0];
  if (wrong) {
    throw new DdrcError({
      code: 'RUN_INVALID',
      message: `the config.json of ${folder} has no usable "${wrong}"`,
      where: resolve(folder, 'config.json'),
      hint: 'restore the file, or train anew',
    });
  }
  const settings = given as unknown as TrainSettings;
  const place = (path: string | null) => path && resolve(folder, path);
  return {
    ...settings,
    modelFile: place(settings.modelFile),
    weights: place(settings.weights),
    data: { ...settings.data, path: place(settings.data.path) },
  };
}

/** A path relative to the run folder where both lie below the working folder, the project; otherwise absolute. */
function shortest(folder: string, path: string): string {
  const inProject = [folder, path].every(
    (place) => !/^\.\.([\\/]|$)/.test(relative('', place)) && !isAbsolute(relative('', place)),
  );
  return inProject ? relative(folder, path).replaceAll('\\', '/') : path;
}

/** Settings that the first run folders did not have, as they were then. */
const laterSettings: Pick<
  TrainSettings,
  | 'accumulate'
  | 'resetHead'
  | 'checkpointActivations'
  | 'loop'
  | 'engine'
  | 'freeze'
  | 'patience'
  | 'classWeights'
  | 'ema'
  | 'mix'
> = {
  accumulate: 1,
  resetHead: false,
  checkpointActivations: false,
  loop: 1,
  engine: 'stock',
  freeze: [],
  patience: null,
  classWeights: null,
  ema: null,
  mix: null,
};

/** The same of augmentation: it varied all images, and magnified none. */
const laterAugmentation: Partial<AugmentationSettings> = { magnify: 1, share: 1, saturation: 0, hue: 0 };

type Check = (value: unknown) => boolean;
const isObject: Check = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
const isNumber: Check = (value) => typeof value === 'number' && Number.isFinite(value);
const isAlpha: Check = (value) => isNumber(value) && (value as number) >= 0;
const isText: Check = (value) => typeof value === 'string';
const isCount: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0;
const isPositive: Check = (value) => isCount(value) && value !== 0;
const oneOf =
  (...values: readonly unknown[]): Check =>
  (value) =>
    values.includes(value);
const orNull =
  (check: Check): Check =>
  (value) =>
    value === null || check(value);

const parts: readonly Part[] = ['train', 'val', 'test'];

/** What each setting has to be; what holds others stands before them. */
const checks: Readonly<Record<string, (value: unknown, config: RunConfig) => boolean>> = {
  options: isObject,
  modelFile: orNull(isText),
  data: isObject,
  'data.path': orNull(isText),
  'data.val': orNull(isText),
  'data.test': orNull(isText),
  'data.onBadImage': oneOf('stop', 'skip'),
  'data.fingerprint': isText,
  'data.partFingerprints': orNull(
    (value) => isObject(value) && parts.every((part) => isText((value as Record<Part, unknown>)[part])),
  ),
  'data.contents': orNull(isText),
  'data.examples': isObject,
  'data.examples.train': isCount,
  'data.examples.val': isCount,
  'data.examples.test': isCount,
  classes: orNull((value) => Array.isArray(value) && value.every(isText)),
  epochs: isPositive,
  batch: isPositive,
  accumulate: (value, { batch }) => isPositive(value) && Number(batch) % Number(value) === 0,
  learningRate: isNumber,
  schedule: isText,
  optimizer: isObject,
  'optimizer.kind': oneOf('sgd', 'adam', 'adamw', 'rmsprop'),
  'optimizer.weightDecay': isNumber,
  clipNorm: isNumber,
  patience: orNull(isPositive),
  classWeights: orNull((value) => Array.isArray(value) && value.every((weight) => isNumber(weight) && weight > 0)),
  ema: orNull((value) => isNumber(value) && (value as number) >= 0 && (value as number) < 1),
  checkpointActivations: oneOf(true, false),
  freeze: (value) => Array.isArray(value) && value.every(isText),
  seed: isCount,
  augmentation: orNull(isAugmentation),
  mix: orNull((value) => isObject(value) && [(value as MixSettings).mixup, (value as MixSettings).cutmix].every(isAlpha)),
  weights: orNull(isText),
  resetHead: oneOf(true, false),
  engine: oneOf('stock', 'ort-training'),
  provider: oneOf(...providers),
  threads: isPositive,
  loop: isPositive,
  step: isObject,
  'step.block': isCount,
  'step.tuned': isObject,
  'step.sha256': isText,
};

function valueAt(config: RunConfig, path: string): unknown {
  return path.split('.').reduce<unknown>((value, key) => (value as Record<string, unknown>)[key], config);
}
