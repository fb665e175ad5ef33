import type { OptimizerSpec } from '../compiler/ir/program.ts';
import { DdrcError } from '../diagnostics/error.ts';
import type { Schedule } from '../runtime/schedule.ts';

/** Rates that a table may have: 4 MB of them. */
const MOST_STEPS = 1_000_000;

/**
 * The learning rate of each step, up to the one from which on it stays.
 * @throws DdrcError ARTIFACTS_UNFIT where the schedule changes more than the rate
 */
export function rateTable(schedule: Schedule, steps: number, optimizer: OptimizerSpec): number[] {
  if (steps > MOST_STEPS) {
    const message = `a schedule over ${steps} steps is too long: its rates are written into the optimizer, at most ${MOST_STEPS} of them`;
    throw new DdrcError({
      code: 'ARTIFACTS_UNFIT',
      message,
      where: '--schedule',
      hint: 'give a shorter one, or --schedule constant',
    });
  }
  const rates = Array.from({ length: steps }, (_, step) => schedule(step));
  if ((optimizer.kind === 'adam' || optimizer.kind === 'adamw') && rates.some(({ beta1 }) => beta1 !== undefined)) {
    throw new DdrcError({
      code: 'ARTIFACTS_UNFIT',
      message: "one-cycle changes Adam's beta1 from step to step, and in ONNX Runtime's AdamWOptimizer it is a constant",
      where: '--schedule',
      hint: 'give a --schedule of another kind, as cosine+warmup=100 (the model may ask for one-cycle), or --optimizer sgd',
    });
  }
  const numbers = rates.map((rate) => rate.learningRate);
  const last = numbers.findLastIndex((rate, i) => i > 0 && rate !== numbers[i - 1]);
  return numbers.slice(0, Math.max(1, last + 1));
}
