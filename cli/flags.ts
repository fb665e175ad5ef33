import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Program } from '../compiler/ir/program.ts';
import { DdrcError } from '../diagnostics/error.ts';
import { instantiate, loadModel } from './load-model.ts';

/** Adds an option that has to be given. Commander's own kind complains of its absence where another option is misspelt. */
export function addRequired(command: Command, flags: string, description: string): Command {
  const option = new Option(flags, description);
  return command.addOption(option).hook('preAction', (called) => {
    if (called.getOptionValue(option.attributeName()) === undefined) called.error(`required option ${flags} not specified`);
  });
}

/** Reads a flag's text as a whole number from `min` up. */
export function wholeNumber(min: number, max = Number.MAX_SAFE_INTEGER): (text: string) => number {
  const expects = max === Number.MAX_SAFE_INTEGER ? `a whole number from ${min} up` : `a whole number from ${min} to ${max}`;
  return (text) => {
    const value = /^-?\d+$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max)) throw new InvalidArgumentError(`It must be ${expects}.`);
    return value;
  };
}

/** Reads a flag's text as a number above `above` (or from it, with `inclusive`). */
export function decimal(above: number, inclusive = false): (text: string) => number {
  return (text) => {
    const value = text.trim() === '' ? Number.NaN : Number(text);
    const fits = Number.isFinite(value) && (inclusive ? value >= above : value > above);
    if (!fits) throw new InvalidArgumentError(`It must be a number ${inclusive ? 'from' : 'above'} ${above}.`);
    return value;
  };
}

/** Reads a flag's text as a number from 0 to below 1. */
export function share(text: string): number {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (!(value >= 0 && value < 1)) throw new InvalidArgumentError('It must be a number from 0 to below 1.');
  return value;
}

/** Reads a flag's text as one of several words. */
export function oneOf<const W extends string>(...words: readonly W[]): (text: string) => W {
  return (text) => {
    if (!words.includes(text as W)) throw new InvalidArgumentError(`It must be one of ${words.join(', ')}.`);
    return text as W;
  };
}

/** `--tta`, for what classifies images. */
export function ttaFlag(): Option {
  const what =
    'test-time augmentation, the mean over each image and: flips, its 3 mirror images; turns, these and the 4 turned by 90°; or none';
  return new Option('--tta <views>', what).argParser(oneOf('none', 'flips', 'turns')).default('none');
}

/** Reads a list with commas between: `a,b,c`. */
export function list(text: string): string[] {
  const items = text.split(',').map((item) => item.trim());
  if (items.some((item) => item === ''))
    throw new InvalidArgumentError('It must be names with commas between, none of them empty.');
  const twice = items.find((item, i) => items.indexOf(item) < i);
  if (twice !== undefined) throw new InvalidArgumentError(`It has ${twice} twice.`);
  return items;
}

/** A flag as it is written on the command line: `checkpointVersion` is `--checkpoint-version`. */
export function written(flag: string): string {
  return `--${flag.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** What {@link addModelFlags} adds. */
export interface ModelFlags {
  readonly option?: Readonly<Record<string, string>>;
  readonly size?: number;
}

/** Adds the flags that set a model's options: `--option NAME=VALUE`, any number of times, and `--size N`. */
export function addModelFlags(command: Command): Command {
  return command
    .option('--option <name=value>', 'set an option of the model; may be given several times', collect)
    .option('--size <n>', 'short for --option size=N', wholeNumber(1));
}

function collect(text: string, before: Readonly<Record<string, string>> = {}): Record<string, string> {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('It must be NAME=VALUE.');
  const name = text.slice(0, at);
  if (Object.hasOwn(before, name)) throw new InvalidArgumentError(`It sets ${name} a second time.`);
  return { ...before, [name]: text.slice(at + 1) };
}

/** The options that the flags set, as the model takes them. */
export function optionsOf({ option, size }: ModelFlags): Record<string, unknown> {
  if (size !== undefined && option?.size !== undefined && Number(option.size) !== size) {
    throw new DdrcError({
      code: 'USAGE',
      message: `--size ${size} and --option size=${option.size} contradict each other`,
      hint: 'give one of them',
    });
  }
  return size === undefined ? { ...option } : { ...option, size };
}

/**
 * Loads a model file (the package's DDRNet without one) and sets its options; those in `more` only where the flags do not and the model has them.
 * @throws DdrcError of a model file, OPTION_UNKNOWN, OPTION_INVALID
 */
export async function openProgram(
  path: string | undefined,
  flags: ModelFlags,
  more: Readonly<Record<string, unknown>> = {},
): Promise<Program> {
  const loaded = await loadModel(path);
  const fitting = Object.entries(more).filter(([name, value]) => name in loaded.model.options && value !== undefined);
  return instantiate(loaded, { ...Object.fromEntries(fitting), ...optionsOf(flags) });
}
