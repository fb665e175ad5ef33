import { describe, expect, it } from 'vitest';
import { type LossAids, stepGraph } from '../../../compiler/artifacts/training.ts';
import { compile } from '../../../compiler/compile.ts';
import { type NDArray, ndarray } from '../../../compiler/ir/ndarray.ts';
import type { Program } from '../../../compiler/ir/program.ts';
import { interpret } from '../../../compiler/passes/interpret.ts';
import {
  array,
  classIndex,
  defineModel,
  linear,
  meanSquaredError,
  reshape,
  sigmoidCrossEntropy,
  softmaxCrossEntropy,
} from '../../../dsl/index.ts';
import { random } from '../../../numeric/random.ts';
import { Engine, trainingSession } from '../../../runtime/engine.ts';

const sgd = { kind: 'sgd', momentum: 0, nesterov: false, weightDecay: 0 } as const;
const [batch, features, classes] = [6, 4, 3];
const ports = {
  options: {},
  inputs: () => ({ x: array([features]) }),
  targets: () => ({ label: classIndex() }),
} as const;
type Loss = typeof softmaxCrossEntropy;
const regression = (loss: Loss, own?: { smoothing?: number; classWeights?: readonly number[] }) =>
  defineModel({
    ...ports,
    name: 'regression',
    forward: ({ x }) => ({ logits: linear(x, 'head', { units: classes }) }),
    loss: ({ logits }, { label }) => loss(logits, label, own),
  }).instantiate();

const next = random('aids');
const draw = (shape: readonly number[]) =>
  ndarray(
    shape,
    Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => 2 * next() - 1),
  );
const given: Record<string, NDArray> = {
  x: draw([batch, features]),
  label: ndarray([batch], [0, 1, 2, 2, 0, 2], 'int64'),
  label_partner: ndarray([batch], [2, 2, 1, 0, 0, 1], 'int64'),
  'head.weight': draw([classes, features]),
  'head.bias': draw([classes]),
};
const weights = [0.5, 2, 1.25];

/** Loss and flat gradient [weight, bias] of the step that the compiler writes, in double precision. */
function computed(program: Program, aids: LossAids, share = 0.3): { loss: number; gradient: number[] } {
  const { graph } = stepGraph(program, { batch, optimizer: sgd, clipNorm: 0, ...aids }, true);
  const arrays: Record<string, NDArray> = { ...given, mix_share: ndarray([], [share]) };
  const feeds = new Map(graph.inputs.filter(({ name }) => arrays[name!]).map((input) => [input, arrays[input.name!]]));
  const [loss, gradient] = interpret(graph, feeds, [graph.outputs.get('loss')!, graph.outputs.get('gradients')!]);
  return { loss: loss.data[0], gradient: [...gradient.data] };
}

/** The same in closed form: examples i with weights w, whose loss is Σ wᵢ·(log Σ exp z − z at the label)/Σ wᵢ. */
function softmaxByHand(labels: NDArray, w: readonly number[]): { loss: number; gradient: number[] } {
  const total = labels.data.reduce((sum, label) => sum + w[label], 0);
  const gradient = new Array<number>(classes * features + classes).fill(0);
  let loss = 0;
  labels.data.forEach((label, n) => {
    const x = given.x.data.slice(n * features, (n + 1) * features);
    const logits = Array.from(given['head.bias'].data, (bias, k) =>
      x.reduce((sum, value, f) => sum + value * given['head.weight'].data[k * features + f], bias),
    );
    const sum = logits.reduce((all, logit) => all + Math.exp(logit), 0);
    loss += (w[label] / total) * (Math.log(sum) - logits[label]);
    logits.forEach((logit, k) => {
      const error = (w[label] / total) * (Math.exp(logit) / sum - Number(k === label));
      x.forEach((value, f) => {
        gradient[k * features + f] += error * value;
      });
      gradient[classes * features + k] += error;
    });
  });
  return { loss, gradient };
}

function expectEqual(a: ReturnType<typeof computed>, b: ReturnType<typeof computed>): void {
  expect(Math.abs(a.loss - b.loss)).toBeLessThan(1e-12);
  a.gradient.forEach((value, i) => {
    expect(Math.abs(value - b.gradient[i])).toBeLessThan(1e-12);
  });
}

describe('class weights', () => {
  it('weigh the mean of softmax cross-entropy and its gradient, as the closed form says', () => {
    const program = regression(softmaxCrossEntropy);
    expectEqual(computed(program, { classWeights: weights }), softmaxByHand(given.label, weights));
    expectEqual(computed(program, {}), softmaxByHand(given.label, [1, 1, 1]));
    expect(Math.abs(computed(program, { classWeights: weights }).loss - computed(program, {}).loss)).toBeGreaterThan(0.01);
  });

  it.each([
    ['softmax', softmaxCrossEntropy],
    ['sigmoid', sigmoidCrossEntropy as Loss],
  ] as const)('are for %s what the model itself may give, smoothed or not', (_, loss) => {
    for (const smoothing of [0, 0.1]) {
      const asked = computed(regression(loss, { smoothing }), { classWeights: weights });
      expect(asked).toEqual(computed(regression(loss, { smoothing, classWeights: weights }), {}));
    }
  });

  it('leave the loss that is validated alone', () => {
    const program = regression(softmaxCrossEntropy);
    const evalOf = (request: object) => compile(program, { artifacts: ['eval'], ...request }).files.get('eval.onnx');
    expect(evalOf({ classWeights: weights })).toEqual(evalOf({}));
  });

  it('are refused where no loss takes them, and where there are not as many as classes', () => {
    const unfit = { code: 'AID_UNFIT', message: 'regression: its loss takes no class weights' };
    const own = regression(softmaxCrossEntropy, { classWeights: [1, 1, 2] });
    expect(() => computed(own, { classWeights: weights })).toThrow(expect.objectContaining(unfit));
    const another = defineModel({
      ...ports,
      name: 'regression',
      forward: ({ x }) => ({ logits: linear(x, 'head', { units: 1 }) }),
      loss: ({ logits }, { label }) => meanSquaredError(reshape(logits, ['N']), label),
    }).instantiate();
    expect(() => computed(another, { classWeights: weights })).toThrow(expect.objectContaining(unfit));
    const sentence = expect.stringContaining('2 class weights for 3 classes');
    expect(() => computed(regression(softmaxCrossEntropy), { classWeights: [1, 2] })).toThrow(
      expect.objectContaining({ code: 'SHAPE_ATTRIBUTE', message: sentence }),
    );
    expect(() => compile(own, { classWeights: [1, -1, 1] })).toThrow(expect.objectContaining({ code: 'COMPILE_REQUEST' }));
  });
});

describe('the loss of mixed examples', () => {
  const between = (share: number, w: readonly number[]) => {
    const [own, other] = [given.label, given.label_partner].map((labels) => softmaxByHand(labels, w));
    const mean = (a: number, b: number) => share * a + (1 - share) * b;
    return { loss: mean(own.loss, other.loss), gradient: own.gradient.map((value, i) => mean(value, other.gradient[i])) };
  };

  it.each([0, 0.3, 1])(
    'is the mean of the losses of both labels in the shares %f and the rest, and so is its gradient',
    (share) => {
      const program = regression(softmaxCrossEntropy);
      expectEqual(computed(program, { mixed: true }, share), between(share, [1, 1, 1]));
      expectEqual(computed(program, { mixed: true, classWeights: weights }, share), between(share, weights));
    },
  );

  it('is refused for targets that are no classes', () => {
    const program = defineModel({
      ...{ options: {}, name: 'fit', inputs: ports.inputs },
      targets: () => ({ y: array([1]) }),
      forward: ({ x }) => ({ out: linear(x, 'head', { units: 1 }) }),
      loss: ({ out }, { y }) => meanSquaredError(out, y),
    }).instantiate();
    expect(() => compile(program, { artifacts: ['step'], mixed: true })).toThrow(
      expect.objectContaining({ code: 'AID_UNFIT', message: expect.stringContaining('its target y is none') }),
    );
    expect(compile(program, { artifacts: ['eval'], mixed: true }).files.size).toBe(1);
  });
});

describe('averages of the weights', () => {
  const artifacts = ['step', 'loop', 'grad', 'update', 'eval'] as const;
  const { manifest } = compile(regression(softmaxCrossEntropy), { artifacts, batch, ema: 0.9 });
  const names = (file: string, what: 'inputs' | 'outputs', role: string) =>
    manifest.files[file][what].filter((port) => port.role === role).map(({ name }) => name);

  it('are states of every graph that updates, and what eval.onnx computes from', () => {
    expect(manifest.ema).toBe(0.9);
    for (const file of ['step.onnx', 'loop.onnx', 'update.onnx']) {
      expect(names(file, 'inputs', 'state')).toContain('ema');
      expect(names(file, 'outputs', 'state')).toContain('ema_out');
      expect(names(file, 'inputs', 'hyperparameter')).toContain('ema_rate');
    }
    expect(names('grad.onnx', 'inputs', 'state')).toEqual(['parameters']);
    expect(names('eval.onnx', 'inputs', 'state')).toEqual(['ema']);
  });

  it('change no byte of what is compiled without them', () => {
    const plain = compile(regression(softmaxCrossEntropy), { artifacts, batch });
    expect('ema' in plain.manifest).toBe(false);
    expect(plain.manifest.files['grad.onnx'].sha256).toBe(manifest.files['grad.onnx'].sha256);
  });

  it('stay where a parameter is frozen, to the bit', async () => {
    const program = regression(softmaxCrossEntropy);
    const frozen = compile(program, { artifacts: ['step'], batch, ema: 0.9, freeze: ['head.weight'], optimizer: sgd });
    const flat = Float32Array.from([...frozen.initial.values()].flatMap(({ data }) => [...data]));
    const engine = new Engine({ threads: 1 });
    await engine.open('step', frozen.files.get('step.onnx')!, trainingSession);
    await engine.load({ parameters: flat, ema: flat });
    for (let t = 0; t < 20; t++) {
      const scalar = (value: number) => ({ dtype: 'float32' as const, shape: [], data: Float32Array.of(value) });
      await engine.step('step', {
        x: { dtype: 'float32', shape: [batch, features], data: Float32Array.from(given.x.data) },
        label: { dtype: 'int64', shape: [batch], data: BigInt64Array.from(given.label.data, BigInt) },
        learning_rate: scalar(0.1),
        ema_rate: scalar(0.123),
      });
    }
    const { parameters, ema } = await engine.state();
    await engine.close();
    expect(ema.slice(0, classes * features)).toEqual(flat.slice(0, classes * features));
    expect(ema.slice(classes * features)).not.toEqual(parameters.slice(classes * features));
  });
});
