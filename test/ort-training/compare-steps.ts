import { expect } from 'vitest';
import { random } from '../../numeric/random.ts';
import { difference, type Pair, peak, type Stepped } from './pair.ts';

export const rate = 1e-3;
export const adam = { kind: 'adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 } as const;

/** Two implementations in float32 that sum in different orders: the bound of the comparison with PyTorch. */
export const bound = (values: ArrayLike<number>) => 1e-4 * peak(values) + 1e-7;

/**
 * How far each parameter may be off after a step of Adam whose gradient may be off by its {@link bound}. Adam divides by the root of the mean square of the gradients
 * so far, so an error of e moves a parameter by no more than about 2·rate·e / root, and by 2·rate at most.
 */
function allowances({ outputs, state: { parameters, moment2 } }: Stepped, step: number): Float32Array {
  const exact = 5e-3 * rate + 2e-7 * peak(parameters);
  const error = bound(outputs.gradients.data as Float32Array);
  return moment2.map((v) => exact + 2 * rate * Math.min(1, error / Math.sqrt(v / (1 - adam.beta2 ** (step + 1)))));
}

/**
 * Takes steps by the stock engine, and each of them by the training artifacts too, from the state that the stock engine is in, so that rounding does not add up.
 * The pair is one of {@link adam} at {@link rate}.
 */
export async function compareSteps(pair: Pair, steps: number): Promise<void> {
  let before = await pair.stock.state();
  for (let step = 0; step < steps; step++) {
    const ours = await pair.stockStep(step, rate);
    const theirs = await pair.ortStep(before, step);
    const { gradients, ...outputs } = ours.outputs;
    expect(Object.keys(theirs.outputs).sort()).toEqual(Object.keys(outputs).sort());
    for (const [output, { shape, data }] of Object.entries(outputs)) {
      const other = theirs.outputs[output];
      expect(other.shape).toEqual(shape);
      expect(difference(other.data as Float32Array, data as Float32Array), output).toBeLessThanOrEqual(
        bound(data as Float32Array),
      );
    }
    const { parameters, statistics } = ours.state;
    if (statistics) expect(difference(theirs.state.statistics, statistics)).toBeLessThanOrEqual(bound(statistics));
    const allowed = allowances(ours, step);
    expect(allowed.filter((most) => most < 0.25 * rate).length / allowed.length).toBeGreaterThan(0.3);
    const off = (stepped: Stepped) =>
      peak(stepped.state.parameters.map((value, i) => (value - theirs.state.parameters[i]) / allowed[i]));
    const worst = [off(ours)];
    // Where a ReLU's input is zero but for rounding, or two elements tie for a maximum, the gradient jumps, and rounding decides to which side: from parameters that
    // are off by half a unit in the last place, the stock engine jumps too.
    for (let nudge = 0; nudge < 4 && Math.min(...worst) > 1; nudge++) {
      const next = random('nudge', nudge);
      const nudged = before.parameters.map((value) => value * (1 + 1.2e-7 * (next() - 0.5)));
      await pair.stock.load({ ...before, parameters: nudged });
      worst.push(off(await pair.stockStep(step, rate)));
    }
    expect(Math.min(...worst), `parameters after step ${step}`).toBeLessThanOrEqual(1);
    expect(difference(parameters, before.parameters)).toBeGreaterThan(0.5 * rate);
    if (worst.length > 1) await pair.stock.load(ours.state);
    before = ours.state;
  }
}
