import type { Manifest, ManifestPort } from '../../contract/manifest.ts';
import { random, seed24 } from '../../numeric/random.ts';
import { cut } from '../../runtime/batches.ts';
import { type Dataset, epochOrder } from '../../runtime/data/dataset.ts';
import type { Schedule } from '../../runtime/schedule.ts';
import type { TensorData } from '../../runtime/tensor.ts';
import { type TinyNode, type TinyPort, tinyModel } from './tiny-onnx.ts';

/*
 * Softmax regression on 4 features and 3 classes, as the compiler would lay it out: parameters are weight [4,3] and bias [3], the slot a momentum, the statistic
 * the running mean of the features. The seed nudges the gradient, so that a wrong one is seen.
 *
 *   g ← ∂loss + seed·1e-9;  b ← beta1·b + g;  p ← p − η·b;  s ← 0.9·s + 0.1·mean(x)
 */
const features = 4;
const classes = 3;
const parameterCount = features * classes + classes;

const forward: TinyNode[] = [
  ['Split', ['parameters', 'sizes'], ['flat', 'bias'], { axis: 0 }],
  ['Reshape', ['flat', 'matrix'], ['weight']],
  ['MatMul', ['x', 'weight'], ['product']],
  ['Add', ['product', 'bias'], ['logits'], {}, 'head/Add'],
  ['LogSoftmax', ['logits'], ['logs'], { axis: 1 }],
  ['OneHot', ['label', 'depth', 'levels'], ['truth'], { axis: 1 }],
  ['Mul', ['logs', 'truth'], ['chosen']],
  ['ReduceSum', ['chosen', 'one'], ['each'], { keepdims: 0 }],
  ['ReduceMean', ['each'], ['mean'], { axes: [0], keepdims: 0 }],
  ['Neg', ['mean'], ['loss']],
];

const backward: TinyNode[] = [
  ['Softmax', ['logits'], ['shares'], { axis: 1 }],
  ['Sub', ['shares', 'truth'], ['error']],
  ['Transpose', ['x'], ['turned'], { perm: [1, 0] }],
  ['MatMul', ['turned', 'error'], ['sumWeight']],
  ['Reshape', ['sumWeight', 'line'], ['sumFlat']],
  ['ReduceSum', ['error', 'zero'], ['sumBias'], { keepdims: 0 }],
  ['Concat', ['sumFlat', 'sumBias'], ['sum'], { axis: 0 }],
  ['Shape', ['label'], ['count']],
  ['Cast', ['count'], ['n'], { to: 1 }],
  ['Div', ['sum', 'n'], ['gradient']],
  ['Cast', ['seed'], ['drawn'], { to: 1 }],
  ['Mul', ['drawn', 'tiny'], ['nudge']],
  ['Add', ['gradient', 'nudge'], ['g']],
  ['Mul', ['momentum', 'beta1'], ['kept']],
  ['Add', ['kept', 'g'], ['momentum_out']],
  ['Mul', ['momentum_out', 'learning_rate'], ['change']],
  ['Sub', ['parameters', 'change'], ['parameters_out']],
  ['ReduceMean', ['x'], ['middle'], { axes: [0], keepdims: 0 }],
  ['Mul', ['middle', 'part'], ['fresh']],
  ['Mul', ['statistics', 'rest'], ['old']],
  ['Add', ['old', 'fresh'], ['statistics_out']],
];

const constants = {
  floats: { levels: [0, 1], tiny: 1e-9, part: 0.1, rest: 0.9 },
  integers: { sizes: [12, 3], matrix: [4, 3], depth: [3], one: [1], zero: [0], line: [12] },
};

const data: TinyPort[] = [
  ['x', 'float32', ['N', features]],
  ['label', 'int64', ['N']],
];
const roles: Record<string, ManifestPort['role']> = { x: 'data', label: 'target', seed: 'seed', loss: 'loss', logits: 'output' };
const roleOf = (name: string) => roles[name] ?? (['learning_rate', 'beta1'].includes(name) ? 'hyperparameter' : 'state');
const describe = (inputs: readonly TinyPort[], outputs: readonly TinyPort[]) => {
  const ports = (list: readonly TinyPort[]) => list.map(([name, dtype, shape]) => ({ name, dtype, shape, role: roleOf(name) }));
  return { sha256: '', inputs: ports(inputs), outputs: ports(outputs) };
};

const stepInputs: TinyPort[] = [
  ...data,
  ['seed', 'int64', []],
  ['learning_rate', 'float32', []],
  ['beta1', 'float32', []],
  ['parameters', 'float32', [parameterCount]],
  ['momentum', 'float32', [parameterCount]],
  ['statistics', 'float32', [features]],
];
const results: TinyPort[] = [
  ['loss', 'float32', []],
  ['logits', 'float32', ['N', classes]],
];
const stepOutputs: TinyPort[] = [
  ...results,
  ['parameters_out', 'float32', [parameterCount]],
  ['momentum_out', 'float32', [parameterCount]],
  ['statistics_out', 'float32', [features]],
];
const evalInputs: TinyPort[] = [...data, ['parameters', 'float32', [parameterCount]]];

/** `step.onnx` and `eval.onnx`. */
export const files: ReadonlyMap<string, Uint8Array> = new Map([
  ['step.onnx', tinyModel({ nodes: [...forward, ...backward], inputs: stepInputs, outputs: stepOutputs, ...constants })],
  ['eval.onnx', tinyModel({ nodes: forward, inputs: evalInputs, outputs: results, ...constants })],
]);

export const manifest: Manifest = {
  ddrc: 1,
  model: 'softmax-regression',
  options: {},
  opset: 17,
  target: 'portable',
  block: 0,
  files: { 'step.onnx': describe(stepInputs, stepOutputs), 'eval.onnx': describe(evalInputs, results) },
  parameters: [
    { name: 'weight', shape: [features, classes], offset: 0 },
    { name: 'bias', shape: [classes], offset: features * classes },
  ],
  statistics: [{ name: 'mean', shape: [features], offset: 0 }],
  optimizer: { kind: 'sgd', beta1: 0.5 },
  slots: ['momentum'],
  clipNorm: 0,
  classes: ['low', 'middle', 'high'],
  scores: { output: 'logits', activation: 'softmax' },
  preprocessing: [],
  modelHash: 'softmax-regression-1',
};

export const initialWeights: ReadonlyMap<string, TensorData> = new Map<string, TensorData>([
  ['weight', { dtype: 'float32', shape: [4, 3], data: Float32Array.from({ length: 12 }, (_, i) => (i % 5) / 10) }],
  ['bias', { dtype: 'float32', shape: [3], data: new Float32Array(3) }],
  ['mean', { dtype: 'float32', shape: [4], data: new Float32Array(4) }],
]);

/** Points around three centres, one for each class, that overlap a little. */
export function points(count: number, seed: string): Dataset & { readonly x: Float32Array } {
  const next = random(seed);
  const labels = Int32Array.from({ length: count }, (_, i) => i % classes);
  const x = Float32Array.from({ length: count * features }, (_, i) => {
    const label = labels[Math.floor(i / features)];
    return (i % features === label ? 1.2 : 0) + 2 * next() - 1;
  });
  return {
    size: count,
    classes: null,
    labels,
    x,
    batch: async (indices) => ({
      x: {
        dtype: 'float32',
        shape: [indices.length, features],
        data: Float32Array.from(indices.flatMap((index) => [...x.subarray(index * features, (index + 1) * features)])),
      },
      label: { dtype: 'int64', shape: [indices.length], data: BigInt64Array.from(indices, (index) => BigInt(labels[index])) },
    }),
  };
}

/** What a double-precision training of the same model gives for each epoch. */
export interface ReferenceEpoch {
  readonly loss: number;
  readonly accuracy: number;
  readonly valLoss: number;
  readonly valAccuracy: number;
  readonly parameters: number[];
  readonly statistics: number[];
}

/** The same training written out in double precision, on one example after the other. */
export function reference(
  train: ReturnType<typeof points>,
  val: ReturnType<typeof points>,
  { epochs, batch, schedule, seed }: { epochs: number; batch: number; schedule: Schedule; seed: number },
): ReferenceEpoch[] {
  const p = [...initialWeights.get('weight')!.data, ...initialWeights.get('bias')!.data].map(Number);
  const b = new Array<number>(parameterCount).fill(0);
  let statistics = [0, 0, 0, 0];
  let step = 0;
  const look = (set: ReturnType<typeof points>, index: number) => {
    const x = Array.from(set.x.subarray(index * features, (index + 1) * features));
    const logits = [0, 1, 2].map((k) => x.reduce((sum, value, f) => sum + value * p[f * classes + k], p[12 + k]));
    const powers = logits.map(Math.exp);
    const total = powers.reduce((sum, power) => sum + power, 0);
    const label = set.labels![index];
    return {
      x,
      label,
      shares: powers.map((power) => power / total),
      loss: Math.log(total) - logits[label],
      right: Number(logits.indexOf(Math.max(...logits)) === label),
    };
  };
  return Array.from({ length: epochs }, (_, e) => {
    let loss = 0;
    let right = 0;
    const batches = cut(epochOrder(train.size, seed, e + 1), batch, { dropRest: true });
    for (const indices of batches) {
      const { learningRate, beta1 = 0.5 } = schedule(step);
      const g = new Array<number>(parameterCount).fill(seed24(seed, step) * 1e-9);
      const middle = [0, 0, 0, 0];
      for (const index of indices) {
        const one = look(train, index);
        loss += one.loss / batch;
        right += one.right;
        one.shares.forEach((share, k) => {
          const error = (share - Number(k === one.label)) / batch;
          one.x.forEach((value, f) => {
            g[f * classes + k] += value * error;
          });
          g[12 + k] += error;
        });
        one.x.forEach((value, f) => {
          middle[f] += value / batch;
        });
      }
      g.forEach((value, i) => {
        b[i] = beta1 * b[i] + value;
        p[i] -= learningRate * b[i];
      });
      statistics = statistics.map((value, f) => 0.9 * value + 0.1 * middle[f]);
      step++;
    }
    const tested = Array.from({ length: val.size }, (_, i) => look(val, i));
    const mean = (key: 'loss' | 'right') => tested.reduce((sum, one) => sum + one[key], 0) / val.size;
    return {
      loss: loss / batches.length,
      accuracy: right / (batches.length * batch),
      valLoss: mean('loss'),
      valAccuracy: mean('right'),
      parameters: [...p],
      statistics: [...statistics],
    };
  });
}
