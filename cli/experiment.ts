import { existsSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { counted } from '../diagnostics/counted.ts';
import { DdrcError } from '../diagnostics/error.ts';
import { shellWord } from '../diagnostics/shell-word.ts';
import { makeFolder } from '../runtime/files.ts';
import { createProgress } from '../runtime/progress.ts';
import { lockFolder } from '../runtime/runfolder.ts';
import { example } from './example.ts';
import { type CarriedOut, carryOut, type Means, trainArguments } from './experiment/carry-out.ts';
import { openData, writeManifests } from './experiment/divided-data.ts';
import { writeResults, writeTimingResults } from './experiment/document.ts';
import { estimate } from './experiment/estimate.ts';
import { plannedRuns, stateOf } from './experiment/plan.ts';
import { WholeProgress } from './experiment/progress.ts';
import {
  type Protocol,
  protocolNames,
  type TimingProtocol,
  type TrainFlagValues,
  type TrainingProtocol,
  trainFlagNames,
  trainFlags,
} from './experiment/protocol.ts';
import {
  type AskedFor,
  allDepartures,
  askedAnew,
  checkNew,
  type ExperimentSettings,
  readSettings,
  requireExperiment,
  settingsFor,
  writeSettings,
} from './experiment/settings.ts';
import { carryOutTimings, readTimings } from './experiment/timing.ts';
import { usageError } from './failure.ts';
import { decimal, list, wholeNumber } from './flags.ts';
import { onInterrupt } from './interrupt.ts';
import { missingFolders, removeFolders } from './missing-folders.ts';
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
} & Readonly<Record<string, string | number | true | undefined>>;

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
  for (const [flag, kind] of Object.entries(trainFlags)) addTrainFlag(command, flag, kind);
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

function addTrainFlag(command: Command, flag: string, kind: (typeof trainFlags)[keyof typeof trainFlags]): void {
  const text = "in place of the protocol's, as ddrc train has it";
  if (kind === 'set') command.option(`--${flag}`, text);
  else if (kind === 'text') command.option(`--${flag} <text>`, text);
  else command.option(`--${flag} <n>`, text, kind === 'count' ? wholeNumber(1) : decimal(0, true));
}

async function experiment(protocol: string | undefined, flags: ExperimentFlags): Promise<void> {
  if (protocol === undefined && flags.run === undefined) {
    const hint = `give one of ${protocolNames().join(', ')}, or the --run that was begun`;
    throw usageError('an experiment needs a protocol', 'experiment', hint);
  }
  const folder = resolve(flags.run ?? join('runs', protocol!.replace(/^.*[\\/]/, '').replace(/\.json$/, '')));
  const { data, seeds, models } = flags;
  const asked: AskedFor = { protocol, data, seeds, models, train: givenTrainFlags(flags) };
  const before = protocol === undefined ? requireExperiment(folder) : readSettings(folder);
  const goesOn = before !== null && hasBegun(folder, before.protocol);
  const wanted = protocol === undefined && !goesOn ? askedAnew(before!, asked) : asked;
  const settings = settingsFor(wanted, goesOn ? before : null, folder);
  const control = new AbortController();
  let exitCode = 0;
  const giveBack = onInterrupt((code) => {
    exitCode = code;
    control.abort();
  });
  const planOnly = flags.plan ?? false;
  if (before === null) checkNew(folder, settings.data);
  const made = planOnly ? [] : missingFolders(folder);
  if (!planOnly) makeFolder(folder);
  const unlock = planOnly ? () => {} : lockFolder(folder);
  try {
    const request = { folder, settings, flags, planOnly, signal: control.signal };
    if ('time' in settings.protocol) await timings({ ...request, protocol: settings.protocol });
    else await trainings({ ...request, protocol: settings.protocol });
    if (exitCode !== 0) process.exitCode = exitCode;
  } finally {
    unlock();
    removeFolders(made);
    giveBack();
  }
}

/** Whether there is a training or a timing, so that no other settings may be given. */
function hasBegun(folder: string, protocol: Protocol): boolean {
  if ('time' in protocol) return readTimings(folder).length > 0;
  const runs = join(folder, 'runs');
  return existsSync(runs) && readdirSync(runs).some((name) => existsSync(join(runs, name, 'config.json')));
}

function givenTrainFlags(flags: ExperimentFlags): TrainFlagValues {
  const camel = (name: string) => name.replaceAll(/-(.)/g, (_, letter: string) => letter.toUpperCase());
  const given = trainFlagNames.flatMap((name) => (flags[camel(name)] === undefined ? [] : [[name, flags[camel(name)]]]));
  return Object.fromEntries(given);
}

interface Request<P> {
  readonly folder: string;
  readonly protocol: P;
  readonly settings: ExperimentSettings;
  readonly flags: ExperimentFlags;
  readonly planOnly: boolean;
  readonly signal: AbortSignal;
}

async function timings({ folder, protocol, settings, flags, planOnly, signal }: Request<TimingProtocol>): Promise<void> {
  const { size, batch, steps, rounds } = protocol.time;
  const names = protocol.variants.map(({ name }) => name).join(', ');
  say(
    `${protocol.title}\n${names}: ${counted(rounds, 'round')} of ${counted(steps, 'step')}, ${counted(batch, 'image')} of ${size} px`,
  );
  if (planOnly) return;
  writeSettings(folder, settings);
  const whole = await carryOutTimings(folder, protocol, flags.threads ?? availableParallelism(), say, signal);
  finish(folder, writeTimingResults(folder, protocol, settings), { stopped: !whole, failures: new Map() });
}

async function trainings({ folder, protocol, settings, flags, planOnly, signal }: Request<TrainingProtocol>): Promise<void> {
  const runs = plannedRuns(folder, protocol, settings.seeds);
  const open = runs.filter((run) => stateOf(run, protocol) !== 'done');
  say(protocol.title);
  const departures = allDepartures(settings);
  if (departures.length > 0) say(`departs from the protocol: ${departures.join(', ')}`);
  if (open.length === 0) {
    say(`${counted(runs.length, 'training')}, all of them done`);
    if (!planOnly)
      finish(folder, await writeResults(folder, protocol, settings, new Map(), signal), { stopped: false, failures: new Map() });
    return;
  }
  const jobs = Math.min(flags.jobs, open.length);
  const threads = flags.threads ?? Math.max(1, Math.floor(availableParallelism() / jobs));
  const means: Means = { jobs, device: flags.device, threads };
  const data = openData(protocol, settings.data!);
  checkContents(settings, data.contents);
  const expected = await estimate(open, protocol, data, means, signal);
  if (expected) say(planText(runs.length, open.length, expected, jobs));
  if (!expected || planOnly) return;
  const checked = { ...settings, contents: data.contents };
  writeSettings(folder, checked);
  const display = createProgress(process.stderr);
  try {
    const notes = await writeManifests(folder, protocol, data, settings.seeds, (done, total) => {
      signal.throwIfAborted();
      display.count('reading images', done, total);
    });
    for (const note of notes) display.print(`note    ${note}`);
  } catch (error) {
    if (!signal.aborted) throw error;
    sayHowToGoOn(folder);
    return;
  } finally {
    display.end();
  }
  const progress = new WholeProgress(process.stderr, expected, runs.length, runs.length - open.length, jobs);
  const commands = new Map(open.map((run) => [run.name, trainArguments(folder, protocol, run, data, means)]));
  const outcome = await carryOut(commands, jobs, progress, signal);
  progress.clear();
  finish(folder, await writeResults(folder, protocol, checked, outcome.failures, signal), outcome);
}

/** @throws DdrcError RESUME_DIFFERS where the images are not those that the experiment was begun with */
function checkContents({ contents, data }: ExperimentSettings, now: string): void {
  if (contents === null || contents === now) return;
  throw new DdrcError({
    code: 'RESUME_DIFFERS',
    message: 'the images are not those that the experiment was begun with',
    where: data!,
    hint: 'bring them back as they were, or choose another --run',
  });
}

function planText(all: number, open: number, expected: ReadonlyMap<string, number>, jobs: number): string {
  const total = [...expected.values()].reduce((a, b) => a + b, 0) / jobs;
  const beside = jobs > 1 ? `, ${jobs} side by side` : '';
  const head = `${counted(all, 'training')}, ${all - open} of them done; about ${duration(total)} of steps left${beside}, besides starting, reading and reporting`;
  const rows = [...expected].map(([name, time]) => [name, `about ${duration(time)}`]);
  return `${head}\n${textTable(rows, ['left', 'right'])}`;
}

/** @throws DdrcError EXPERIMENT_RUN where trainings failed */
function finish(folder: string, file: string, { stopped, failures }: CarriedOut): void {
  if (stopped) sayHowToGoOn(folder);
  process.stdout.write(`${shown(file)}\n`);
  if (failures.size === 0) return;
  throw new DdrcError({
    code: 'EXPERIMENT_RUN',
    message: failures.size === 1 ? 'a training failed' : `${failures.size} trainings failed`,
    notes: [...failures].slice(0, 5).map(([label, text]) => ({ label, text })),
    where: folder,
    hint: 'mend what they say, and give the same command again: what is done stays',
  });
}

function sayHowToGoOn(folder: string): void {
  process.stdout.write(`stopped; go on with\n  npx ddrc experiment --run ${shellWord(shown(folder))}\n`);
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}
