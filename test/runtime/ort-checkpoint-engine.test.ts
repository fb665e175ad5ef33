import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import onnxProto from 'onnx-proto';
import { beforeAll, describe, expect, it } from 'vitest';
import { type OrtCheckpoint, serializeOrtCheckpoint } from '../../runtime/ort-checkpoint.ts';
import type { TensorData } from '../../runtime/tensor.ts';

const { onnx } = onnxProto;
const runtime = join(import.meta.dirname, '../../node_modules/onnxruntime-web-training/dist/ort.training.wasm.mjs');
const { FLOAT: float, INT64: int64, BOOL: bool } = onnx.TensorProto.DataType;

/*
 * The smallest set of files that has everything: weight [3] and scale [] are trained, shift [2] is frozen.
 *   loss = Σ weight·x + scale + Σ shift,  so  dweight = x,  dscale = 1
 */
const adam = { alpha: 0.9, beta: 0.999, epsilon: 1e-8, decay: 0.01, rate: 1e-3 };

const tensorType = (elemType: number, shape: readonly number[]) => ({
  tensorType: { elemType, shape: { dim: shape.map((dimValue) => ({ dimValue })) } },
});
const port = (name: string, elemType: number, shape: readonly number[]) => ({ name, type: tensorType(elemType, shape) });
const sequence = (name: string) => ({ name, type: { sequenceType: { elemType: { tensorType: { elemType: float } } } } });
type Graph = NonNullable<Parameters<typeof onnx.ModelProto.create>[0]>['graph'];

function file(graph: Graph): Uint8Array {
  const opsetImport = [
    { domain: '', version: 17 },
    { domain: 'com.microsoft', version: 1 },
  ];
  return onnx.ModelProto.encode(onnx.ModelProto.create({ irVersion: 8, opsetImport, graph })).finish();
}

const forward = [
  { opType: 'Mul', input: ['weight', 'x'], output: ['products'] },
  { opType: 'ReduceSum', input: ['products'], output: ['sum'], attribute: [{ name: 'keepdims', type: 2, i: 0 }] },
  { opType: 'ReduceSum', input: ['shift'], output: ['shifts'], attribute: [{ name: 'keepdims', type: 2, i: 0 }] },
  { opType: 'Sum', input: ['sum', 'scale', 'shifts'], output: ['loss'] },
];
const parameters = [port('weight', float, [3]), port('scale', float, []), port('shift', float, [2])];
const accumulate = (name: string) => ({
  opType: 'InPlaceAccumulatorV2',
  domain: 'com.microsoft',
  input: [`${name}_grad.accumulation.buffer`, `${name}_grad`, 'lazy_reset_grad'],
  output: [`${name}_grad.accumulation.out`],
});

const trainModel = file({
  name: 'train',
  node: [
    ...forward,
    { opType: 'Identity', input: ['x'], output: ['weight_grad'] },
    { opType: 'Identity', input: ['one'], output: ['scale_grad'] },
    accumulate('weight'),
    accumulate('scale'),
  ],
  initializer: [{ name: 'one', dataType: float, dims: [], floatData: [1] }],
  input: [
    port('x', float, [3]),
    ...parameters,
    port('weight_grad.accumulation.buffer', float, [3]),
    port('scale_grad.accumulation.buffer', float, []),
    port('lazy_reset_grad', bool, [1]),
  ],
  output: [
    port('loss', float, []),
    port('weight_grad.accumulation.out', bool, [1]),
    port('scale_grad.accumulation.out', bool, [1]),
  ],
});

const evalModel = file({
  name: 'eval',
  node: forward,
  input: [port('x', float, [3]), ...parameters],
  output: [port('loss', float, [])],
});

const optimizerModel = file({
  name: 'optimizer',
  node: [
    {
      opType: 'AdamWOptimizer',
      domain: 'com.microsoft',
      input: ['learning_rate', 'step', 'params', 'gradients', 'first_order_moments', 'second_order_moments'],
      output: ['updated'],
      attribute: [
        ...Object.entries({ alpha: adam.alpha, beta: adam.beta, epsilon: adam.epsilon, weight_decay: adam.decay }).map(
          ([name, f]) => ({ name, type: 1, f }),
        ),
        { name: 'correct_bias', type: 2, i: 1 },
        { name: 'adam_mode', type: 2, i: 0 },
      ],
    },
  ],
  input: [
    port('learning_rate', float, [1]),
    port('step', int64, [1]),
    ...['params', 'gradients', 'first_order_moments', 'second_order_moments'].map(sequence),
  ],
  output: [port('updated', bool, [1])],
});

const tensor = (shape: readonly number[], ...values: number[]): TensorData => ({
  dtype: 'float32',
  shape,
  data: Float32Array.from(values),
});
const x = [0.25, -3, 1.5];
const start = {
  version: 2,
  trainable: new Map([
    ['weight', tensor([3], 1.1, -0.7, 1e-9)],
    ['scale', tensor([], 0.3)],
  ]),
  frozen: new Map([['shift', tensor([2], 5, -6.5)]]),
  optimizer: null,
  properties: new Map<string, bigint | number | string>([
    ['epoch', 3n],
    ['rate', 0.5],
    ['größe', ''],
  ]),
} satisfies OrtCheckpoint;
const moments = new Map([
  ['weight', [tensor([3], 0.1, -0.2, 0.3), tensor([3], 0.01, 0.5, 2)]],
  ['scale', [tensor([], -0.4), tensor([], 0.7)]],
]);

/** One AdamW step in double precision: decay first, then the moments with their biases corrected. */
function adamW(w: number, g: number, m: number, v: number, t: number): number {
  const m1 = adam.alpha * m + (1 - adam.alpha) * g;
  const v1 = adam.beta * v + (1 - adam.beta) * g * g;
  const denominator = Math.sqrt(v1 / (1 - adam.beta ** t)) + adam.epsilon;
  return w * (1 - adam.rate * adam.decay) - (adam.rate * (m1 / (1 - adam.alpha ** t))) / denominator;
}

describe('a checkpoint in the training runtime of onnxruntime-web 1.19.2', () => {
  // biome-ignore lint/suspicious/noExplicitAny: the package has types for its exports only, and Node sees none of them.
  let ort: any;
  beforeAll(async () => {
    ort = await import(pathToFileURL(runtime).href);
    ort.env.wasm.numThreads = 1;
  });

  async function session(checkpoint: OrtCheckpoint) {
    return ort.TrainingSession.create({
      checkpointState: serializeOrtCheckpoint(checkpoint),
      trainModel,
      evalModel,
      optimizerModel,
    });
  }

  async function valuesOf(training: Awaited<ReturnType<typeof session>>, trainableOnly = false): Promise<number[]> {
    return [...(await training.getContiguousParameters(trainableOnly)).data];
  }

  it('is loaded with the same values, trainable and frozen, scalars too', async () => {
    const training = await session(start);
    expect(await valuesOf(training)).toEqual([...Float32Array.of(1.1, -0.7, 1e-9, 0.3, 5, -6.5)]);
    expect(await valuesOf(training, true)).toEqual([...Float32Array.of(1.1, -0.7, 1e-9, 0.3)]);
    const { loss } = await training.runEvalStep({ x: new ort.Tensor('float32', x, [3]) });
    // 1.1·0.25 + 0.7·3 + 0.3 + 5 − 6.5
    expect(loss.data[0]).toBeCloseTo(1.175, 5);
    await training.release();
  });

  it.each([
    ['none', null, 0],
    ['a step without moments', { step: 6, initialLearningRate: 0.5, moments: new Map() }, 6],
    ['step and moments', { step: 41, initialLearningRate: 0.5, moments }, 41],
  ] as const)('takes its first step from the optimizer state: %s', async (_, optimizer, step) => {
    const training = await session({ ...start, optimizer });
    await training.runTrainStep({ x: new ort.Tensor('float32', x, [3]) });
    await training.runOptimizerStep();
    const got = await valuesOf(training, true);
    const gradients = [...x, 1];
    const before = [...start.trainable.values()].flatMap(({ data }) => [...(data as Float32Array)]);
    const state = (i: number) =>
      optimizer && optimizer.moments.size > 0 ? [...moments.values()].flatMap((own) => [...(own[i].data as Float32Array)]) : [];
    const [m, v] = [state(0), state(1)];
    const expected = before.map((w, i) => adamW(w, gradients[i], m[i] ?? 0, v[i] ?? 0, step + 1));
    got.forEach((value, i) => {
      // One rounding to float32 of a value near 1, and those of a change of at most 1e-3.
      expect(Math.abs(value - expected[i])).toBeLessThan(1.2e-7 * Math.abs(expected[i]) + 1e-9);
      expect(Math.abs(value - before[i])).toBeGreaterThan(1e-5);
    });
    await training.release();
  });

  it('refuses version 1, which is for 1.17', async () => {
    await expect(session({ ...start, version: 1 })).rejects.toBeDefined();
  });
});
