import type { Means } from './carry-out.ts';
import type { DividedData } from './divided-data.ts';
import { type PlannedRun, readMetrics } from './plan.ts';
import type { TrainingProtocol } from './protocol.ts';
import { measureSpeed, type Speed } from './timing.ts';

/**
 * How long the rest of trainings takes on this machine, in ms by their names, from a few steps of each network. Reading the images comes on top.
 * @returns null where the signal ended it
 * @throws DdrcError EXPERIMENT_RUN where a network cannot be trained at all
 */
export async function estimate(
  runs: readonly PlannedRun[],
  { train }: TrainingProtocol,
  { counts }: DividedData,
  { threads, device }: Means,
  signal: AbortSignal,
): Promise<Map<string, number> | null> {
  const [size, batch, epochs] = [train.size, train.batch, train.epochs].map(Number);
  // What fits into memory in parts only is timed by a part.
  const part = batch / Number(train.accumulate ?? 1);
  const speeds = new Map<string, Speed>();
  for (const { variant } of runs) {
    if (speeds.has(variant.name)) continue;
    const speed = await measureSpeed(variant, { size, batch: part, steps: 2, threads, device }, signal);
    if (!speed) return null;
    speeds.set(variant.name, speed);
  }
  const times = runs.map((run): [string, number] => {
    const { train_img_s_best: training, infer_img_s_median: inference } = speeds.get(run.variant.name)!;
    const images = counts(run);
    const left = Math.max(0, epochs - readMetrics(run.folder).epochs.length);
    return [run.name, 1000 * (left * (images.train / training + images.val / inference) + images.test / inference)];
  });
  return new Map(times);
}
