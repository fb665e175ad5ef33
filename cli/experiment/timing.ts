import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { DdrcError } from '../../diagnostics/error.ts';
import { appendLine, readLines } from '../../runtime/files.ts';
import { runDdrc } from './ddrc-process.ts';
import { modelFileOf, optionFlags } from './plan.ts';
import type { TimingProtocol, Variant } from './protocol.ts';

/** How fast training steps are, as `ddrc bench --json` has it. */
export interface Speed {
  readonly parameters: number;
  readonly threads: number;
  readonly train_img_s_best: number;
  readonly train_img_s_median: number;
  readonly infer_img_s_median: number;
}

/** A line of an experiment's timing.jsonl. */
export interface Timing extends Speed {
  readonly variant: string;
  readonly round: number;
}

export interface SpeedRequest {
  readonly size: number;
  readonly batch: number;
  readonly steps: number;
  readonly threads: number;
  readonly device?: string;
}

/**
 * Times a variant's training step and inference in a process of its own.
 * @returns null where the signal ended it
 * @throws DdrcError EXPERIMENT_RUN
 */
export async function measureSpeed(variant: Variant, request: SpeedRequest, signal: AbortSignal): Promise<Speed | null> {
  const { size, batch, steps, threads, device = 'cpu' } = request;
  const flags = Object.entries({ size, batch, steps, threads, device }).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const args = ['bench', modelFileOf(variant), ...flags, ...optionFlags(variant), '--json'];
  const { code, stdout, said } = await runDdrc(args, signal);
  if (signal.aborted) return null;
  if (code === 0) return JSON.parse(stdout);
  throw new DdrcError({
    code: 'EXPERIMENT_RUN',
    message: `a training step of ${variant.name} cannot be timed`,
    notes: [{ label: 'it said', text: said.trim() }],
    hint: 'mend what it says, and give the same command again',
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
 * @throws DdrcError EXPERIMENT_RUN; USAGE where earlier rounds had another number of threads
 */
export async function carryOutTimings(
  folder: string,
  { time, variants }: TimingProtocol,
  threads: number,
  print: (line: string) => void,
  signal: AbortSignal,
): Promise<boolean> {
  const other = readTimings(folder).find((timing) => timing.threads !== threads);
  if (other) {
    const message = `the earlier rounds were timed with ${other.threads} threads, not with ${threads}`;
    throw new DdrcError({
      code: 'USAGE',
      message,
      where: '--threads',
      hint: `give --threads ${other.threads}, or choose another --run`,
    });
  }
  for (let round = 1; round <= time.rounds; round++) {
    for (const variant of variants) {
      if (readTimings(folder).some((timing) => timing.variant === variant.name && timing.round === round)) continue;
      const speed = await measureSpeed(variant, { ...time, threads }, signal);
      if (!speed) return false;
      appendLine(join(folder, 'timing.jsonl'), { variant: variant.name, round, ...speed });
      print(`round ${round} of ${time.rounds}  ${variant.name}  ${speed.train_img_s_median} images a second in training`);
    }
  }
  return true;
}
