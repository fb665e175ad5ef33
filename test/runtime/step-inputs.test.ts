import { describe, expect, it } from 'vitest';
import type { Manifest, ManifestPort } from '../../contract/manifest.ts';
import { seed24 } from '../../numeric/random.ts';
import { engineState, loopBatches, loopScalars, stepScalars } from '../../runtime/step-inputs.ts';
import { manifest } from './softmax-regression.ts';

const port = (name: string, dtype: ManifestPort['dtype'] = 'float32'): ManifestPort => ({
  name,
  dtype,
  shape: [],
  role: name === 'seed' ? 'seed' : 'hyperparameter',
});
const taking = (optimizer: Manifest['optimizer'], ...inputs: ManifestPort[]): Manifest => ({
  ...manifest,
  optimizer,
  files: { 'step.onnx': { sha256: '', inputs, outputs: [] } },
});

describe('stepScalars', () => {
  const adam = taking({ kind: 'adam', beta1: 0.75, beta2: 0.999 }, port('learning_rate'), port('beta1'), port('step', 'int64'));
  const sgd = taking({ kind: 'sgd', momentum: 0.75, nesterov: true }, port('learning_rate'), port('momentum'));
  const numbers = (scalars: ReturnType<typeof stepScalars>) =>
    Object.fromEntries(Object.entries(scalars).map(([name, { dtype, shape, data }]) => [name, [dtype, shape.length, ...data]]));

  it("gives what the graph takes: the optimizer's own momentum where the schedule says none", () => {
    expect(numbers(stepScalars(adam, 41, { learningRate: 0.5 }, 0))).toEqual({
      learning_rate: ['float32', 0, 0.5],
      beta1: ['float32', 0, 0.75],
      step: ['int64', 0, 41n],
    });
    expect(numbers(stepScalars(sgd, 41, { learningRate: 0.5 }, 0))).toEqual({
      learning_rate: ['float32', 0, 0.5],
      momentum: ['float32', 0, 0.75],
    });
  });

  it("a cycle's momentum goes to Adam's beta1 and to SGD's momentum alike", () => {
    const rate = { learningRate: 0.5, beta1: 0.875 };
    expect([...stepScalars(adam, 0, rate, 0).beta1.data]).toEqual([0.875]);
    expect([...stepScalars(sgd, 0, rate, 0).momentum.data]).toEqual([0.875]);
  });

  it('draws the seed of a step from that of the training', () => {
    const dropout = taking({ kind: 'sgd' }, port('seed', 'int64'));
    const of = (step: number, seed: number) => stepScalars(dropout, step, { learningRate: 1 }, seed).seed.data[0];
    expect(of(3, 7)).toBe(BigInt(seed24(7, 3)));
    expect(new Set([of(3, 7), of(4, 7), of(3, 8)]).size).toBe(3);
  });
});

describe('engineState', () => {
  const parameters = Float32Array.from({ length: 15 }, (_, i) => i);
  const statistics = Float32Array.of(1, 2, 3, 4);

  it("names the optimizer's vectors as the manifest does, in its order, zero where there are none yet", () => {
    const moments = { ...manifest, slots: ['mean_square', 'velocity'] };
    const moment1 = new Float32Array(15).fill(5);
    expect(engineState(moments, { parameters, statistics, moment1 })).toEqual({
      parameters,
      statistics,
      mean_square: moment1,
      velocity: new Float32Array(15),
    });
  });

  it('has no statistics where the model has none', () => {
    expect(engineState({ ...manifest, slots: [] }, { parameters, statistics: new Float32Array(0) })).toEqual({ parameters });
  });
});

describe('what loop.onnx is fed with', () => {
  const adam = taking(
    { kind: 'adam', beta1: 0.75, beta2: 0.999 },
    ...[port('learning_rate'), port('beta1'), port('step', 'int64'), port('seed', 'int64')],
  );

  it('is the scalars of each step in turn, from the first on', () => {
    const schedule = (step: number) => ({ learningRate: step / 8, ...(step === 6 && { beta1: 0.5 }) });
    expect(loopScalars(adam, 5, 3, schedule, 7)).toEqual({
      learning_rate: { dtype: 'float32', shape: [3], data: Float32Array.of(0.625, 0.75, 0.875) },
      beta1: { dtype: 'float32', shape: [3], data: Float32Array.of(0.75, 0.5, 0.75) },
      step: { dtype: 'int64', shape: [3], data: BigInt64Array.of(5n, 6n, 7n) },
      seed: { dtype: 'int64', shape: [3], data: BigInt64Array.from([5, 6, 7], (step) => BigInt(seed24(7, step))) },
    });
  });

  it('has an axis of one step, too', () => {
    const { step, seed } = loopScalars(adam, 41, 1, () => ({ learningRate: 1 }), 'words');
    expect(step).toEqual({ dtype: 'int64', shape: [1], data: BigInt64Array.of(41n) });
    expect(seed).toEqual({ dtype: 'int64', shape: [1], data: BigInt64Array.of(BigInt(seed24('words', 41))) });
  });

  it('is the batches that lie one behind the other, in the same memory', () => {
    const x = { dtype: 'float32', shape: [6, 2, 5], data: Float32Array.from({ length: 60 }, (_, i) => i) } as const;
    const label = { dtype: 'int64', shape: [6], data: BigInt64Array.of(0n, 1n, 2n, 3n, 4n, 5n) } as const;
    const feeds = { x: { ...x, shape: [...x.shape] }, label: { ...label, shape: [...label.shape] } };
    const batches = loopBatches(feeds, 3);
    expect([batches.x.shape, batches.label.shape]).toEqual([
      [3, 2, 2, 5],
      [3, 2],
    ]);
    expect([batches.x.dtype, batches.label.dtype]).toEqual(['float32', 'int64']);
    expect(batches.x.data).toBe(x.data);
    expect(batches.label.data).toBe(label.data);
    expect(loopBatches(feeds, 1).x.shape).toEqual([1, 6, 2, 5]);
  });
});
