import { InferenceSession, Tensor } from 'onnxruntime-node';
import { expect, it } from 'vitest';
import { asTensors } from '../../cli/compile-for-device.ts';
import { compile } from '../../compiler/index.ts';
import { array, classIndex, defineModel, linear, relu, softmaxCrossEntropy } from '../../dsl/index.ts';
import { random } from '../../numeric/random.ts';
import { Engine, trainingSession } from '../../runtime/engine.ts';
import { packState } from '../../runtime/flat-state.ts';
import { expectedState } from '../../runtime/manifest.ts';
import { engineState, stepScalars } from '../../runtime/step-inputs.ts';
import type { TensorData } from '../../runtime/tensor.ts';
import { tinyModel } from '../runtime/tiny-onnx.ts';
import { needsWebgpu } from './adapter.ts';

needsWebgpu();

const vector = (...values: number[]): TensorData => ({
  dtype: 'float32',
  shape: [values.length],
  data: Float32Array.from(values),
});

/** state_out = 2·state + x; seen = state; image_out = image + 1, which is no state. */
const doubling = tinyModel({
  nodes: [
    ['Mul', ['state', 'two'], ['doubled']],
    ['Add', ['doubled', 'x'], ['state_out'], {}, 'deep.1/Add'],
    ['Identity', ['state'], ['seen']],
    ['Add', ['image', 'one'], ['image_out']],
  ],
  inputs: [
    ['x', 'float32', ['M']],
    ['state', 'float32', [2]],
    ['image', 'float32', [1, 3]],
  ],
  outputs: [
    ['seen', 'float32', [2]],
    ['state_out', 'float32', [2]],
    ['image_out', 'float32', [1, 3]],
  ],
  floats: { two: 2, one: 1 },
});
const image = (): TensorData => ({ dtype: 'float32', shape: [1, 3], data: Float32Array.of(1, 2, 3) });
const moved = { dtype: 'float32', shape: [1, 3], data: Float32Array.of(2, 3, 4) };

it('the state stays in device memory: steps replace it, runs do not, failures leave it, load starts anew', async () => {
  const engine = new Engine({ provider: 'webgpu', threads: 1 });
  try {
    await engine.open('doubling', doubling);
    await engine.load({ state: Float32Array.of(1, 3) });
    expect(await engine.step('doubling', { x: vector(1, 0), image: image() })).toEqual({ seen: vector(1, 3), image_out: moved });
    expect(await engine.step('doubling', { x: vector(0, 1), image: image() }, ['seen'])).toEqual({ seen: vector(3, 6) });
    expect(await engine.state()).toEqual({ state: Float32Array.of(6, 13) });
    const run = engine.run('doubling', { x: vector(5, 5), image: image() }, ['seen', 'state_out']);
    expect(await run).toEqual({ seen: vector(6, 13), state_out: vector(17, 31) });
    await expect(engine.step('doubling', { x: vector(1, 2, 3), image: image() })).rejects.toMatchObject({
      code: 'ENGINE_FAILED',
    });
    expect(await engine.state()).toEqual({ state: Float32Array.of(6, 13) });
    await engine.open('again', doubling);
    expect(await engine.step('again', { x: vector(1, 1), image: image() }, [])).toEqual({});
    expect(await engine.state()).toEqual({ state: Float32Array.of(13, 27) });
    await engine.load({ state: Float32Array.of(0.5, 0.25) });
    expect(await engine.state()).toEqual({ state: Float32Array.of(0.5, 0.25) });
    await expect(engine.open('broken', doubling.subarray(0, 40))).rejects.toMatchObject({ code: 'ENGINE_FAILED' });
  } finally {
    await engine.close();
  }
});

it('old states are given back: 120 steps on 4 MB take less than 40 MB', async () => {
  const length = 1e6;
  const graph = tinyModel({
    nodes: [['Add', ['state', 'x'], ['state_out']]],
    inputs: [
      ['x', 'float32', [1]],
      ['state', 'float32', [length]],
    ],
    outputs: [['state_out', 'float32', [length]]],
  });
  const engine = new Engine({ provider: 'webgpu', threads: 1 });
  try {
    await engine.open('add', graph);
    await engine.load({ state: new Float32Array(length) });
    const steps = async (count: number) => {
      for (let i = 0; i < count; i++) await engine.step('add', { x: vector(1) });
    };
    await steps(10);
    const before = process.memoryUsage().rss;
    await steps(120);
    // Kept ones would be 480 MB on a software adapter, whose buffers are in this process.
    expect((process.memoryUsage().rss - before) / 1e6).toBeLessThan(40);
    const { state } = await engine.state();
    expect([state[0], state[length - 1]]).toEqual([130, 130]);
  } finally {
    await engine.close();
  }
});

const model = defineModel({
  name: 'small',
  options: {},
  inputs: () => ({ x: array([8]) }),
  targets: () => ({ label: classIndex() }),
  forward: ({ x }) => ({ logits: linear(relu(linear(x, 'hidden', { units: 16 })), 'head', { units: 3 }) }),
  loss: ({ logits }, { label }) => softmaxCrossEntropy(logits, label),
});
const steps = 20;
const batch = 4;

it(`${steps} steps with the state on the device give the numbers of steps that fetch it, bit for bit, and the processor's but for rounding`, async () => {
  const target = { provider: 'webgpu', opset: 17, block: 0 } as const;
  const { manifest, files, initial } = compile(model.instantiate({}), { artifacts: ['step'], target, batch });
  const bytes = files.get('step.onnx')!;
  const next = random('engine');
  const batches = Array.from({ length: steps }, () => Float32Array.from({ length: 8 * batch }, () => 2 * next() - 1));
  const { parameters: table } = expectedState(manifest);
  const weights = () => ({ parameters: packState(table, asTensors(initial)), statistics: new Float32Array(0) });
  const feeds = (i: number): Record<string, TensorData> => ({
    x: { dtype: 'float32', shape: [batch, 8], data: batches[i].slice() },
    label: { dtype: 'int64', shape: [batch], data: BigInt64Array.of(0n, 1n, 2n, BigInt(i % 3)) },
    ...stepScalars(manifest, i, { learningRate: 0.01 }, 0),
  });

  /** By hand: every output is fetched to the processor and fed again. */
  const fetched = async (provider: string) => {
    const session = await InferenceSession.create(bytes, { ...trainingSession, executionProviders: [provider] });
    const tensor = ({ dtype, shape, data }: TensorData) => new Tensor(dtype, data as Float32Array, shape);
    let state: (readonly [name: string, tensor: Tensor])[] = Object.entries(engineState(manifest, weights())).map(
      ([name, data]) => [name, new Tensor('float32', data, [data.length])] as const,
    );
    const losses: number[] = [];
    for (let i = 0; i < steps; i++) {
      const fed = Object.entries(feeds(i)).map(([name, data]) => [name, tensor(data)] as const);
      const outputs = await session.run(Object.fromEntries([...fed, ...state]));
      losses.push((outputs.loss.data as Float32Array)[0]);
      state = state.map(([name]) => [name, outputs[`${name}_out`] as Tensor] as const);
    }
    await session.release();
    return { losses, state: Object.fromEntries(state.map(([name, { data }]) => [name, Array.from(data as Float32Array)])) };
  };

  const engine = new Engine({ provider: 'webgpu', threads: 1 });
  try {
    await engine.open('step.onnx', bytes, trainingSession);
    await engine.load(engineState(manifest, weights()));
    const losses: number[] = [];
    for (let i = 0; i < steps; i++) losses.push(Number((await engine.step('step.onnx', feeds(i), ['loss'])).loss.data[0]));
    const state = Object.fromEntries(Object.entries(await engine.state()).map(([name, data]) => [name, Array.from(data)]));
    expect(Object.keys(state).sort()).toEqual(['moment1', 'moment2', 'parameters']);
    expect(losses[steps - 1]).toBeLessThan(losses[0]);
    expect({ losses, state }).toEqual(await fetched('webgpu'));
    const { losses: exact } = await fetched('cpu');
    losses.forEach((loss, i) => {
      expect(Math.abs(loss - exact[i])).toBeLessThan(1e-5 * exact[i]);
    });
  } finally {
    await engine.close();
  }
});
