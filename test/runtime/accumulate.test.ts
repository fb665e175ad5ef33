import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { asTensors, compileTraining } from '../../cli/compile-for-device.ts';
import { compile } from '../../compiler/compile.ts';
import { portable } from '../../compiler/emit/lowering.ts';
import { ndarray, scalar } from '../../compiler/ir/ndarray.ts';
import type { OptimizerSpec, Program } from '../../compiler/ir/program.ts';
import { dropoutMask } from '../../compiler/ops/random.ts';
import {
  add,
  array,
  batchNorm,
  classIndex,
  defineModel,
  dropout,
  int,
  linear,
  mean,
  mul,
  relu,
  softmaxCrossEntropy,
  tanh,
} from '../../dsl/index.ts';
import { random, seed24 } from '../../numeric/random.ts';
import { loadCheckpoint } from '../../runtime/checkpoint.ts';
import { type Dataset, epochOrder } from '../../runtime/data/dataset.ts';
import { Engine, trainingSession } from '../../runtime/engine.ts';
import { readLines } from '../../runtime/files.ts';
import { expectedState } from '../../runtime/manifest.ts';
import { type RunPaths, runPaths } from '../../runtime/runfolder.ts';
import { engineState } from '../../runtime/step-inputs.ts';
import { type TrainRequest, train } from '../../runtime/trainer.ts';
import { violations } from '../cli/json-schema.ts';

const folder = mkdtempSync(join(tmpdir(), 'ddrc-accumulate-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const features = 8;
const classes = 3;
/** Unit roundoff of float32. */
const u = 2 ** -24;
const sgd = { kind: 'sgd', momentum: 0.9, nesterov: false, weightDecay: 0 } as const;
const adam = { kind: 'adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 } as const;

const ports = {
  options: {},
  inputs: () => ({ x: array([features]) }),
  targets: () => ({ label: classIndex() }),
} as const;
const layers = defineModel({
  ...ports,
  name: 'layers',
  forward: ({ x }) => ({ logits: linear(tanh(linear(x, 'hidden', { units: 16 })), 'head', { units: classes }) }),
  loss: ({ logits }, { label }) => softmaxCrossEntropy(logits, label),
}).instantiate();
const regression = defineModel({
  ...ports,
  name: 'regression',
  forward: ({ x }) => ({ logits: linear(x, 'head', { units: classes }) }),
  loss: ({ logits }, { label }) => softmaxCrossEntropy(logits, label),
}).instantiate();
/** With all that is random or kept: dropout and running statistics. */
const whole = defineModel({
  ...ports,
  name: 'whole',
  forward: ({ x }) => ({
    logits: linear(dropout(relu(linear(batchNorm(x, 'norm'), 'hidden', { units: 16 })), 0.3), 'head', { units: classes }),
  }),
  loss: ({ logits }, { label }) => softmaxCrossEntropy(logits, label),
}).instantiate();

/** Examples of three classes, noise with the feature at the label's place larger. */
function examples(size: number): Dataset & { readonly x: (index: number) => number[] } {
  const next = random('examples');
  const labels = Int32Array.from({ length: size }, (_, i) => i % classes);
  const all = Float32Array.from(
    { length: size * features },
    (_, i) => 2 * next() - 1 + Number(i % features === labels[Math.floor(i / features)]),
  );
  const x = (index: number) => [...all.subarray(index * features, (index + 1) * features)];
  return {
    size,
    classes: null,
    labels,
    x,
    batch: async (indices) => ({
      x: { dtype: 'float32', shape: [indices.length, features], data: Float32Array.from(indices.flatMap(x)) },
      label: { dtype: 'int64', shape: [indices.length], data: BigInt64Array.from(indices, (index) => BigInt(labels[index])) },
    }),
  };
}

let made = 0;
function newRun(): RunPaths {
  const paths = runPaths(join(folder, `run-${made++}`));
  mkdirSync(paths.folder);
  return paths;
}

interface Asked extends Partial<TrainRequest> {
  readonly batch: number;
  readonly data: { readonly train: Dataset; readonly val?: Dataset };
  readonly optimizer?: OptimizerSpec;
  readonly clipNorm?: number;
}

/** Trains a model as `ddrc train` does, on the portable graphs. */
async function trained(program: Program, { optimizer = sgd, clipNorm = 0, ...asked }: Asked) {
  const { batch, accumulate = 1, paths = newRun() } = asked;
  const { manifest, files, initial } = compileTraining(program, {
    target: portable,
    batch: batch / accumulate,
    accumulated: accumulate > 1,
    optimizer,
    clipNorm,
  });
  const result = await train({
    manifest,
    files,
    weights: asTensors(initial),
    epochs: 1,
    schedule: () => ({ learningRate: 0.5 }),
    seed: 7,
    augmentation: null,
    paths,
    threads: 1,
    ...asked,
  });
  return { result, paths, initial, manifest, files: [...files.keys()], ...loadCheckpoint(paths.last, expectedState(manifest)) };
}

describe('a step on parts of a batch', () => {
  const data = { train: examples(8) };

  /** Of each parameter the mean over examples of its gradient, and of the gradient's absolute value, from `grad.onnx` on one example at a time. */
  async function gradients(program: Program) {
    const { manifest, files, initial } = compile(program, { artifacts: ['grad'], batch: 1 });
    const flat = Float32Array.from(manifest.parameters.flatMap(({ name }) => [...initial.get(name)!.data]));
    const engine = new Engine({ threads: 1 });
    await engine.open('grad', files.get('grad.onnx')!, trainingSession);
    await engine.load({ parameters: flat });
    const sums = { mean: new Float64Array(flat.length), size: new Float64Array(flat.length) };
    for (let index = 0; index < 8; index++) {
      const { gradients } = await engine.run('grad', await data.train.batch([index]), ['gradients']);
      Float64Array.from(gradients.data as Float32Array).forEach((value, i) => {
        sums.mean[i] += value / 8;
        sums.size[i] += Math.abs(value) / 8;
      });
    }
    await engine.close();
    return { ...sums, start: flat };
  }

  it.each([
    ['plain', sgd, 0],
    ['with weight decay', { ...sgd, weightDecay: 0.1 }, 0],
    ['with clipping', sgd, 0.1],
    ['with both', { ...sgd, weightDecay: 0.1 }, 0.1],
  ] as const)('gives the parameters of a step on the whole of it: %s', async (_, optimizer, clipNorm) => {
    const [one, four] = await Promise.all(
      [1, 4].map((accumulate) => trained(layers, { batch: 8, accumulate, data, optimizer, clipNorm })),
    );
    expect(four.files).toEqual(['grad.onnx', 'update.onnx', 'eval.onnx']);
    const { mean, size, start } = await gradients(layers);
    const norm = Math.hypot(...mean);
    const factor = clipNorm > 0 ? Math.min(1, clipNorm / (norm + 1e-6)) : 1;
    if (clipNorm > 0) expect(factor).toBeLessThan(0.5);
    let clear = 0;
    four.parameters.forEach((value, i) => {
      const change = 0.5 * (factor * mean[i] + optimizer.weightDecay * start[i]);
      // An example's gradient has passed through sums of 8, 16 and 3 terms, forward and backward; the sum of 8 examples follows, in one order or in another, and
      // the norm of 195 numbers, whose error is a factor's: all in all below 256 roundings of the absolute values that are summed.
      const bound = u * (256 * 0.5 * (factor * size[i] + optimizer.weightDecay * Math.abs(start[i])) + 2 * Math.abs(start[i]));
      expect(Math.abs(value - (start[i] - change))).toBeLessThanOrEqual(bound);
      expect(Math.abs(value - one.parameters[i])).toBeLessThanOrEqual(bound);
      clear += Number(Math.abs(change) > 300 * bound);
    });
    // The bound would find a sum in place of a mean, or parts that are clipped each for itself: it is far below the change.
    expect(clear).toBeGreaterThan(150);
    expect([four.step, four.progress.epoch]).toEqual([1, 2]);
  });

  it('is the mean of the gradients, which softmax regression has in closed form; loss and accuracy are means as well', async () => {
    const { parameters, initial, paths } = await trained(regression, { batch: 8, accumulate: 4, data });
    const [w, b] = ['head.weight', 'head.bias'].map((name) => initial.get(name)!.data);
    const expected = Float64Array.from([...w, ...b]);
    const facts = { loss: 0, right: 0 };
    for (let index = 0; index < 8; index++) {
      const x = data.train.x(index);
      const logits = Array.from(b, (bias, k) => x.reduce((sum, value, f) => sum + value * w[k * features + f], bias));
      const powers = logits.map(Math.exp);
      const total = powers.reduce((sum, power) => sum + power);
      const label = data.train.labels![index];
      facts.loss += (Math.log(total) - logits[label]) / 8;
      facts.right += Number(logits.indexOf(Math.max(...logits)) === label) / 8;
      powers.forEach((power, k) => {
        const error = (power / total - Number(k === label)) / 8;
        x.forEach((value, f) => {
          expected[k * features + f] -= 0.5 * error * value;
        });
        expected[w.length + k] -= 0.5 * error;
      });
    }
    // Numbers below 2, sums of 8 terms: a few roundings of 2^-24.
    parameters.forEach((value, i) => {
      expect(Math.abs(value - expected[i])).toBeLessThan(32 * u);
    });
    const [line] = readLines(paths.metrics) as { train: { loss: number; accuracy: number } }[];
    expect(line.train.accuracy).toBe(facts.right);
    expect(Math.abs(line.train.loss - facts.loss)).toBeLessThan(32 * u);
  });

  it('draws a mask for each part, from the seed of step·N + i', async () => {
    // The gradient of the mean of x·mask·w by w is the mean mask, for examples of ones.
    const masks = defineModel({
      options: {},
      name: 'masks',
      inputs: () => ({ x: array([features]) }),
      forward: ({ x }) => ({ y: linear(dropout(x, 0.5), 'fc', { units: 1 }) }),
      loss: ({ y }) => mean(y, [0, 1]),
    }).instantiate();
    const ones: Dataset = {
      ...{ size: 8, classes: null, labels: null },
      batch: async ({ length }) => ({
        x: { dtype: 'float32', shape: [length, features], data: new Float32Array(length * features).fill(1) },
      }),
    };
    const plain = { ...sgd, momentum: 0 };
    const { parameters, initial, step } = await trained(masks, {
      batch: 4,
      accumulate: 4,
      data: { train: ones },
      optimizer: plain,
    });
    expect(step).toBe(2);
    const sums = Array.from({ length: 8 }, (_, run) => {
      const like = ndarray([1, features], new Array(features).fill(1));
      return [...dropoutMask.evaluate([like, scalar(seed24(7, run))], { p: 0.5, salt: saltOf(masks) })[0].data];
    });
    expect(new Set(sums.map(String)).size).toBeGreaterThan(4);
    for (let i = 0; i < features; i++) {
      const total = sums.reduce((sum, mask) => sum + mask[i] / 4, 0);
      expect(parameters[i]).toBeCloseTo(initial.get('fc.weight')!.data[i] - 0.5 * total, 6);
    }
  });

  it('moves the running statistics with each part in turn', async () => {
    const { statistics, manifest } = await trained(whole, { batch: 8, accumulate: 4, data });
    const order = epochOrder(8, 7, 1);
    const expected = { 'norm.running_mean': new Array(features).fill(0), 'norm.running_var': new Array(features).fill(1) };
    for (let part = 0; part < 4; part++) {
      const [a, b] = [0, 1].map((i) => data.train.x(order[2 * part + i]));
      a.forEach((value, f) => {
        expected['norm.running_mean'][f] = 0.9 * expected['norm.running_mean'][f] + 0.1 * ((value + b[f]) / 2);
        // The unbiased variance of two numbers.
        expected['norm.running_var'][f] = 0.9 * expected['norm.running_var'][f] + 0.1 * ((value - b[f]) ** 2 / 2);
      });
    }
    for (const { name, offset } of manifest.statistics) {
      expected[name as keyof typeof expected].forEach((value, f) => {
        expect(statistics[offset + f]).toBeCloseTo(value, 6);
      });
    }
  });
});

/** The salt that the language gave the only mask of a model. */
function saltOf(program: Program): number {
  const { graph } = program.build({ mode: 'training', batch: 1, loss: false });
  return graph.nodes.find(({ op }) => op.name === 'dropoutMask')!.attrs.salt as number;
}

describe('a training on parts', () => {
  const data = { train: examples(30), val: examples(7) };
  const asked = {
    batch: 8,
    accumulate: 4,
    data,
    epochs: 3,
    optimizer: adam,
    schedule: (step: number) => ({ learningRate: 0.01 / (1 + step) }),
  };
  /** All that a run leaves, without what may differ: the seconds. */
  const remains = ({ last, best, metrics }: RunPaths) => ({
    last: readFileSync(last).toString('base64'),
    best: readFileSync(best).toString('base64'),
    lines: (readLines(metrics) as Record<string, unknown>[]).map(({ seconds, ...line }) => line),
  });
  const unbroken = newRun();
  beforeAll(async () => {
    await trained(whole, { ...asked, paths: unbroken });
  });

  it('leaves the same bytes again, and counts steps of the whole batch', async () => {
    const updates: number[][] = [];
    const again = await trained(whole, {
      ...asked,
      onUpdate: ({ phase, done, total }) => phase === 'train' && updates.push([done, total]),
    });
    expect(remains(again.paths)).toEqual(remains(unbroken));
    // 3 batches of 8 in an epoch, told part by part.
    expect(again.step).toBe(9);
    expect(updates.slice(0, 12)).toEqual(Array.from({ length: 12 }, (_, i) => [2 * (i + 1), 24]));
    expect(remains((await trained(whole, { ...asked, seed: 8 })).paths).last).not.toBe(remains(unbroken).last);
  });

  // After the first part of a step, within one, at its end, at the end of an epoch.
  it.each([1, 6, 8, 12, 23])('stops after run %i with whole steps only, and goes on as if it had not', async (runs) => {
    const paths = newRun();
    const controller = new AbortController();
    let done = 0;
    const onUpdate = ({ phase }: { phase: string }) => {
      if (phase === 'train' && ++done === runs) controller.abort();
    };
    const stopped = await trained(whole, { ...asked, paths, signal: controller.signal, onUpdate });
    expect(stopped.result.stopped).toBe(true);
    expect([Math.ceil(runs / 4), Math.ceil(runs / 4) + 1]).toContain(stopped.step);
    await trained(whole, { ...asked, paths, resume: true });
    expect(remains(paths)).toEqual(remains(unbroken));
  });

  it('keeps checkpoints within an epoch without a trace in the result', async () => {
    const { paths } = await trained(whole, { ...asked, checkpointMinutes: 0 });
    expect(remains(paths)).toEqual(remains(unbroken));
  });

  it('stops at a loss that is not finite, names the step, and keeps the last good checkpoint', async () => {
    const paths = newRun();
    const schedule = (step: number) => ({ learningRate: step === 4 ? 3e38 : 0.01 });
    await expect(trained(layers, { ...asked, optimizer: sgd, schedule, paths })).rejects.toMatchObject({
      code: 'LOSS_NOT_FINITE',
      message: expect.stringMatching(/^the loss became (NaN|Infinity) at step 6 \(epoch 2\)$/),
    });
    expect(readLines(paths.metrics)).toEqual([expect.objectContaining({ epoch: 1 }), { failed: expect.any(String) }]);
  });

  it('refuses parts that are not equal, and files without the graphs for it', async () => {
    const refused = (more: Partial<Asked>) => expect(trained(layers, { ...asked, ...more })).rejects;
    const { manifest, files } = compileTraining(layers, { target: portable, batch: 8 });
    await refused({ manifest, files }).toMatchObject({
      code: 'MANIFEST_INVALID',
      message: 'the model was built without grad.onnx',
    });
    const parts = train({ accumulate: 3, batch: 8, manifest, files, data } as unknown as TrainRequest);
    await expect(parts).rejects.toMatchObject({ code: 'USAGE', message: 'a batch of 8 cannot be cut into 3 equal parts' });
  });
});

describe('update.onnx', () => {
  const { manifest, files, initial } = compile(layers, {
    artifacts: ['step', 'grad', 'update'],
    batch: 4,
    optimizer: adam,
    clipNorm: 0.1,
  });

  it('takes the gradient and gives the state, and the schema of manifests knows all of it', () => {
    const { inputs, outputs } = manifest.files['update.onnx'];
    const shown = (list: typeof inputs) => list.map(({ name, dtype, shape, role }) => `${name} ${dtype}[${shape}] ${role}`);
    expect(shown(inputs).sort()).toEqual([
      'beta1 float32[] hyperparameter',
      'gradients float32[195] gradient',
      'learning_rate float32[] hyperparameter',
      'moment1 float32[195] state',
      'moment2 float32[195] state',
      'parameters float32[195] state',
      'step int64[] hyperparameter',
    ]);
    expect(shown(outputs)).toEqual(['parameters', 'moment1', 'moment2'].map((name) => `${name}_out float32[195] state`));
    const schema = JSON.parse(readFileSync(join(import.meta.dirname, '../../docs/manifest.schema.json'), 'utf8'));
    expect(violations({ $ref: '#/$defs/file', $defs: schema.$defs }, manifest.files['update.onnx'])).toEqual([]);
  });

  it('is the rest of step.onnx behind grad.onnx, to the bit', async () => {
    const engine = new Engine({ threads: 1 });
    for (const [name, bytes] of files) await engine.open(name, bytes, trainingSession);
    const flat = Float32Array.from(manifest.parameters.flatMap(({ name }) => [...initial.get(name)!.data]));
    const state = engineState(manifest, { parameters: flat, statistics: new Float32Array(0) });
    const number = (value: number) => ({ dtype: 'float32', shape: [], data: Float32Array.of(value) }) as const;
    const scalars = () => ({
      learning_rate: number(0.01),
      beta1: number(0.9),
      step: { dtype: 'int64', shape: [], data: BigInt64Array.of(4n) } as const,
    });
    const batch = () => examples(4).batch([0, 1, 2, 3]);
    await engine.load(state);
    const { loss } = await engine.step('step.onnx', { ...(await batch()), ...scalars() });
    const whole = await engine.state();
    await engine.load(state);
    const cut = await engine.step('grad.onnx', await batch(), ['loss'], { add: 'gradients' });
    expect(cut).toEqual({ loss });
    expect(await engine.step('update.onnx', scalars(), [], { mean: 'gradients' })).toEqual({});
    expect(await engine.state()).toEqual(whole);
    // The sum is spent, and a new state has none.
    const again = engine.step('update.onnx', scalars(), [], { mean: 'gradients' });
    await expect(again).rejects.toMatchObject({
      code: 'ENGINE_FAILED',
      message: expect.stringContaining('nothing to take the mean of'),
    });
    await engine.step('grad.onnx', await batch(), [], { add: 'gradients' });
    await engine.load(state);
    await expect(engine.step('update.onnx', scalars(), [], { mean: 'gradients' })).rejects.toMatchObject({
      code: 'ENGINE_FAILED',
    });
    await engine.close();
  });

  it('needs parameters', () => {
    const fixed = defineModel({
      options: { size: int(4) },
      name: 'fixed',
      inputs: () => ({ x: array([4]) }),
      forward: ({ x }) => ({ y: add(mul(x, 2), 1) }),
    }).instantiate();
    expect(() => compile(fixed, { artifacts: ['update'] })).toThrow(
      expect.objectContaining({ code: 'MODEL_INVALID', message: 'fixed: has no parameters to train' }),
    );
  });
});
