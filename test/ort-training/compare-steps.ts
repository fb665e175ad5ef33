import { expect } from 'vitest';
import { difference, type Pair, peak } from './pair.ts';

export const rate = 1e-3;
export const adam = { kind: 'adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 } as const;

/** Two implementations in float32 that sum in different orders: the bound of the comparison with PyTorch. */
export const bound = (values: ArrayLike<number>) => 1e-4 * peak(values) + 1e-7;

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
    // Adam divides by the root of the mean square of the gradients so far: where these are as small as their errors, the errors decide.
    const gradient = gradients.data as Float32Array;
    const decided = Math.max(1e-4, 10 * bound(gradient));
    const exact = 5e-3 * rate + 2e-7 * peak(parameters);
    const isDecided = ours.state.moment2.map((v) => Number(Math.sqrt(v / (1 - adam.beta2)) >= decided));
    const off = parameters.map((value, i) => Math.abs(value - theirs.state.parameters[i]) / (isDecided[i] ? exact : 2.01 * rate));
    expect(isDecided.reduce((a, b) => a + b) / isDecided.length).toBeGreaterThan(0.3);
    expect(peak(off), `parameters after step ${step}`).toBeLessThanOrEqual(1);
    expect(difference(parameters, before.parameters)).toBeGreaterThan(0.5 * rate);
    before = ours.state;
  }
}
