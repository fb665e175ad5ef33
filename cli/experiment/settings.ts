import { existsSync, readdirSync, statSync } from 'node:fs';
import { basename, extname, isAbsolute, join, relative, resolve } from 'node:path';
import { counted } from '../../diagnostics/counted.ts';
import { DdrcError } from '../../diagnostics/error.ts';
import { shellWord } from '../../diagnostics/shell-word.ts';
import { makeFolder, readBytes, writeFileAtomic } from '../../runtime/files.ts';
import { runPaths } from '../../runtime/runfolder.ts';
import { usageError } from '../failure.ts';
import { packageVersion } from '../project.ts';
import { shown } from '../shown-path.ts';
import { flagsOf } from './carry-out.ts';
import {
  checkProtocol,
  knownName,
  modelPath,
  type Protocol,
  protocolNames,
  readProtocol,
  type TrainFlagValues,
  trainFlagNames,
  type Variant,
} from './protocol.ts';

/** All that an experiment follows from; its folder's experiment.json has it. */
export interface ExperimentSettings {
  /** The protocol with what the flags changed. */
  readonly protocol: Protocol;
  /** What the command line that began it asked for; of a protocol of one's own the absolute path. */
  readonly asked: { readonly protocol: string; readonly models?: readonly string[]; readonly train: TrainFlagValues };
  /** In what it is another one than the protocol of that name, the number of seeds left out, for people: `size 64 in place of 96`. */
  readonly departures: readonly string[];
  /** An absolute path; null for a timing. */
  readonly data: string | null;
  readonly seeds: readonly number[];
  /** A hash of what the images hold; null for a timing. */
  readonly contents: string | null;
}

/** What a command line asks for; what was not given is absent. */
export interface AskedFor {
  /** A name, or a path. */
  readonly protocol?: string;
  readonly data?: string;
  readonly seeds?: number;
  readonly models?: readonly string[];
  readonly train: TrainFlagValues;
}

const settingsName = 'experiment.json';

/**
 * The settings of the experiment in a folder; null where there is none.
 * @throws DdrcError RUN_INVALID, FILE_UNREADABLE
 */
export function readSettings(folder: string): ExperimentSettings | null {
  const file = join(folder, settingsName);
  if (!existsSync(file)) return null;
  const text = new TextDecoder().decode(readBytes(file));
  try {
    const { version, settings } = JSON.parse(text) as { version: number; settings: ExperimentSettings };
    if (version !== 1 || !Array.isArray(settings.seeds) || !Array.isArray(settings.departures) || !settings.asked)
      throw new Error('another version');
    return { ...settings, protocol: checkProtocol(settings.protocol, file) };
  } catch (cause) {
    const message = `${shown(file)} is not the file of an experiment`;
    throw new DdrcError({ code: 'RUN_INVALID', message, where: file, hint: 'restore it, or choose another --run', cause });
  }
}

export function writeSettings(folder: string, settings: ExperimentSettings): void {
  makeFolder(folder);
  const text = JSON.stringify({ version: 1, ddrc: packageVersion, settings }, null, 2);
  writeFileAtomic(join(folder, settingsName), new TextEncoder().encode(`${text}\n`));
}

/**
 * The settings that a command line asks for.
 * @param before those of an experiment that goes on: what is asked for must be the same, but for more seeds
 * @throws DdrcError USAGE, PROTOCOL_UNKNOWN, PROTOCOL_INVALID
 */
export function settingsFor(asked: AskedFor, before: ExperimentSettings | null, folder: string): ExperimentSettings {
  const original = asked.protocol === undefined ? before!.protocol : readProtocol(asked.protocol);
  if ('time' in original) refuseForTiming(asked);
  const protocol = changed(original, asked);
  const trains = !('time' in protocol);
  const seeds = asked.seeds ?? before?.seeds.length ?? (trains ? protocol.seeds : 1);
  const data = asked.data === undefined ? (before?.data ?? null) : resolve(asked.data);
  if (trains && data === null)
    throw usageError(`the protocol ${protocol.name} needs --data`, 'experiment', 'name the folder of the images');
  const wanted = { protocol, data: trains ? data : null, seeds: Array.from({ length: seeds }, (_, seed) => seed) };
  if (before) {
    checkSame(before, wanted, folder);
    return { ...before, seeds: wanted.seeds };
  }
  const { models, train } = asked;
  const name = protocolNames().includes(asked.protocol!) ? asked.protocol! : resolve(asked.protocol!);
  return { ...wanted, asked: { protocol: name, models, train }, departures: departuresOf(original, protocol), contents: null };
}

/** What a command line without a protocol asks for where the experiment in its folder has not begun: as before, but for what is given now. */
export function askedAnew({ asked, data, seeds, protocol }: ExperimentSettings, now: AskedFor): AskedFor {
  const before = 'time' in protocol ? {} : { data: data!, seeds: seeds.length };
  const given = Object.fromEntries(Object.entries(now).filter(([, value]) => value !== undefined));
  return { ...before, ...asked, ...given, train: { ...asked.train, ...now.train } };
}

/** In what an experiment is another one than its protocol, for people. */
export function allDepartures({ protocol, departures, seeds }: ExperimentSettings): string[] {
  if ('time' in protocol || seeds.length === protocol.seeds) return [...departures];
  return [...departures, `${counted(seeds.length, 'seed')} in place of ${protocol.seeds}`];
}

/** The command line of an experiment, without the place of its folder and its data. */
export function commandOf({ asked, data, seeds, protocol }: ExperimentSettings): string {
  const place = (path: string) => (isAbsolute(shown(path)) ? basename(path) : shown(path));
  const name = protocolNames().includes(asked.protocol) ? asked.protocol : place(asked.protocol);
  const words = [
    ...(data === null ? [] : ['--data', place(data)]),
    ...('time' in protocol ? [] : ['--seeds', String(seeds.length)]),
    ...(asked.models ? ['--models', asked.models.join(',')] : []),
    ...flagsOf(asked.train),
  ];
  return ['ddrc', 'experiment', name, ...words].map(shellWord).join(' ');
}

/** What a timing has of the flags of trainings. */
const timed = ['size', 'batch'];

function refuseForTiming({ train, seeds, data }: AskedFor): void {
  const [flag] = [
    ...Object.keys(train).filter((name) => !timed.includes(name)),
    ...(seeds === undefined ? [] : ['seeds']),
    ...(data === undefined ? [] : ['data']),
  ];
  if (flag !== undefined)
    throw usageError(`--${flag} has no meaning for a timing`, 'experiment', 'copy the protocol, change it, and name the file');
}

function changed(protocol: Protocol, { train, models }: AskedFor): Protocol {
  const variants = models?.map(variantOf) ?? protocol.variants;
  if ('time' in protocol) return checkProtocol({ ...protocol, variants, time: { ...protocol.time, ...train } }, protocol.name);
  return checkProtocol({ ...protocol, variants, train: { ...protocol.train, ...train } }, protocol.name);
}

/** `resnet:depth=18;width=32` as a variant. */
function variantOf(text: string): Variant {
  const [name, ...rest] = text.split(':');
  const pairs = rest
    .join(':')
    .split(';')
    .filter((part) => part !== '')
    .map((part) => {
      const [option, value, ...more] = part.split('=');
      if (value === undefined || more.length > 0)
        throw usageError(`--models: "${part}" is not of the form option=value`, 'experiment', 'as in resnet:depth=18');
      return [option, value] as const;
    });
  const model = modelPath(name, '');
  const options = Object.fromEntries(pairs);
  return { name: knownName(model, options) ?? [basename(name, extname(name)), ...rest].join(':'), model, options };
}

function departuresOf(original: Protocol, protocol: Protocol): string[] {
  const names = ({ variants }: Protocol) => variants.map(({ name }) => name).join(', ');
  const networks = names(original) === names(protocol) ? [] : [`the networks ${names(protocol)}`];
  const values = (each: Protocol): TrainFlagValues => ('time' in each ? each.time : each.train);
  const [was, is] = [values(original), values(protocol)];
  const flags = trainFlagNames.filter((flag) => was[flag] !== is[flag]);
  const words = flags.map((flag) =>
    was[flag] === undefined ? `${flag} ${is[flag]}` : `${flag} ${is[flag]} in place of ${was[flag]}`,
  );
  return [...words, ...networks];
}

/** @throws DdrcError USAGE where an experiment would go on as another one; more seeds are none */
function checkSame(
  before: ExperimentSettings,
  wanted: Pick<ExperimentSettings, 'protocol' | 'data' | 'seeds'>,
  folder: string,
): void {
  const parts = ({ protocol, data }: typeof wanted): Record<string, unknown> => ({
    protocol: protocol.name,
    data,
    models: protocol.variants.map(({ name }) => name).join(', '),
    ...('time' in protocol
      ? { time: JSON.stringify(protocol.time) }
      : { ...protocol.train, division: JSON.stringify(protocol.division) }),
  });
  const [was, is] = [parts(before), parts(wanted)];
  const differing = Object.keys({ ...was, ...is }).find((key) => was[key] !== is[key]);
  const fewer = wanted.seeds.length < before.seeds.length;
  if (differing === undefined && !fewer) return;
  const [what, then, now] =
    differing === undefined ? ['seeds', before.seeds.length, wanted.seeds.length] : [differing, was[differing], is[differing]];
  throw usageError(
    `the experiment in ${shown(folder)} was begun with ${what} ${then ?? 'not given'}, not ${now ?? 'without it'}`,
    'experiment',
    'leave that flag out to go on, or choose another --run',
  );
}

/** What there is to go on with where no protocol is named. @throws DdrcError RUN_INVALID */
export function requireExperiment(folder: string): ExperimentSettings {
  const settings = readSettings(folder);
  if (settings) return settings;
  throw new DdrcError({
    code: 'RUN_INVALID',
    message: `there is no experiment in ${shown(folder)}`,
    where: folder,
    hint: `name a protocol: ${protocolNames().join(', ')}`,
  });
}

/**
 * Checks the folder of an experiment that is not there yet.
 * @throws DdrcError OUTPUT_UNWRITABLE where it lies among the data, or holds something else
 */
export function checkNew(folder: string, data: string | null): void {
  const refuse = (what: string) =>
    new DdrcError({
      code: 'OUTPUT_UNWRITABLE',
      message: `${shown(folder)} ${what}`,
      where: folder,
      hint: 'choose another --run',
    });
  const inData = data !== null && !relative(data, folder).startsWith('..') && !isAbsolute(relative(data, folder));
  if (inData) throw refuse('lies in the folder of the data, in which nothing is changed');
  const isOurs = (name: string) => name === basename(runPaths(folder).lock) || name.startsWith('.');
  const isFolder = statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true;
  const other = isFolder ? readdirSync(folder).find((name) => !isOurs(name)) : undefined;
  if (other !== undefined) throw refuse(`is not empty and holds no experiment: it has ${other}`);
}
