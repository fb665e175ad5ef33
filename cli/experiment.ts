import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { DdrcError } from '../diagnostics/error.ts';
import { makeFolder, readBytes, writeFileAtomic } from '../runtime/files.ts';
import { createProgress } from '../runtime/progress.ts';
import { example } from './example.ts';
import { carryOut, divideData, type Means, runFolder, stateOf, trainArguments } from './experiment/carry-out.ts';
import { writeResults, writeTimingResults } from './experiment/document.ts';
import { estimate } from './experiment/estimate.ts';
import { departures, type ExperimentSettings, plannedRuns } from './experiment/plan.ts';
import { WholeProgress } from './experiment/progress.ts';
import {
  type Protocol,
  protocolNames,
  readProtocol,
  type TimingProtocol,
  type TrainFlagValues,
  type TrainingProtocol,
  trainFlags,
  type Variant,
} from './experiment/protocol.ts';
import { carryOutTimings } from './experiment/timing.ts';
import { usageError } from './failure.ts';
import { list, wholeNumber } from './flags.ts';
import { onInterrupt } from './interrupt.ts';
import { packageVersion } from './project.ts';
import { duration } from './quantity.ts';
import { shown } from './shown-path.ts';
import { textTable } from './text-table.ts';

type ExperimentFlags = {
  readonly data?: string;
  readonly run?: string;
  readonly seeds?: number;
  readonly models?: readonly string[];
  readonly jobs: number;
  readonly device: string;
  readonly threads?: number;
  readonly plan?: boolean;
} & Readonly<Record<string, string | undefined>>;

/** `ddrc experiment PROTOCOL`: carries a protocol out, and puts the results beside the paper's. */
export function add(program: Command): void {
  const command = program
    .command('experiment')
    .description('carry out a protocol: divide the data, train each network with each seed, and put the results beside the paper')
    .argument(
      '[protocol]',
      `${protocolNames().join(', ')}, or a file of your own (default, with --run: the one that was begun there)`,
    )
    .option('--data <path>', 'the images, as ddrc train takes them')
    .option('--run <folder>', 'where everything goes; given again, it goes on (default: runs/PROTOCOL)')
    .option('--seeds <n>', "how many seeds, from 0 (default: the protocol's)", wholeNumber(1, 1000))
    .option('--models <a,b>', "networks in place of the protocol's, as in ddrnet,resnet:depth=18", list);
  for (const flag of trainFlags) command.option(`--${flag} <value>`, "in place of the protocol's, as ddrc train has it");
  command
    .option('--jobs <n>', 'trainings side by side', wholeNumber(1, 64), 1)
    .option('--device <name>', 'auto, cpu, cuda or webgpu', 'auto')
    .option('--threads <n>', 'threads of one training (default: the processors, shared by the jobs)', wholeNumber(1, 256))
    .option('--plan', 'only show what would be done, and how long it takes')
    .addHelpText(
      'after',
      example(
        'ddrc experiment clean --data blood-cells --run runs/clean',
        'ddrc experiment paper --data blood-cells --size 64 --epochs 15 --plan',
        'ddrc experiment ablation --data blood-cells --seeds 3',
        'ddrc experiment clean --data blood-cells --models ddrnet,resnet:depth=18,vit',
        'ddrc experiment --run runs/clean',
      ),
    )
    .action(experiment);
}

async function experiment(name: string | undefined, flags: ExperimentFlags): Promise<void> {
  if (name === undefined && flags.run === undefined)
    throw usageError(
      'an experiment needs a protocol',
      'experiment',
      `give one of ${protocolNames().join(', ')}, or the --run that was begun`,
    );
  const folder = resolve(flags.run ?? join('runs', protocolWord(name!)));
  const before = readSettings(folder);
  const protocol = readProtocol(name ?? before?.protocol ?? missingRun(folder));
  const settings = settingsOf(protocol, name ?? before!.protocol, flags, before, folder);
  const jobs = flags.jobs;
  const threads = flags.threads ?? Math.max(1, Math.floor(availableParallelism() / jobs));
  const means = { jobs, device: flags.device, threads };
  const control = new AbortController();
  let exitCode = 0;
  const giveBack = onInterrupt((code) => {
    exitCode = code;
    control.abort();
  });
  try {
    const work = 'time' in protocol ? timings : trainings;
    await work(folder, protocol as never, settings, means, flags.plan ?? false, control.signal);
    process.exitCode = exitCode;
  } finally {
    giveBack();
  }
}

async function timings(
  folder: string,
  protocol: TimingProtocol,
  settings: ExperimentSettings,
  { threads }: Means,
  planOnly: boolean,
  signal: AbortSignal,
): Promise<void> {
  const { size, batch, steps, rounds } = protocol.time;
  const print = (line: string) => process.stderr.write(`${line}\n`);
  print(
    `${protocol.title}\n${settings.variants.map(({ name }) => name).join(', ')}: ${rounds} rounds of ${steps} steps, ${batch} images of ${size} px`,
  );
  if (planOnly) return;
  writeSettings(folder, settings);
  const whole = await carryOutTimings(folder, protocol, settings, threads, print, signal);
  finish(folder, writeTimingResults(folder, protocol, settings), whole);
}

async function trainings(
  folder: string,
  protocol: TrainingProtocol,
  settings: ExperimentSettings,
  means: Means,
  planOnly: boolean,
  signal: AbortSignal,
): Promise<void> {
  const runs = plannedRuns(protocol, settings);
  const tests = protocol.test !== 'none';
  const display = createProgress(process.stderr);
  if (!planOnly) writeSettings(folder, settings);
  const divided = await divideData(folder, protocol, settings, planOnly, (done, total) =>
    display.count('reading images', done, total),
  );
  display.end();
  for (const note of divided.notes) process.stderr.write(`note    ${note}\n`);
  const open = runs.filter((run) => stateOf(runFolder(folder, run), Number(settings.train.epochs), tests) !== 'done');
  process.stderr.write(`${protocol.title}\n`);
  const changed = departures(protocol, settings);
  if (changed.length > 0) process.stderr.write(`departs from the protocol: ${changed.join(', ')}\n`);
  const expected = await estimate(folder, open, settings, divided.counts, means, signal);
  if (!expected) return;
  process.stderr.write(`${planText(runs.length, open.length, expected, means.jobs)}\n`);
  if (planOnly) return;
  const progress = new WholeProgress(process.stderr, expected, runs.length, runs.length - open.length);
  const commands = new Map(open.map((run) => [run.name, trainArguments(folder, protocol, settings, run, means)]));
  try {
    const whole = await carryOut(commands, means.jobs, progress, signal);
    progress.clear();
    finish(folder, await writeResults(folder, protocol, settings, signal), whole);
  } catch (error) {
    progress.clear();
    await writeResults(folder, protocol, settings, signal);
    throw error;
  }
}

function planText(all: number, open: number, expected: ReadonlyMap<string, number>, jobs: number): string {
  const total = [...expected.values()].reduce((a, b) => a + b, 0);
  const rows = [...expected].map(([name, time]) => [name, `about ${duration(time)}`]);
  const beside = jobs > 1 ? `, ${jobs} side by side` : '';
  const head = `${all} trainings, ${all - open} of them done; about ${duration(total)} of computing left${beside}`;
  return rows.length > 0 ? `${head}\n${textTable(rows, ['left', 'right'])}` : head;
}

function finish(folder: string, file: string, whole: boolean): void {
  const next = whole ? '' : `stopped; go on with\n  npx ddrc experiment --run ${shown(folder)}\n`;
  process.stdout.write(`${next}${shown(file)}\n`);
}

const settingsName = 'experiment.json';

function readSettings(folder: string): ExperimentSettings | null {
  const file = join(folder, settingsName);
  if (!existsSync(file)) return null;
  try {
    const { settings } = JSON.parse(new TextDecoder().decode(readBytes(file))) as { settings: ExperimentSettings };
    if (typeof settings.protocol === 'string' && Array.isArray(settings.variants) && Array.isArray(settings.seeds))
      return settings;
  } catch (error) {
    if (error instanceof DdrcError) throw error;
  }
  throw new DdrcError({
    code: 'RUN_INVALID',
    message: `${file} is not the file of an experiment`,
    where: file,
    hint: 'restore it, or choose another --run',
  });
}

function writeSettings(folder: string, settings: ExperimentSettings): void {
  makeFolder(folder);
  const text = JSON.stringify({ version: 1, ddrc: packageVersion, settings }, null, 2);
  writeFileAtomic(join(folder, settingsName), new TextEncoder().encode(`${text}\n`));
}

function missingRun(folder: string): never {
  throw new DdrcError({
    code: 'RUN_INVALID',
    message: `there is no experiment in ${shown(folder)}`,
    where: folder,
    hint: `name a protocol: ${protocolNames().join(', ')}`,
  });
}

/** The protocol's settings with those of the flags; where the folder has an experiment, its settings, which the flags must not contradict. */
function settingsOf(
  protocol: Protocol,
  name: string,
  flags: ExperimentFlags,
  before: ExperimentSettings | null,
  folder: string,
): ExperimentSettings {
  const given = givenTrainFlags(flags);
  const trains = !('time' in protocol);
  if (!trains && Object.keys(given).length > 0)
    throw usageError(
      `--${Object.keys(given)[0]} has no meaning for a timing`,
      'experiment',
      'copy the protocol, change it, and name the file',
    );
  const data = flags.data === undefined ? (before?.data ?? null) : resolve(flags.data);
  if (trains && data === null)
    throw usageError(`the protocol ${protocol.name} needs --data`, 'experiment', 'name the folder of the images');
  const wanted: ExperimentSettings = {
    protocol: name,
    data: trains ? data : null,
    variants: flags.models?.map(variantOf) ?? before?.variants ?? protocol.variants,
    seeds: seedsOf(flags.seeds ?? before?.seeds.length ?? (trains ? protocol.seeds : 1)),
    train: { ...(trains ? protocol.train : {}), ...before?.train, ...given },
  };
  if (before) checkSame(before, wanted, folder);
  return wanted;
}

/** @throws DdrcError USAGE where an experiment would go on as another one; more seeds are none */
function checkSame(before: ExperimentSettings, wanted: ExperimentSettings, folder: string): void {
  const parts = (settings: ExperimentSettings) => ({
    protocol: settings.protocol,
    data: settings.data,
    models: settings.variants.map(({ name }) => name).join(),
    ...settings.train,
  });
  const [was, is] = [parts(before), parts(wanted)] as [Record<string, unknown>, Record<string, unknown>];
  const other = Object.keys({ ...was, ...is }).find((key) => was[key] !== is[key]);
  const fewer = wanted.seeds.length < before.seeds.length;
  if (other === undefined && !fewer) return;
  const [what, then, now] =
    fewer && other === undefined ? ['seeds', before.seeds.length, wanted.seeds.length] : [other, was[other!], is[other!]];
  throw usageError(
    `the experiment in ${shown(folder)} was begun with ${what} ${then}, not ${now}`,
    'experiment',
    'leave that flag out to go on, or choose another --run',
  );
}

function givenTrainFlags(flags: ExperimentFlags): TrainFlagValues {
  const camel = (name: string) => name.replaceAll(/-(.)/g, (_, letter: string) => letter.toUpperCase());
  const numeric = (text: string) => (text.trim() !== '' && Number.isFinite(Number(text)) ? Number(text) : text);
  const given = trainFlags.flatMap((name) => (flags[camel(name)] === undefined ? [] : [[name, numeric(flags[camel(name)]!)]]));
  return Object.fromEntries(given);
}

/** `resnet:depth=18;width=32` as a variant. */
function variantOf(text: string): Variant {
  const [model, ...rest] = text.split(':');
  const options = rest
    .join(':')
    .split(';')
    .filter((part) => part !== '');
  const pairs = options.map((part) => {
    const [name, value] = part.split('=');
    if (value === undefined)
      throw usageError(`--models: "${part}" is not of the form option=value`, 'experiment', 'as in resnet:depth=18');
    return [name, value];
  });
  return { name: text, model, options: Object.fromEntries(pairs) };
}

function seedsOf(count: number): number[] {
  return Array.from({ length: count }, (_, seed) => seed);
}

function protocolWord(name: string): string {
  return name.replace(/^.*[\\/]/, '').replace(/\.json$/, '');
}
