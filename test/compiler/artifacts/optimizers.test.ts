import { describe, expect, it } from 'vitest';
import { appendOptimizer } from '../../../compiler/artifacts/optimizers.ts';
import { Graph } from '../../../compiler/ir/graph.ts';
import { ndarray, scalar } from '../../../compiler/ir/ndarray.ts';
import type { OptimizerSpec } from '../../../compiler/ir/program.ts';
import { operators } from '../../../compiler/ops/index.ts';
import { interpret } from '../../../compiler/passes/interpret.ts';

const start = [1, -2, 0.5];
const gradients = [
  [0.3, -0.1, 2],
  [-0.2, 0.4, 1],
  [0.1, 0.1, -3],
];

/** Parameters after three steps of the graph that `appendOptimizer` writes, with the spec's momentum or another one for each step. */
function run(spec: OptimizerSpec, clipNorm: number, rate: number, momenta?: readonly number[]): number[] {
  const graph = new Graph('test', 'training', operators);
  const p = graph.input('parameters', { dtype: 'float32', shape: [3] }, 'state');
  const g = graph.input('g', { dtype: 'float32', shape: [3] }, 'data');
  const update = appendOptimizer(graph, spec, clipNorm, p, g);
  const input = (name: string) => graph.inputs.find((value) => value.name === name);
  let parameters = ndarray([3], start);
  let slots = update.slots.map(() => ndarray([3], [0, 0, 0]));
  gradients.forEach((gradient, step) => {
    const feeds = new Map([
      [p, parameters],
      [g, ndarray([3], gradient)],
      [input('learning_rate')!, scalar(rate)],
    ]);
    update.slots.forEach((slot, i) => {
      feeds.set(slot.before, slots[i]);
    });
    const own = 'momentum' in spec ? spec.momentum : spec.beta1;
    const momentum = momenta?.[step] ?? own;
    for (const [name, value] of [
      ['beta1', momentum],
      ['momentum', momentum],
      ['step', step],
    ] as const) {
      const port = input(name);
      if (port) feeds.set(port, scalar(value));
    }
    const [next, ...after] = interpret(graph, feeds, [update.parameters, ...update.slots.map((slot) => slot.after)]);
    parameters = next;
    slots = after;
  });
  return [...parameters.data];
}

/** The same three steps by the formulas, one number at a time. */
function byHand(update: (p: number, g: number, state: number[], t: number) => number, clip = (g: number[]) => g): number[] {
  return start.map((value, i) => {
    const state = [0, 0];
    return gradients.reduce((p, gradient, t) => update(p, clip(gradient)[i], state, t + 1), value);
  });
}

function agree(actual: number[], expected: number[]): void {
  actual.forEach((value, i) => {
    expect(Math.abs(value - expected[i])).toBeLessThan(1e-12 * Math.max(1, Math.abs(expected[i])));
  });
}

describe('optimizers follow their formulas in double precision', () => {
  const adam = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
  const adamStep = (p: number, g: number, s: number[], t: number, rate: number) => {
    s[0] = 0.9 * s[0] + 0.1 * g;
    s[1] = 0.999 * s[1] + (1 - 0.999) * g * g;
    return p - (rate * (s[0] / (1 - 0.9 ** t))) / (Math.sqrt(s[1] / (1 - 0.999 ** t)) + 1e-8);
  };

  it('Adam', () => {
    agree(
      run({ kind: 'adam', ...adam, weightDecay: 0 }, 0, 0.1),
      byHand((p, g, s, t) => adamStep(p, g, s, t, 0.1)),
    );
  });

  it('Adam with decay adds it to the gradient, AdamW to the parameters', () => {
    agree(
      run({ kind: 'adam', ...adam, weightDecay: 0.1 }, 0, 0.1),
      byHand((p, g, s, t) => adamStep(p, g + 0.1 * p, s, t, 0.1)),
    );
    agree(
      run({ kind: 'adamw', ...adam, weightDecay: 0.1 }, 0, 0.1),
      byHand((p, g, s, t) => adamStep(p - 0.1 * 0.1 * p, g, s, t, 0.1)),
    );
  });

  it('SGD: plain, with momentum, with Nesterov', () => {
    const sgd = { kind: 'sgd', momentum: 0, nesterov: false, weightDecay: 0 } as const;
    agree(
      run(sgd, 0, 0.1),
      byHand((p, g) => p - 0.1 * g),
    );
    const heavy = (nesterov: boolean) => (p: number, g: number, s: number[]) => {
      s[0] = 0.9 * s[0] + g;
      return p - 0.1 * (nesterov ? g + 0.9 * s[0] : s[0]);
    };
    agree(run({ ...sgd, momentum: 0.9 }, 0, 0.1), byHand(heavy(false)));
    agree(run({ ...sgd, momentum: 0.9, nesterov: true }, 0, 0.1), byHand(heavy(true)));
  });

  it('takes another momentum with each step, as a cycle feeds it', () => {
    const momenta = [0.95, 0.85, 0.9];
    const sgd = { kind: 'sgd', momentum: 0.9, nesterov: true, weightDecay: 0 } as const;
    const heavy = (p: number, g: number, s: number[], t: number) => {
      s[0] = momenta[t - 1] * s[0] + g;
      return p - 0.1 * (g + momenta[t - 1] * s[0]);
    };
    agree(run(sgd, 0, 0.1, momenta), byHand(heavy));
    const rmsprop = { kind: 'rmsprop', alpha: 0.99, epsilon: 1e-8, weightDecay: 0, momentum: 0.9 } as const;
    const squares = (p: number, g: number, s: number[], t: number) => {
      s[0] = 0.99 * s[0] + (1 - 0.99) * g * g;
      s[1] = momenta[t - 1] * s[1] + g / (Math.sqrt(s[0]) + 1e-8);
      return p - 0.01 * s[1];
    };
    agree(run(rmsprop, 0, 0.01, momenta), byHand(squares));
  });

  it('RMSprop with and without momentum', () => {
    const rmsprop = (momentum: number) => (p: number, g: number, s: number[]) => {
      s[0] = 0.99 * s[0] + (1 - 0.99) * g * g;
      s[1] = momentum * s[1] + g / (Math.sqrt(s[0]) + 1e-8);
      return p - 0.01 * s[1];
    };
    const spec = { kind: 'rmsprop', alpha: 0.99, epsilon: 1e-8, weightDecay: 0 } as const;
    agree(run({ ...spec, momentum: 0 }, 0, 0.01), byHand(rmsprop(0)));
    agree(run({ ...spec, momentum: 0.9 }, 0, 0.01), byHand(rmsprop(0.9)));
  });

  it('clips by the global norm, and leaves shorter gradients alone', () => {
    const clip = (g: number[]) => {
      const factor = Math.min(1, 1.5 / (Math.hypot(...g) + 1e-6));
      return g.map((value) => value * factor);
    };
    const sgd = { kind: 'sgd', momentum: 0, nesterov: false, weightDecay: 0 } as const;
    agree(
      run(sgd, 1.5, 0.1),
      byHand((p, g) => p - 0.1 * g, clip),
    );
    expect(clip(gradients[1])).toEqual(gradients[1]);
  });
});
