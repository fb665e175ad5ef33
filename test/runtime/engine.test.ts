import type { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Engine, runtimeError } from '../../runtime/engine.ts';
import type { TensorData } from '../../runtime/tensor.ts';
import { tinyModel } from './tiny-onnx.ts';

/** state_out = 2·state + x; seen = state; both are as long as the state. */
const doubling = tinyModel({
  nodes: [
    ['Mul', ['state', 'two'], ['doubled']],
    ['Add', ['doubled', 'x'], ['state_out'], {}, 'deep.1/Add'],
    ['Identity', ['state'], ['seen']],
  ],
  inputs: [
    ['x', 'float32', ['M']],
    ['state', 'float32', [2]],
  ],
  outputs: [
    ['seen', 'float32', [2]],
    ['state_out', 'float32', [2]],
  ],
  floats: { two: 2 },
});

const vector = (...values: number[]): TensorData => ({
  dtype: 'float32',
  shape: [values.length],
  data: Float32Array.from(values),
});

describe('Engine', () => {
  const engine = new Engine({ threads: 1 });
  beforeAll(async () => {
    await engine.open('doubling', doubling);
  });
  afterAll(() => engine.close());

  it('describes a graph', async () => {
    expect(await engine.open('again', doubling)).toEqual({
      inputs: [
        { name: 'x', dtype: 'float32', shape: ['M'] },
        { name: 'state', dtype: 'float32', shape: [2] },
      ],
      outputs: [
        { name: 'seen', dtype: 'float32', shape: [2] },
        { name: 'state_out', dtype: 'float32', shape: [2] },
      ],
    });
  });

  it('keeps the state: a step replaces it, a run does not, calls are answered in their order', async () => {
    const start = Float32Array.of(1, 3);
    await engine.load({ state: start });
    const runs = [engine.step('doubling', { x: vector(1, 0) }), engine.step('doubling', { x: vector(0, 1) }, ['seen'])];
    const stateThen = engine.state();
    const rest = [
      engine.run('doubling', { x: vector(5, 5) }),
      engine.run('doubling', { x: vector(5, 5) }, ['seen', 'state_out']),
    ];
    const [first, second, third, fourth] = await Promise.all([...runs, ...rest]);
    expect([...start]).toEqual([1, 3]);
    expect(first).toEqual({ seen: vector(1, 3) });
    expect(second).toEqual({ seen: vector(3, 6) });
    expect(await stateThen).toEqual({ state: Float32Array.of(6, 13) });
    expect(third).toEqual({ seen: vector(6, 13) });
    expect(fourth).toEqual({ seen: vector(6, 13), state_out: vector(17, 31) });
    expect(await engine.state()).toEqual({ state: Float32Array.of(6, 13) });
  });

  it('hands over what it is fed, but no more than that', async () => {
    await engine.load({ state: Float32Array.of(0, 0) });
    const fed = vector(1, 2);
    const whole = Float32Array.of(9, 7, 8, 9);
    await engine.step('doubling', { x: fed });
    expect(fed.data).toHaveLength(0);
    await engine.step('doubling', { x: { dtype: 'float32', shape: [2], data: whole.subarray(1, 3) } });
    expect([...whole]).toEqual([9, 7, 8, 9]);
    expect(await engine.state()).toEqual({ state: Float32Array.of(2 + 7, 4 + 8) });
  });

  it('leaves the memory that Buffers share alone', async () => {
    const bytes = tinyModel({
      nodes: [['Identity', ['b'], ['c']]],
      inputs: [['b', 'uint8', [2]]],
      outputs: [['c', 'uint8', [2]]],
    });
    const [neighbour, file, fed] = [Buffer.from('neighbour'), Buffer.from(bytes), Buffer.from([3, 4])];
    for (let round = 0; round < 2; round++) {
      await engine.open('bytes', file);
      const { c } = await engine.run('bytes', { b: { dtype: 'uint8', shape: [2], data: fed } });
      expect([...c.data]).toEqual([3, 4]);
    }
    expect(neighbour.toString()).toBe('neighbour');
    expect([...fed]).toEqual([3, 4]);
  });

  it('says in which scope a graph failed, and leaves the state alone', async () => {
    await engine.load({ state: Float32Array.of(1, 2) });
    await expect(engine.step('doubling', { x: vector(1, 2, 3) })).rejects.toMatchObject({
      code: 'ENGINE_FAILED',
      message: expect.stringMatching(/^ONNX Runtime cannot run doubling: .*broadcast/s),
      where: 'scope deep.1, operator Add',
    });
    expect(await engine.state()).toEqual({ state: Float32Array.of(1, 2) });
    await expect(engine.run('doubling', {})).rejects.toMatchObject({
      code: 'ENGINE_FAILED',
      message: expect.stringContaining("'x'"),
    });
    await expect(engine.open('broken', doubling.subarray(0, 40))).rejects.toMatchObject({ code: 'ENGINE_FAILED' });
    await expect(engine.run('nothing', {})).rejects.toMatchObject({ message: expect.stringContaining("no graph 'nothing'") });
  });

  it('refuses what cannot be handed over, and waits for no answer', async () => {
    await engine.load({ state: Float32Array.of(1, 2) });
    const fed = vector(1, 2);
    await engine.run('doubling', { x: fed });
    await expect(engine.run('doubling', { x: fed })).rejects.toMatchObject({
      code: 'ENGINE_FAILED',
      message: 'x of doubling has the shape [2] and 0 elements',
    });
    await expect(engine.open('odd', doubling, { odd: () => 1 } as object)).rejects.toMatchObject({
      code: 'ENGINE_FAILED',
      message: expect.stringMatching(/^what odd is given cannot be handed to its thread: /),
    });
    // One that was kept would keep the program alive for ever.
    expect((engine as unknown as { pending: Map<number, unknown> }).pending.size).toBe(0);
  });

  it('computes where it was made to, whatever the options of a session say', async () => {
    const ports = await engine.open('elsewhere', doubling, { executionProviders: ['nowhere'] });
    expect(ports.inputs).toHaveLength(2);
  });

  it('refuses calls after its thread has ended, and those that were under way', async () => {
    const broken = new Engine({ threads: 1 });
    await broken.open('doubling', doubling);
    await broken.load({ state: Float32Array.of(1, 2) });
    const worker = (broken as unknown as { worker: Worker }).worker;
    const ending = worker.terminate();
    const call = broken.run('doubling', { x: vector(1, 2) });
    await expect(call).rejects.toMatchObject({ code: 'ENGINE_STOPPED' });
    await ending;
    await expect(broken.state()).rejects.toMatchObject({ code: 'ENGINE_STOPPED' });
    await broken.close();
  });
});

describe('runtimeError', () => {
  it('reads the places that ONNX Runtime names', () => {
    const refused = runtimeError(
      'step.onnx',
      'Node (drdb.3.conv1/Conv.2) Op (Conv) [ShapeInferenceError] Input tensor must have rank 3',
    );
    expect(refused).toMatchObject({
      message: 'ONNX Runtime cannot run step.onnx: [ShapeInferenceError] Input tensor must have rank 3',
      where: 'scope drdb.3.conv1, operator Conv',
    });
    const text =
      'This is an invalid model. In Node, ("head/Nope", Nope, "", -1) : ("a": tensor(float),) -> ("y",) , Error No Op registered';
    expect(runtimeError('step.onnx', text)).toMatchObject({
      where: 'scope head, operator Nope',
      message: expect.stringContaining('No Op'),
    });
    const full =
      "Non-zero status code returned while running Conv node. Name:'stem/Conv' Status Message: Failed to allocate memory for 99 bytes";
    expect(runtimeError('step.onnx', full)).toMatchObject({ code: 'ENGINE_MEMORY', where: 'scope stem, operator Conv' });
  });
});
