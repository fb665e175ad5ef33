import { existsSync, readdirSync } from 'node:fs';
import { basename, dirname, extname, join, resolve } from 'node:path';
import type { OptionValue } from '../../compiler/ir/program.ts';
import { DdrcError } from '../../diagnostics/error.ts';
import { suggestion } from '../../diagnostics/suggest.ts';
import { parseAugmentation } from '../../runtime/data/augment.ts';
import type { Preparation } from '../../runtime/data/prepare.ts';
import { readBytes } from '../../runtime/files.ts';
import { parseSchedule } from '../../runtime/schedule.ts';
import { parseOptimizer } from '../optimizer-text.ts';
import { packageRoot } from '../project.ts';

/** A network of an experiment. */
export interface Variant {
  readonly name: string;
  /** A model of the package by its file's name (`ddrnet`), or an absolute path. */
  readonly model: string;
  readonly options: Readonly<Record<string, OptionValue>>;
}

/** How each network is trained: flags of `ddrc train` without their dashes; true for one that takes no value. */
export type TrainFlagValues = Readonly<Record<string, string | number | true>>;

/** What a protocol has in any case. */
interface About {
  /** The file's name without its ending. */
  readonly name: string;
  readonly title: string;
  /** Where it comes from. */
  readonly source: string;
  /** How it is understood where its source leaves something open, a sentence each. */
  readonly readings: readonly string[];
  /** What the figures know of the test images that they should not. */
  readonly leaks: string;
  readonly variants: readonly Variant[];
}

/** A protocol whose networks are trained and tested. */
export interface TrainingProtocol extends About {
  readonly division: Preparation;
  /** `none`: there is no test, as where a recipe is chosen by validation. */
  readonly test: 'none' | null;
  readonly train: TrainFlagValues;
  /** How many seeds, from 0. */
  readonly seeds: number;
}

/** A protocol whose networks' training steps are timed. */
export interface TimingProtocol extends About {
  readonly time: {
    readonly size: number;
    readonly batch: number;
    /** Steps of a round. */
    readonly steps: number;
    readonly rounds: number;
  };
}

export type Protocol = TrainingProtocol | TimingProtocol;

/** The flags of `ddrc train` that a protocol may set: whole numbers, numbers, texts, and those that take no value. */
export const trainFlags = {
  size: 'count',
  epochs: 'count',
  batch: 'count',
  lr: 'number',
  schedule: 'text',
  optimizer: 'text',
  augment: 'text',
  clip: 'number',
  patience: 'count',
  'class-weights': 'text',
  ema: 'number',
  mixup: 'number',
  cutmix: 'number',
  accumulate: 'count',
  'checkpoint-activations': 'set',
  weights: 'text',
  'reset-head': 'set',
  freeze: 'text',
  'on-bad-image': 'text',
  cache: 'text',
} as const satisfies Readonly<Record<string, 'count' | 'number' | 'text' | 'set'>>;

export const trainFlagNames = Object.keys(trainFlags) as (keyof typeof trainFlags)[];

/** Where the package's own protocols lie. */
const folder = join(packageRoot, 'models', 'protocols');

/** The names of the package's protocols. */
export function protocolNames(): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .map((name) => basename(name, '.json'));
}

/**
 * Reads a protocol: one of the package by its name, or a file.
 * @throws DdrcError PROTOCOL_UNKNOWN, PROTOCOL_INVALID, FILE_UNREADABLE
 */
export function readProtocol(name: string): Protocol {
  const names = protocolNames();
  const file = names.includes(name) ? join(folder, `${name}.json`) : resolve(name);
  if (!existsSync(file)) {
    const message = `there is no protocol "${name}"${suggestion(name, names)}`;
    const hint = `the protocols are ${names.join(', ')}; a path names one of your own`;
    throw new DdrcError({ code: 'PROTOCOL_UNKNOWN', message, hint });
  }
  const text = new TextDecoder().decode(readBytes(file));
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw invalid(file, `it is not JSON (${(cause as Error).message})`);
  }
  if (isObject(value) && value.name !== undefined) throw invalid(file, 'it has an unknown "name"');
  return checkProtocol(isObject(value) ? { ...value, name: basename(file, extname(file)) } : value, file);
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isText = (value: unknown): value is string => typeof value === 'string' && value !== '';
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 1;
const isScalar = (value: unknown) => ['string', 'number', 'boolean'].includes(typeof value);
const isFraction = (value: unknown) => typeof value === 'number' && value >= 0 && value < 1;

type Demand = (holds: boolean, what: string) => void;

/**
 * Checks a protocol that was read.
 * @param file where it lies: models are looked for beside it
 * @throws DdrcError PROTOCOL_INVALID
 */
export function checkProtocol(value: unknown, file: string): Protocol {
  const demand: Demand = (holds, what) => {
    if (!holds) throw invalid(file, what);
  };
  demand(isObject(value), 'it is no object');
  const { name, title, source, readings, leaks, variants, division, test, train, seeds, time, ...others } = value as Record<
    string,
    unknown
  >;
  const unknown = Object.keys(others)[0];
  demand(unknown === undefined, `it has an unknown "${unknown}"`);
  for (const [key, text] of Object.entries({ name, title, source, leaks })) demand(isText(text), `its "${key}" is no text`);
  demand(Array.isArray(readings) && readings.every(isText), 'its "readings" are no list of sentences');
  demand((train === undefined) !== (time === undefined), 'it needs either "train" or "time"');
  const about = { name, title, source, readings, leaks, variants: checkedVariants(variants, dirname(file), demand) } as About;
  if (time !== undefined) {
    const fits = isObject(time) && ['size', 'batch', 'steps', 'rounds'].every((key) => isCount(time[key]));
    demand(fits, 'its "time" needs size, batch, steps and rounds, whole numbers from 1 up');
    return { ...about, time: time as TimingProtocol['time'] };
  }
  checkTrain(train, demand);
  checkDivision(division, demand);
  demand(test === undefined || test === null || test === 'none', 'its "test" can only be none');
  demand(seeds === undefined || isCount(seeds), 'its "seeds" is no whole number from 1 up');
  return {
    ...about,
    division: division as Preparation,
    test: test === 'none' ? 'none' : null,
    train: train as TrainFlagValues,
    seeds: (seeds as number | undefined) ?? 1,
  };
}

function checkTrain(train: unknown, demand: Demand): void {
  demand(isObject(train), 'its "train" is no object');
  const given = train as Record<string, unknown>;
  for (const [flag, value] of Object.entries(given)) {
    demand(Object.hasOwn(trainFlags, flag), `its "train" has an unknown "${flag}"${suggestion(flag, trainFlagNames)}`);
    const problem = problemOf(flag as keyof typeof trainFlags, value);
    demand(problem === null, `its "train" has a "${flag}" that ${problem}`);
  }
  for (const flag of ['size', 'epochs', 'batch']) demand(given[flag] !== undefined, `its "train" has no "${flag}"`);
}

/** What a flag's value has that it should not; null where it is right. */
function problemOf(flag: keyof typeof trainFlags, value: unknown): string | null {
  const kind = trainFlags[flag];
  if (kind === 'count') return isCount(value) ? null : 'is no whole number from 1 up';
  if (kind === 'number') return typeof value === 'number' && value >= 0 ? null : 'is no number of 0 or more';
  if (kind === 'set') return value === true ? null : 'is not true';
  if (!isText(value)) return 'is no text';
  const parse = { schedule: parseSchedule, optimizer: parseOptimizer, augment: parseAugmentation }[flag as string];
  try {
    parse?.(value);
    return null;
  } catch (error) {
    if (error instanceof DdrcError) return `cannot be used: ${error.message}`;
    throw error;
  }
}

/** A misspelt division would divide otherwise than was meant, and leak. */
function checkDivision(division: unknown, demand: Demand): void {
  const fits = isObject(division) && ['given', 'group', 'image'].includes(division.by as string);
  demand(fits, 'its "division" needs a "by": given, group or image');
  const { by, pool, test, val, folds, ...others } = division as Record<string, unknown>;
  const unknown = Object.keys(others)[0];
  demand(
    unknown === undefined,
    `its "division" has an unknown "${unknown}"${suggestion(unknown ?? '', ['pool', 'test', 'val', 'folds'])}`,
  );
  demand(pool === undefined || (Array.isArray(pool) && pool.length > 0 && pool.every(isText)), 'its "pool" is no list of splits');
  for (const [key, value] of Object.entries({ test, val }))
    demand(value === undefined || isFraction(value), `its division's "${key}" is no fraction from 0 to below 1`);
  demand(folds === undefined || (isCount(folds) && folds >= 2), 'its "folds" is no whole number from 2 up');
  demand(folds === undefined || test === undefined, 'its "folds" and "test" contradict each other: each fold is the test once');
  demand(by !== 'given' || (folds ?? pool ?? test) === undefined, 'splits that are "given" have no pool, test or folds');
}

const ddrnet: Variant = { name: 'DDRNet', model: 'ddrnet', options: {} };

function checkedVariants(value: unknown, place: string, demand: Demand): readonly Variant[] {
  if (value === undefined) return [ddrnet];
  demand(Array.isArray(value) && value.length > 0, 'its "variants" are no list');
  const variants = (value as unknown[]).map((each) => {
    const { name, model, options = {} } = isObject(each) ? each : {};
    demand(isText(name) && isText(model), 'a variant needs a "name" and a "model"');
    demand(
      isObject(options) && Object.values(options).every(isScalar),
      `the variant "${name}" has "options" that are no object of values`,
    );
    return { name, model: modelPath(model as string, place), options } as Variant;
  });
  const words = variants.map(({ name }) => folderWord(name));
  const twice = words.findIndex((word, i) => word === '' || words.indexOf(word) < i);
  demand(twice < 0, `the variant "${variants[twice]?.name}" has no folder of its own: its name needs other letters or digits`);
  return variants;
}

/** A model of the package stays a name, so that an experiment can be moved; another one becomes an absolute path. */
export function modelPath(model: string, place: string): string {
  return existsSync(join(packageRoot, 'models', `${model}.ts`)) ? model : resolve(place, model);
}

/** A name as a folder's: `+ DRDB + CSAB` is `drdb-csab`. */
export function folderWord(name: string): string {
  return name
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}]+/gu, '-')
    .replaceAll(/^-|-$/g, '');
}

/** The name of a network in the package's protocols, if it is there: as the paper's tables have it. */
export function knownName(model: string, options: Variant['options']): string | null {
  const text = (values: Variant['options']) =>
    JSON.stringify(
      Object.entries(values)
        .map(([key, value]) => [key, String(value)])
        .sort(),
    );
  const variants = [ddrnet, ...protocolNames().flatMap((name) => readProtocol(name).variants)];
  return variants.find((variant) => variant.model === model && text(variant.options) === text(options))?.name ?? null;
}

function invalid(file: string, what: string): DdrcError {
  const hint = 'docs/experiments.md says what a protocol has';
  return new DdrcError({ code: 'PROTOCOL_INVALID', message: `the protocol cannot be used: ${what}`, where: file, hint });
}
