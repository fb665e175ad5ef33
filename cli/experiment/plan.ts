import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { DdrcError } from '../../diagnostics/error.ts';
import { packageRoot } from '../project.ts';
import type { TrainFlagValues, TrainingProtocol, Variant } from './protocol.ts';

/** One training of an experiment. */
export interface PlannedRun {
  /** Its name and its folder's below `runs/`: `ddrnet-seed0`, `ddrnet-seed0-fold2`. */
  readonly name: string;
  readonly variant: Variant;
  readonly seed: number;
  /** The fold that is tested; null where the protocol has none. */
  readonly fold: number | null;
}

/** All that an experiment follows from beside its data; its folder's experiment.json has it. */
export interface ExperimentSettings {
  readonly protocol: string;
  /** An absolute path; null for a timing. */
  readonly data: string | null;
  readonly variants: readonly Variant[];
  readonly seeds: readonly number[];
  readonly train: TrainFlagValues;
}

/** The trainings, a seed of all variants after the other: what is there after some time is comparable. */
export function plannedRuns({ division }: TrainingProtocol, { variants, seeds }: ExperimentSettings): PlannedRun[] {
  const folds = 'folds' in division ? Array.from({ length: division.folds }, (_, fold) => fold) : [null];
  return seeds.flatMap((seed) =>
    folds.flatMap((fold) => variants.map((variant) => ({ name: runName(variant, seed, fold), variant, seed, fold }))),
  );
}

function runName({ name }: Variant, seed: number, fold: number | null): string {
  const words = name
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-|-$/g, '');
  return `${words}-seed${seed}${fold === null ? '' : `-fold${fold}`}`;
}

/** Settings in which an experiment is another one than its protocol, for people: `size 64 in place of 96`. */
export function departures(protocol: TrainingProtocol, { train, seeds }: ExperimentSettings): string[] {
  const flags = [...new Set([...Object.keys(protocol.train), ...Object.keys(train)])];
  const different = flags.filter((flag) => protocol.train[flag] !== train[flag]);
  const words = different.map((flag) =>
    protocol.train[flag] === undefined ? `${flag} ${train[flag]}` : `${flag} ${train[flag]} in place of ${protocol.train[flag]}`,
  );
  return seeds.length === protocol.seeds ? words : [...words, `${seeds.length} seeds in place of ${protocol.seeds}`];
}

/**
 * The file of a variant's model.
 * @throws DdrcError FILE_MISSING
 */
export function modelFileOf({ model }: Variant): string {
  const own = join(packageRoot, 'models', `${model}.ts`);
  const file = existsSync(own) ? own : resolve(model);
  if (existsSync(file)) return file;
  throw new DdrcError({
    code: 'FILE_MISSING',
    message: `there is no model "${model}"`,
    where: file,
    hint: 'name a model of the package, such as ddrnet, resnet or vit, or the path of a model file',
  });
}

/** The flags by which `ddrc train` and `ddrc bench` set the options of a variant. */
export function optionFlags({ options }: Variant): string[] {
  return Object.entries(options).flatMap(([name, value]) => ['--option', `${name}=${value}`]);
}
