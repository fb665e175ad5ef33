import onnxProto from 'onnx-proto';
import { describe, expect, it } from 'vitest';
import { asTensors } from '../../../cli/compile-for-device.ts';
import { type Compiled, type CompileRequest, compile } from '../../../compiler/compile.ts';
import { newestOpset, oldestOpset, portable, type Target } from '../../../compiler/emit/lowering.ts';
import {
  add,
  array,
  batchNorm,
  classIndex,
  conv2d,
  defineModel,
  dropout,
  image,
  linear,
  maxPool,
  mean,
  mul,
  relu,
  softmaxCrossEntropy,
} from '../../../dsl/index.ts';
import { random } from '../../../numeric/random.ts';
import { Engine, trainingSession } from '../../../runtime/engine.ts';
import { packState } from '../../../runtime/flat-state.ts';
import { expectedState } from '../../../runtime/manifest.ts';
import type { Rate } from '../../../runtime/schedule.ts';
import { engineState, loopBatches, loopScalars, stepScalars } from '../../../runtime/step-inputs.ts';
import type { TensorData } from '../../../runtime/tensor.ts';
import { machineBlock } from '../lowering-check.ts';

const size = 6;
const classes = 3;
const batch = 4;
/** With all that is random or kept from step to step. */
const program = defineModel({
  name: 'whole',
  options: {},
  inputs: () => ({ image: image(3, size, size) }),
  targets: () => ({ label: classIndex() }),
  forward: ({ image }) => {
    const maps = relu(batchNorm(conv2d(image, 'conv', { filters: 16, kernel: 3, pad: 1 }), 'norm'));
    return { logits: linear(dropout(mean(maxPool(maps, { kernel: 2 }), [2, 3]), 0.3), 'head', { units: classes }) };
  },
  loss: ({ logits }, { label }) => softmaxCrossEntropy(logits, label),
}).instantiate();
const adam = { kind: 'adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 } as const;
const asked = { artifacts: ['step', 'loop'], optimizer: adam, clipNorm: 0.05, batch: 'N' } as const;
const schedule = (step: number): Rate => ({ learningRate: 0.02 / (1 + step), beta1: 0.9 - 0.05 * step });
const seed = 7;
const here: Target = { provider: 'cpu', opset: portable.opset, block: await machineBlock() };

/** The examples of `count` steps from `first` on, one behind the other. */
function examples(first: number, count: number): Record<string, TensorData> {
  const each = batch * 3 * size * size;
  const pixels = Float32Array.from({ length: 6 * each }, random('pixels')).slice(first * each, (first + count) * each);
  return {
    image: { dtype: 'float32', shape: [count * batch, 3, size, size], data: pixels },
    label: {
      dtype: 'int64',
      shape: [count * batch],
      data: BigInt64Array.from({ length: count * batch }, (_, i) => BigInt((first * batch + i) % classes)),
    },
  };
}

/** All that steps give, and the state that they leave, from the initial weights. */
async function trained({ manifest, files, initial }: Compiled, graph: 'step.onnx' | 'loop.onnx', runs: readonly number[]) {
  const engine = new Engine({ threads: 1 });
  await engine.open(graph, files.get(graph)!, trainingSession);
  const { parameters, statistics } = expectedState(manifest);
  const tensors = asTensors(initial);
  await engine.load(
    engineState(manifest, { parameters: packState(parameters, tensors), statistics: packState(statistics, tensors) }),
  );
  const losses: number[] = [];
  const logits: number[] = [];
  let step = 0;
  for (const count of runs) {
    const batches = examples(step, count);
    const feeds =
      graph === 'step.onnx'
        ? { ...batches, ...stepScalars(manifest, step, schedule(step), seed) }
        : { ...loopBatches(batches, count), ...loopScalars(manifest, step, count, schedule, seed) };
    const outputs = await engine.step(graph, feeds);
    const axis = graph === 'step.onnx' ? [] : [count];
    expect([outputs.loss.shape, outputs.logits.shape]).toEqual([axis, [...axis, batch, classes]]);
    losses.push(...(outputs.loss.data as Float32Array));
    logits.push(...(outputs.logits.data as Float32Array));
    step += count;
  }
  const state = await engine.state();
  await engine.close();
  return { losses, logits, state };
}

describe('loop.onnx takes the steps of step.onnx, bit for bit', () => {
  it.each<[string, CompileRequest]>([
    ['any batch, portable', {}],
    ['a fixed batch, portable', { batch }],
    [`the first opset, ${oldestOpset}`, { target: { ...portable, opset: oldestOpset } }],
    [`the newest opset, ${newestOpset}`, { target: { ...portable, opset: newestOpset } }],
    ['a fixed batch, for this processor', { batch, target: here }],
    ['any batch, for this processor', { target: here }],
    ['less memory', { batch, target: here, checkpointActivations: true }],
    ['a momentum that is an input', { optimizer: { kind: 'sgd', momentum: 0.9, nesterov: true, weightDecay: 1e-3 } }],
  ])('%s', async (_, request) => {
    const compiled = compile(program, { ...asked, ...request });
    const single = await trained(compiled, 'step.onnx', [1, 1, 1, 1]);
    // The second run of the same file takes another number of steps.
    expect(await trained(compiled, 'loop.onnx', [3, 1])).toEqual(single);
    expect(new Set(single.losses).size).toBe(4);
    expect(Object.keys(single.state)).toEqual(['parameters', 'statistics', ...compiled.manifest.slots]);
  });

  it('with names that a Loop could have itself', async () => {
    const awkward = defineModel({
      name: 'awkward',
      options: {},
      inputs: () => ({ condition: array([4]), iteration: array([4]), K: array([4]), steps: array([4]) }),
      forward: ({ condition, iteration, K, steps }) => ({
        condition_further: linear(add(condition, iteration), 'steps', { units: 2 }),
        each: mul(linear(add(K, steps), 'each', { units: 2 }), 2),
      }),
      loss: ({ condition_further, each }) => mean(mul(condition_further, each), [0, 1]),
    }).instantiate();
    const { manifest, files, initial } = compile(awkward, { artifacts: ['step', 'loop'] });
    const parameters = packState(manifest.parameters, asTensors(initial));
    const data = (axes: number[], first: number): TensorData => {
      const numbers = Float32Array.from({ length: 32 }, random('numbers'));
      const length = axes.reduce((a, b) => a * b, 4);
      return { dtype: 'float32', shape: [...axes, 4], data: numbers.slice(first, first + length) };
    };
    const fed = (axes: number[], first: number) =>
      Object.fromEntries(['condition', 'iteration', 'K', 'steps'].map((name) => [name, data(axes, first)]));
    const engine = new Engine({ threads: 1 });
    for (const [name, bytes] of files) await engine.open(name, bytes, trainingSession);
    const start = engineState(manifest, { parameters, statistics: new Float32Array(0) });
    await engine.load(start);
    const single = [];
    for (const step of [0, 1]) {
      single.push(await engine.step('step.onnx', { ...fed([4], 16 * step), ...stepScalars(manifest, step, schedule(step), 0) }));
    }
    const state = await engine.state();
    await engine.load(start);
    const looped = await engine.step('loop.onnx', { ...fed([2, 4], 0), ...loopScalars(manifest, 0, 2, schedule, 0) });
    for (const [name, { data }] of Object.entries(looped))
      expect([...data]).toEqual(single.flatMap((outputs) => [...outputs[name].data]));
    expect(await engine.state()).toEqual(state);
    await engine.close();
  });
});

describe('what loop.onnx is', () => {
  const shown = (ports: Compiled['manifest']['files'][string]['inputs']) =>
    ports.map(({ name, dtype, shape, role }) => `${name} ${dtype}[${shape}] ${role}`);

  it('has K in front of everything but state, in the manifest and in the file', () => {
    const { manifest, files } = compile(program, asked);
    const { 'loop.onnx': loop, 'step.onnx': step } = manifest.files;
    expect(shown(loop.inputs).sort()).toEqual([
      'beta1 float32[K] hyperparameter',
      'image float32[K,N,3,6,6] data',
      'label int64[K,N] target',
      'learning_rate float32[K] hyperparameter',
      'moment1 float32[531] state',
      'moment2 float32[531] state',
      'parameters float32[531] state',
      'seed int64[K] seed',
      'statistics float32[32] state',
      'step int64[K] hyperparameter',
    ]);
    expect(shown(loop.outputs).sort()).toEqual([
      'logits float32[K,N,3] output',
      'loss float32[K] loss',
      'moment1_out float32[531] state',
      'moment2_out float32[531] state',
      'parameters_out float32[531] state',
      'statistics_out float32[32] state',
    ]);
    const { graph } = onnxProto.onnx.ModelProto.decode(files.get('loop.onnx')!);
    for (const part of ['input', 'output'] as const) {
      const ports = graph![part]!.map(({ name, type }) => {
        const dims = type!.tensorType!.shape!.dim!.map(({ dimParam, dimValue }) => dimParam || Number(dimValue));
        return [name, dims];
      });
      expect(ports).toEqual(loop[`${part}s`].map(({ name, shape }) => [name, shape]));
      expect(loop[`${part}s`].map(({ name }) => name)).toEqual(step[`${part}s`].map(({ name }) => name));
    }
  });

  it('calls the number of steps otherwise where the batch is called K', () => {
    const { inputs, outputs } = compile(program, { ...asked, batch: 'K' }).manifest.files['loop.onnx'];
    expect(shown(inputs)).toContain('image float32[STEPS,K,3,6,6] data');
    expect(shown(inputs)).toContain('seed int64[STEPS] seed');
    expect(shown(outputs)).toContain('logits float32[STEPS,K,3] output');
  });

  it('has the same bytes whatever is asked for with it, and leaves those of step.onnx alone', () => {
    const both = compile(program, asked);
    const bytes = (artifacts: CompileRequest['artifacts'], name: string) =>
      Buffer.from(compile(program, { ...asked, artifacts }).files.get(name)!).toString('base64');
    for (const artifacts of [['loop'], ['loop', 'step'], ['model', 'step', 'loop', 'grad', 'eval']] as const)
      expect(bytes(artifacts, 'loop.onnx')).toBe(Buffer.from(both.files.get('loop.onnx')!).toString('base64'));
    expect(bytes(['step'], 'step.onnx')).toBe(Buffer.from(both.files.get('step.onnx')!).toString('base64'));
    expect(both.manifest.files['loop.onnx'].sha256).toBe(
      compile(program, { ...asked, artifacts: ['loop'] }).manifest.files['loop.onnx'].sha256,
    );
  });
});
