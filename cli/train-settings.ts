import { isAbsolute, relative, resolve } from 'node:path';
import type { OptimizerSpec, OptionValue } from '../compiler/ir/program.ts';
import { DdrcError } from '../diagnostics/error.ts';
import type { AugmentationSettings } from '../runtime/data/augment.ts';
import type { Provider } from '../runtime/providers.ts';
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
    /** How many examples each part has. */
    readonly examples: Readonly<Record<Part, number>>;
  };
  readonly classes: readonly string[] | null;
  readonly epochs: number;
  readonly batch: number;
  readonly learningRate: number;
  /** As `--schedule` has it. */
  readonly schedule: string;
  readonly optimizer: OptimizerSpec;
  readonly clipNorm: number;
  readonly seed: number;
  readonly augmentation: AugmentationSettings | null;
  /** A file of parameters to start from, an absolute path; null: the initialisers. */
  readonly weights: string | null;
  readonly provider: Provider;
  readonly threads: number;
  /** What the step was compiled for and the SHA-256 of the result. */
  readonly step: { readonly block: number; readonly sha256: string };
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
 * @throws DdrcError RUN_INVALID where one is missing
 */
export function settingsOf(config: RunConfig, folder: string): TrainSettings {
  const settings = config as unknown as TrainSettings;
  const kinds: Readonly<Record<string, (value: unknown) => boolean>> = {
    options: isObject,
    data: isObject,
    step: isObject,
    optimizer: isObject,
    epochs: isNumber,
    batch: isNumber,
    learningRate: isNumber,
    clipNorm: isNumber,
    seed: isNumber,
    threads: isNumber,
    schedule: isText,
    provider: isText,
  };
  const wrong = Object.entries(kinds).find(([key, fits]) => !fits(config[key]));
  if (wrong) {
    throw new DdrcError({
      code: 'RUN_INVALID',
      message: `the config.json of ${folder} has no usable "${wrong[0]}"`,
      where: resolve(folder, 'config.json'),
      hint: 'restore the file, or train anew',
    });
  }
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

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null;
}

function isNumber(value: unknown): boolean {
  return typeof value === 'number' && Number.isFinite(value);
}

function isText(value: unknown): boolean {
  return typeof value === 'string';
}
