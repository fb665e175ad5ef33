import { describe, expect, it } from 'vitest';
import { compile } from '../../compiler/index.ts';
import { ndarray } from '../../compiler/ir/ndarray.ts';
import type { TrainingDefaults } from '../../compiler/ir/program.ts';
import { interpret } from '../../compiler/passes/interpret.ts';
import { DdrcError } from '../../diagnostics/error.ts';
import {
  add,
  array,
  batchNorm,
  choice,
  defineModel,
  float,
  gather,
  int,
  linear,
  mean,
  meanSquaredError,
  normal,
  type Option,
  parameter,
  scope,
  type Tensor,
} from '../../dsl/index.ts';
import { graphValue, located } from '../../dsl/tensor.ts';
import { refusal, writer } from './graph-of.ts';

interface Parts {
  readonly training?: object;
  readonly options?: Record<string, Option>;
  readonly forward?: (x: Tensor<['N', 4], 'float32'>) => Tensor;
  readonly loss?: (y: Tensor, t: Tensor) => Tensor;
}

/** A regression of two numbers by four, with parts of its definition replaced. */
const net = ({ training, options = {}, forward = (x) => linear(x, 'fc', { units: 2 }), loss = meanSquaredError }: Parts) =>
  defineModel({
    name: 'net',
    options,
    inputs: () => ({ x: array([4]) }),
    targets: () => ({ t: array([2]) }),
    forward: ({ x }): Record<string, Tensor> => ({ y: forward(x) }),
    loss: ({ y }, { t }) => loss(y, t),
    training: training as Partial<TrainingDefaults>,
  });

describe('training', () => {
  const adam = { kind: 'adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 };
  const sgd = { kind: 'sgd', momentum: 0.9, nesterov: true, weightDecay: 0 };
  it.each<[object, string]>([
    ...[-3, 0, 2.5].map((batch): [object, string] => [
      { batch },
      `training.batch must be a whole number of at least 1, got ${batch}`,
    ]),
    ...[0, -1, 1.5].map((epochs): [object, string] => [
      { epochs },
      `training.epochs must be a whole number of at least 1, got ${epochs}`,
    ]),
    [{ learningRate: -1 }, 'training.learningRate must be a number above 0, got -1'],
    [{ learningRate: Number.NaN }, 'training.learningRate must be a number above 0, got NaN'],
    [{ clipNorm: -2 }, 'training.clipNorm must be a number of 0 or more, got -2'],
    [{ clipNorm: Number.NaN }, 'training.clipNorm must be a number of 0 or more, got NaN'],
    [{ schedule: 3 }, 'training.schedule must be a text as --schedule takes it, got 3'],
    [{ lerningRate: 1 }, 'training has no lerningRate, did you mean "learningRate"?'],
    [{ optimizer: 'adam' }, 'training.optimizer must be an optimizer'],
    [{ optimizer: { ...sgd, momentum: 2 } }, 'training.optimizer.momentum must be a number from 0 to below 1, got 2'],
    [{ optimizer: { ...sgd, momentum: 0 } }, 'training.optimizer.nesterov needs a momentum'],
    [{ optimizer: { ...adam, weightDecay: -1 } }, 'training.optimizer.weightDecay must be a number of 0 or more, got -1'],
    [{ optimizer: { ...adam, beta1: 1.5 } }, 'training.optimizer.beta1 must be a number between 0 and 1, got 1.5'],
    [{ optimizer: { ...adam, alpha: 1 } }, 'training.optimizer has no alpha'],
    [{ optimizer: { kind: 'lion' } }, 'training.optimizer.kind "lion" is no optimizer'],
  ])('%j is refused', (training, sentence) => {
    expect(refusal(() => net({ training }).instantiate())).toContain(`MODEL_INVALID  net: ${sentence}`);
  });

  it('is what the model states, and the language’s defaults elsewhere', () => {
    const { training } = net({ training: { optimizer: sgd, batch: 7, epochs: undefined } }).instantiate();
    expect(training).toEqual({
      optimizer: sgd,
      batch: 7,
      epochs: 10,
      learningRate: 1e-3,
      schedule: 'constant',
      clipNorm: 0,
    });
  });
});

it.each<[string, Record<string, Option>, string]>([
  ['int', { depth: int(6, { min: 8 }) }, 'the default of option depth must be a whole number from 8 up, got 6'],
  ['float', { rate: float(1, { min: 0, below: 1 }) }, 'the default of option rate must be a number from 0 to below 1, got 1'],
  ['choice', { kind: choice('c' as never, ['a', 'b']) }, 'the default of option kind must be one of a, b, got c'],
])('a default that breaks its own rule: %s', (_, options, sentence) => {
  expect(refusal(() => net({ options }).instantiate())).toContain(`MODEL_INVALID  net: ${sentence}`);
});

it('a loss makes no parameters and no statistics', () => {
  const learned = net({ loss: (y, t) => meanSquaredError(linear(y, 'late', { units: 2 }) as Tensor, t) }).instantiate();
  const normed = net({ loss: (y, t) => meanSquaredError(batchNorm(y, 'norm') as Tensor, t) }).instantiate();
  const said = refusal(() => compile(learned, { artifacts: ['step'] }));
  expect(said).toContain('MODEL_INVALID  late.weight: the loss cannot make a parameter');
  expect(said).toMatch(/at test[\\/]dsl[\\/]definition\.test\.ts:\d+/);
  expect(refusal(() => compile(normed, { artifacts: ['step'] }))).toContain('norm.weight: the loss cannot make a parameter');
});

it('a forward that is another one each time is told so', () => {
  let calls = 0;
  const counted = net({ forward: (x) => linear(x, `fc${calls++}`, { units: 2 }) }).instantiate();
  expect(refusal(() => compile(counted, { artifacts: ['model'] }))).toContain(
    'MODEL_INVALID  net: forward is not the same each time it is called: first fc0.weight [2,4], then fc1.weight [2,4]',
  );
});

it('lines of packages are no place of a mistake, but those of a model that comes with ddrc are', () => {
  const whereOf = (...files: readonly string[]) => {
    const error = new DdrcError({ code: 'MODEL_INVALID', message: 'wrong' });
    error.stack = ['DdrcError: wrong', ...files.map((file) => `    at call (${file}:7:3)`)].join('\n');
    return (located(error) as DdrcError).where;
  };
  expect(whereOf('/p/node_modules/commander/lib/command.js', 'node:internal/main')).toBeUndefined();
  expect(whereOf('/p/node_modules/@scope/tool/main.js', '/p/model.ts')).toBe('/p/model.ts:7');
  expect(whereOf('/p/node_modules/ddrc/models/ddrnet.ts')).toBe('/p/node_modules/ddrc/models/ddrnet.ts:7');
});

it('a loss that is no scalar is shown with the batch’s name, whatever its size in this graph', () => {
  const rows = net({ loss: (y) => mean(y, [1]) as Tensor }).instantiate();
  const said = refusal(() => rows.build({ mode: 'training', batch: 1, loss: true }));
  expect(said).toContain('MODEL_INVALID  net: the loss must be a scalar tensor, got [N]');
});

it('an output that has the name of a target or an input is told whose it is', () => {
  const named = (output: string) =>
    defineModel({
      name: 'net',
      options: {},
      inputs: () => ({ x: array([4]) }),
      targets: () => ({ t: array([4]) }),
      forward: ({ x }): Record<string, Tensor> => ({ [output]: add(x, 1) }),
    });
  expect(refusal(() => named('t').instantiate())).toContain('net: an output cannot be called t, since a target has this name');
  expect(refusal(() => named('x').instantiate())).toContain('net: an output cannot be called x, since an input has this name');
});

describe('parameter', () => {
  it('is a table that gather looks up, trained like a layer’s', () => {
    const { context, input } = writer();
    const ids = input('ids', [3], 'int64');
    const table = scope(ids, 'words', (ids) => parameter(ids, 'table', [4, 2], normal(0.02)));
    expect(context.parameters).toEqual([
      expect.objectContaining({ name: 'words.table', shape: [4, 2], initializer: { kind: 'normal', deviation: 0.02 } }),
    ]);
    const feeds = new Map([
      [graphValue(ids), ndarray([3], [2, 0, 2], 'int64')],
      [graphValue(table), ndarray([4, 2], [0, 1, 2, 3, 4, 5, 6, 7])],
    ]);
    const [rows] = interpret(context.graph, feeds, [graphValue(gather(table, ids))]);
    expect(rows.shape).toEqual([3, 2]);
    expect([...rows.data]).toEqual([4, 5, 0, 1, 4, 5]);
  });

  it('is refused twice by one name, and in no whole sizes', () => {
    const { input } = writer();
    const x = input('x', ['N', 4]);
    parameter(x, 'scale', [], normal(1));
    expect(refusal(() => parameter(x, 'scale', [], normal(1)))).toContain('PARAMETER_DUPLICATE  scale');
    expect(refusal(() => parameter(x, 'half', [0.5], normal(1)))).toContain('SHAPE_ATTRIBUTE  half: [0.5] is not the shape');
  });

  it('gets a gradient and a place in the step’s table', () => {
    const model = defineModel({
      name: 'embedding',
      options: {},
      inputs: () => ({ ids: array([3], 'int64') }),
      targets: () => ({ t: array([3, 2]) }),
      forward: ({ ids }) => ({ y: gather(parameter(ids, 'table', [5, 2], normal(1)), ids) }),
      loss: ({ y }, { t }) => meanSquaredError(y, t),
    });
    const { manifest } = compile(model.instantiate(), { artifacts: ['step'] });
    expect(manifest.parameters).toEqual([{ name: 'table', shape: [5, 2], offset: 0 }]);
  });
});

it('the operations of a fully connected layer are its products, 2 · in · units, as those of a convolution are', () => {
  const { graph } = net({ forward: (x) => linear(x, 'fc', { units: 3 }) })
    .instantiate()
    .build({ mode: 'inference', batch: 1, loss: false });
  const [node] = graph.nodes;
  const types = (values: readonly { type: Tensor | object }[]) => values.map(({ type }) => type) as never;
  expect(node.op.flops(types(node.inputs), types(node.outputs), node.attrs)).toBe(2 * 4 * 3);
});
