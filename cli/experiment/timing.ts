import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { DdrcError } from '../../diagnostics/error.ts';
import { appendLine, readLines } from '../../runtime/files.ts';
import { packageRoot } from '../project.ts';
import { type ExperimentSettings, modelFileOf, optionFlags } from './plan.ts';
import type { TimingProtocol, Variant } from './protocol.ts';

/** How fast training steps are, as `ddrc bench --json` has it. */
export interface Speed {
  readonly parameters: number;
  readonly train_img_s_best: number;
  readonly train_img_s_median: number;
  readonly infer_img_s_median: number;
}

/** A line of an experiment's timing.jsonl. */
export interface Timing extends Speed {
  readonly variant: string;
  readonly round: number;
}

/**
 * Times a variant's training step and inference in a process of its own.
 * @throws DdrcError EXPERIMENT_RUN
 */
export function measureSpeed(
  variant: Variant,
  {
    size,
    batch,
    steps,
    threads,
  }: { readonly size: number; readonly batch: number; readonly steps: number; readonly threads: number },
  signal: AbortSignal,
): Promise<Speed | null> {
  const flags = { size, batch, steps, threads };
  const args = [
    'bench',
    modelFileOf(variant),
    ...Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]),
    ...optionFlags(variant),
    '--json',
  ];
  const child = spawn(process.execPath, [join(packageRoot, 'dist', 'cli', 'main.js'), ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    signal,
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  return new Promise((resolve, reject) => {
    child.on('error', () => {});
    child.on('close', (code) => {
      if (signal.aborted) return resolve(null);
      if (code === 0) return resolve(JSON.parse(stdout));
      reject(
        new DdrcError({
          code: 'EXPERIMENT_RUN',
          message: `${variant.name} cannot be timed`,
          notes: [{ label: 'it said', text: stderr.trim().slice(-1000) }],
          where: `ddrc ${args.join(' ')}`,
          hint: 'mend what it says, and give the same command again',
        }),
      );
    });
  });
}

/** The timings that are there. */
export function readTimings(folder: string): Timing[] {
  const file = join(folder, 'timing.jsonl');
  return existsSync(file) ? (readLines(file) as Timing[]) : [];
}

/**
 * Times all variants, round after round, what is there already left out.
 * @returns whether all is there; false where the signal ended it
 */
export async function carryOutTimings(
  folder: string,
  { time }: TimingProtocol,
  { variants }: ExperimentSettings,
  threads: number,
  print: (line: string) => void,
  signal: AbortSignal,
): Promise<boolean> {
  for (let round = 1; round <= time.rounds; round++) {
    for (const variant of variants) {
      const has = readTimings(folder).some((timing) => timing.variant === variant.name && timing.round === round);
      if (has) continue;
      const speed = await measureSpeed(variant, { ...time, threads }, signal);
      if (!speed) return false;
      appendLine(join(folder, 'timing.jsonl'), { variant: variant.name, round, ...speed });
      print(`round ${round} of ${time.rounds}  ${variant.name}  ${speed.train_img_s_median} images a second in training`);
    }
  }
  return true;
}
