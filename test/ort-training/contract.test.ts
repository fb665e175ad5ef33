import onnxProto from 'onnx-proto';
import { describe, expect, it, vi } from 'vitest';
import { type CompileRequest, compile } from '../../compiler/compile.ts';
import { portable } from '../../compiler/emit/lowering.ts';
import { array, classIndex, defineModel, linear, relu, scope, softmaxCrossEntropy } from '../../dsl/index.ts';

vi.mock('ddrc', () => import('../../dsl/index.ts'));
const { default: ddrnet } = await import('../../models/ddrnet.ts');
const { ModelProto } = onnxProto.onnx;

const program = ddrnet.instantiate({ size: 32, channels: 8 });
const artifacts = ['training_model', 'eval_model', 'optimizer_model'] as const;
const adam = { kind: 'adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 } as const;
const filesOf = (request: CompileRequest = {}, of = program) => {
  const { files } = compile(of, { artifacts, ...request });
  return artifacts.map((name) => ModelProto.decode(files.get(`${name}.onnx`)!));
};
const names = (list: readonly { name?: string | null }[] | null | undefined) => (list ?? []).map(({ name }) => name!);

describe('the three graphs', () => {
  const [training, evaluation, optimizer] = filesOf();
  const { parameters, statistics } = compile(program, { artifacts: [] }).manifest;
  const arrays = [...parameters, ...statistics].map(({ name }) => name);

  it('training_model has the inputs, the arrays, a buffer for each parameter and the flag, and an accumulator for each', () => {
    const buffers = parameters.map(({ name }) => `${name}_grad.accumulation.buffer`);
    expect(names(training.graph!.input)).toEqual(['image', 'seed', 'label', ...arrays, ...buffers, 'lazy_reset_grad']);
    const accumulators = training.graph!.node!.filter(({ opType }) => opType === 'InPlaceAccumulatorV2');
    const gradients = accumulators.filter(({ input }) => input![2] === 'lazy_reset_grad');
    expect(gradients.map(({ input }) => input![0])).toEqual(buffers);
    // Running means and variances are overwritten, whatever the flag says.
    expect(accumulators.slice(gradients.length).map(({ input }) => input![0])).toEqual(statistics.map(({ name }) => name));
    expect(names(training.graph!.output).slice(0, 2)).toEqual(['loss', 'logits']);
    expect(names(training.graph!.output).slice(2)).toEqual(arrays.map((name) => `${name}_grad.accumulation.out`));
    const flags = training.graph!.output!.slice(2).map(({ type }) => type!.tensorType!);
    expect(flags.every(({ elemType, shape }) => elemType === 9 && Number(shape!.dim![0].dimValue) === 1)).toBe(true);
  });

  it('its only operator beyond the standard is the accumulator', () => {
    const others = training.graph!.node!.filter(({ domain }) => domain !== '');
    expect(new Set(others.map(({ domain, opType }) => `${domain}.${opType}`))).toEqual(
      new Set(['com.microsoft.InPlaceAccumulatorV2']),
    );
    expect(evaluation.graph!.node!.every(({ domain }) => domain === '')).toBe(true);
  });

  it('eval_model has the arrays in the same order and the same outputs', () => {
    expect(names(evaluation.graph!.input)).toEqual(['image', 'label', ...arrays]);
    expect(names(evaluation.graph!.output)).toEqual(['loss', 'logits']);
  });

  it('optimizer_model has its inputs in the order that is demanded, and one node for all parameters', () => {
    const order = ['learning_rate', 'step', 'params', 'gradients', 'first_order_moments', 'second_order_moments'];
    expect(names(optimizer.graph!.input)).toEqual(order);
    const nodes = optimizer.graph!.node!.filter(({ domain }) => domain !== '').map(({ opType }) => opType);
    expect(nodes).toEqual(['AdamWOptimizer']);
    const [, , sgd] = filesOf({ optimizer: { kind: 'sgd', momentum: 0, nesterov: false, weightDecay: 0 }, clipNorm: 2 });
    expect(names(sgd.graph!.input)).toEqual(order.slice(0, 5));
    expect(sgd.graph!.node!.map(({ opType }) => opType).slice(-2)).toEqual(['InplaceClipGradNorm', 'SGDOptimizerV2']);
  });

  it.each([13, 17, 21])('opset %i, with an IR version that the runtime reads', (opset) => {
    for (const { opsetImport, irVersion } of filesOf({ target: { ...portable, opset } })) {
      expect(Number(opsetImport!.find(({ domain }) => domain === '')!.version)).toBe(opset);
      expect(Number(irVersion)).toBeLessThanOrEqual(10);
    }
  });

  it('are the same bytes again', () => {
    const bytes = () => artifacts.map((name) => compile(program, { artifacts: [name] }).files.get(`${name}.onnx`)!);
    expect(bytes()).toEqual(bytes());
  });

  it('frozen parameters have no buffer', () => {
    const [training] = filesOf({ freeze: ['stem', 'head.fc.bias'] });
    const buffers = names(training.graph!.input).filter((name) => name.endsWith('.buffer'));
    const free = parameters.map(({ name }) => name).filter((name) => !/^stem\.|^head\.fc\.bias$/.test(name));
    expect(buffers).toEqual(free.map((name) => `${name}_grad.accumulation.buffer`));
    expect(free.length).toBeLessThan(parameters.length - 1);
    expect(names(training.graph!.input)).toEqual(expect.arrayContaining(arrays));
  });
});

/** A model whose names are given. */
const named = (input: string, output: string, layer: string) =>
  defineModel({
    name: 'named',
    options: {},
    inputs: () => ({ [input]: array([4]) }),
    targets: () => ({ label: classIndex() }),
    forward: (inputs) => ({ [output]: scope(relu(Object.values(inputs)[0]), layer, (x) => linear(x, 'fc', { units: 3 })) }),
    loss: (outputs, { label }) => softmaxCrossEntropy(Object.values(outputs)[0] as never, label),
  }).instantiate();

describe('what the contract cannot express is refused', () => {
  const sgd = { kind: 'sgd', momentum: 0.9, nesterov: false, weightDecay: 0 } as const;
  it.each<[string, CompileRequest, string]>([
    ['opset 22', { target: { ...portable, opset: 22 } }, "ONNX Runtime's training API takes opset 13 to 21, not 22"],
    [
      'another target',
      { target: { ...portable, provider: 'webgpu' } },
      'the training artifacts are for every machine, not for webgpu',
    ],
    ['SGD with momentum', { optimizer: sgd }, "ONNX Runtime's training API has no SGD with momentum, only AdamW and plain SGD"],
    [
      'RMSprop',
      { optimizer: { kind: 'rmsprop', alpha: 0.9, epsilon: 1e-8, momentum: 0, weightDecay: 0 } },
      "ONNX Runtime's training API has no RMSprop, only AdamW and plain SGD",
    ],
    [
      'Adam with decay',
      { optimizer: { ...adam, weightDecay: 0.1 } },
      "ONNX Runtime's training API adds no weight decay to the gradients, as adam with decay does",
    ],
  ])('%s', (_, request, message) => {
    const error = { code: 'ARTIFACTS_UNFIT', message };
    expect(() => compile(program, { artifacts, ...request })).toThrow(expect.objectContaining(error));
  });

  it.each([
    ['an input', named('x_grad', 'logits', 'top'), 'x_grad'],
    ['an output', named('x', 'logits_grad', 'top'), 'logits_grad'],
    ['the flag', named('lazy_reset_grad', 'logits', 'top'), 'lazy_reset_grad'],
  ])('%s of a name that would be taken for something else', (_, program, name) => {
    const error = {
      code: 'ARTIFACTS_UNFIT',
      message: expect.stringMatching(new RegExp(`^the name ${name} (ends like|stands for)`)),
    };
    expect(() => compile(program, { artifacts: ['training_model'] })).toThrow(expect.objectContaining(error));
  });
});
