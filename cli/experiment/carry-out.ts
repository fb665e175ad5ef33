/*
 * Carries the trainings of an experiment out, each by `ddrc train` in a process of its own: what one leaves in memory slows no other, and several can run side by side.
 */
import { runDdrc } from './ddrc-process.ts';
import { type DividedData, manifestOf } from './divided-data.ts';
import { modelFileOf, optionFlags, type PlannedRun, stateOf } from './plan.ts';
import type { WholeProgress } from './progress.ts';
import type { TrainFlagValues, TrainingProtocol } from './protocol.ts';

/** What an experiment is carried out with. */
export interface Means {
  /** Trainings side by side. */
  readonly jobs: number;
  readonly device: string;
  /** Of each training. */
  readonly threads: number;
}

/** The arguments of `ddrc train` for a run that begins, or goes on. */
export function trainArguments(
  folder: string,
  protocol: TrainingProtocol,
  run: PlannedRun,
  { counts }: DividedData,
  { device, threads }: Means,
): string[] {
  const means = ['--device', device, '--threads', String(threads)];
  if (stateOf(run, protocol) !== 'open') return ['train', '--resume', run.folder, ...means];
  return [
    'train',
    modelFileOf(run.variant),
    '--data',
    manifestOf(folder, protocol, run),
    '--val',
    counts(run).val > 0 ? 'val' : 'none',
    ...(protocol.test === 'none' ? ['--test', 'none'] : []),
    ...flagsOf(protocol.train),
    ...optionFlags(run.variant),
    '--seed',
    String(run.seed),
    '--run',
    run.folder,
    ...means,
  ];
}

/** Flags as a command line has them. */
export function flagsOf(values: TrainFlagValues): string[] {
  return Object.entries(values).flatMap(([name, value]) => (value === true ? [`--${name}`] : [`--${name}`, String(value)]));
}

/** What became of trainings. */
export interface CarriedOut {
  /** Whether the signal stopped them. */
  readonly stopped: boolean;
  /** What those said that failed, by name. */
  readonly failures: ReadonlyMap<string, string>;
}

/**
 * Runs trainings, several side by side. One that fails does not keep the others from being done.
 * @param commands the arguments of each, by the name of its run
 * @param signal asks those that are running to stop, which leaves checkpoints
 */
export async function carryOut(
  commands: ReadonlyMap<string, readonly string[]>,
  jobs: number,
  progress: WholeProgress,
  signal: AbortSignal,
): Promise<CarriedOut> {
  const waiting = [...commands];
  const failures = new Map<string, string>();
  const work = async () => {
    for (let next = waiting.shift(); next && !signal.aborted; next = waiting.shift()) {
      const [name, args] = next;
      progress.begin(name);
      const { code, said } = await runDdrc(args, signal, (line) => progress.line(name, line));
      progress.end(name, code === 0);
      if (code !== 0 && !signal.aborted)
        failures.set(
          name,
          said
            .trim()
            .split(/[\r\n]+/)
            .slice(-3)
            .join('\n'),
        );
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
  return { stopped: signal.aborted, failures };
}
