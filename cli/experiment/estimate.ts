import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { readLines } from '../../runtime/files.ts';
import { type DividedData, type Means, runFolder } from './carry-out.ts';
import type { ExperimentSettings, PlannedRun } from './plan.ts';
import { measureSpeed, type Speed } from './timing.ts';

/**
 * How long trainings take on this machine, in ms by their names, from a few steps of each network. Reading the images comes on top.
 * @returns null where the signal ended it
 */
export async function estimate(
  folder: string,
  runs: readonly PlannedRun[],
  { train }: ExperimentSettings,
  counts: DividedData['counts'],
  { threads, jobs }: Means,
  signal: AbortSignal,
): Promise<Map<string, number> | null> {
  const [size, batch, epochs] = [train.size, train.batch, train.epochs].map(Number);
  const speeds = new Map<string, Speed>();
  for (const { variant } of runs) {
    if (speeds.has(variant.name)) continue;
    const speed = await measureSpeed(variant, { size, batch, steps: 2, threads }, signal);
    if (!speed) return null;
    speeds.set(variant.name, speed);
  }
  const times = runs.map((run): [string, number] => {
    const { train_img_s_best: training, infer_img_s_median: inference } = speeds.get(run.variant.name)!;
    const images = counts(run);
    const left = epochs - epochsDone(runFolder(folder, run));
    const seconds = left * (images.train / training + images.val / inference) + images.test / inference;
    return [run.name, (1000 * seconds) / jobs];
  });
  return new Map(times);
}

function epochsDone(folder: string): number {
  const metrics = join(folder, 'metrics.jsonl');
  if (!existsSync(metrics)) return 0;
  return (readLines(metrics) as { readonly epoch?: number }[]).reduce((most, { epoch = 0 }) => Math.max(most, epoch), 0);
}
