import { existsSync, readdirSync } from 'node:fs';
import { basename, extname, join, resolve } from 'node:path';
import type { OptionValue } from '../../compiler/ir/program.ts';
import { DdrcError } from '../../diagnostics/error.ts';
import { suggestion } from '../../diagnostics/suggest.ts';
import type { Preparation } from '../../runtime/data/prepare.ts';
import { readBytes } from '../../runtime/files.ts';
import { packageRoot } from '../project.ts';

/** A network of an experiment. */
export interface Variant {
  readonly name: string;
  /** A model of the package by its file's name (`ddrnet`), or a path to a model file. */
  readonly model: string;
  readonly options: Readonly<Record<string, OptionValue>>;
}

/** How each network is trained: flags of `ddrc train` without their dashes. */
export type TrainFlagValues = Readonly<Record<string, string | number>>;

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
    throw new DdrcError({
      code: 'PROTOCOL_UNKNOWN',
      message,
      hint: `the protocols are ${names.join(', ')}; a path names one of your own`,
    });
  }
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(readBytes(file)));
  } catch (cause) {
    if (cause instanceof DdrcError) throw cause;
    throw invalid(file, `it is not JSON (${(cause as Error).message})`);
  }
  return checked(value, file);
}

/** The flags of `ddrc train` that a protocol may set. */
export const trainFlags = [
  'size',
  'epochs',
  'batch',
  'lr',
  'schedule',
  'optimizer',
  'augment',
  'clip',
  'patience',
  'class-weights',
  'ema',
  'mixup',
  'cutmix',
] as const;

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isText = (value: unknown): value is string => typeof value === 'string' && value !== '';
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 1;
const isScalar = (value: unknown) => ['string', 'number', 'boolean'].includes(typeof value);

function checked(value: unknown, file: string): Protocol {
  const demand = (holds: boolean, what: string) => {
    if (!holds) throw invalid(file, what);
  };
  demand(isObject(value), 'it is no object');
  const { title, source, readings, leaks, variants, division, test, train, seeds, time, ...others } = value as Record<
    string,
    unknown
  >;
  const unknown = Object.keys(others)[0];
  demand(unknown === undefined, `it has an unknown "${unknown}"`);
  for (const [name, text] of Object.entries({ title, source, leaks })) demand(isText(text), `its "${name}" is no text`);
  demand(Array.isArray(readings) && readings.every(isText), 'its "readings" are no list of sentences');
  const about = {
    name: basename(file, extname(file)),
    title: title as string,
    source: source as string,
    readings: readings as string[],
    leaks: leaks as string,
    variants: checkedVariants(variants, demand),
  };
  demand((train === undefined) !== (time === undefined), 'it needs either "train" or "time"');
  if (time !== undefined) {
    const { size, batch, steps, rounds } = isObject(time) ? time : {};
    const fits = [size, batch, steps, rounds].every(isCount);
    demand(fits, 'its "time" needs size, batch, steps and rounds, whole numbers from 1 up');
    return { ...about, time: time as TimingProtocol['time'] };
  }
  demand(isObject(train), 'its "train" is no object');
  for (const [flag, given] of Object.entries(train as object)) {
    demand(
      (trainFlags as readonly string[]).includes(flag),
      `its "train" has an unknown "${flag}"${suggestion(flag, trainFlags)}`,
    );
    demand(typeof given === 'number' || isText(given), `its "train" has a "${flag}" that is neither a number nor a text`);
  }
  demand(isObject(division) && isText(division.by), 'its "division" needs a "by": given, group or image');
  demand(test === undefined || test === 'none', 'its "test" can only be none');
  demand(seeds === undefined || isCount(seeds), 'its "seeds" is no whole number from 1 up');
  return {
    ...about,
    division: division as unknown as Preparation,
    test: test === 'none' ? 'none' : null,
    train: train as TrainFlagValues,
    seeds: (seeds as number | undefined) ?? 1,
  };
}

const ddrnet: Variant = { name: 'DDRNet', model: 'ddrnet', options: {} };

function checkedVariants(value: unknown, demand: (holds: boolean, what: string) => void): readonly Variant[] {
  if (value === undefined) return [ddrnet];
  demand(Array.isArray(value) && value.length > 0, 'its "variants" are no list');
  const variants = (value as unknown[]).map((each) => {
    const { name, model, options = {} } = isObject(each) ? each : {};
    demand(isText(name) && isText(model), 'a variant needs a "name" and a "model"');
    demand(
      isObject(options) && Object.values(options).every(isScalar),
      `the variant "${name}" has "options" that are no object of values`,
    );
    return { name, model, options } as Variant;
  });
  const names = variants.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) < i);
  demand(twice === undefined, `it has two variants "${twice}"`);
  return variants;
}

function invalid(file: string, what: string): DdrcError {
  const hint = 'docs/experiments.md says what a protocol has';
  return new DdrcError({ code: 'PROTOCOL_INVALID', message: `the protocol cannot be used: ${what}`, where: file, hint });
}
