import { describe, expect, it } from 'vitest';
import { stepGraph } from '../../compiler/artifacts/training.ts';
import { compile } from '../../compiler/index.ts';
import type { OptimizerSpec } from '../../compiler/ir/program.ts';
import { array, bool, defineModel, dropout, linear, mean, meanSquaredError, type Tensor } from '../../dsl/index.ts';
import { refusal } from './graph-of.ts';

/** A model with dropout whose output has the name `output`. */
const named = (output: string) =>
  defineModel({
    name: 'net',
    options: {},
    inputs: () => ({ x: array([4]) }),
    targets: () => ({ t: array([2]) }),
    forward: ({ x }): Record<string, Tensor> => ({ [output]: dropout(linear(x, 'fc', { units: 2 }), 0.5) }),
    loss: (outputs, { t }) => meanSquaredError(outputs[output], t as Tensor),
  });

const optimizers: OptimizerSpec[] = [
  { kind: 'sgd', momentum: 0.9, nesterov: true, weightDecay: 0.1 },
  { kind: 'adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.1 },
  { kind: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.1 },
  { kind: 'rmsprop', alpha: 0.99, epsilon: 1e-8, momentum: 0.9, weightDecay: 0.1 },
];

describe('names of inputs, targets and outputs', () => {
  const program = named('y').instantiate();

  it.each(optimizers)('cannot be those of the step graph with $kind', (optimizer) => {
    const { graph } = stepGraph(program, { batch: 2, optimizer, clipNorm: 1 }, true);
    const own = new Set(['x', 't', 'y', 'fc.weight', 'fc.bias']);
    const names = [...graph.inputs.map((input) => input.name!), ...graph.outputs.keys()].filter((name) => !own.has(name));
    expect(names).toContain('learning_rate');
    for (const name of names) {
      expect(refusal(() => named(name).instantiate())).toContain(`cannot be called ${name}, since`);
    }
  });

  it.each(['constant', 'probabilities', 'x'])('cannot be %s', (name) => {
    expect(refusal(() => named(name).instantiate())).toContain(`cannot be called ${name}, since`);
  });

  it.each(['constant.2', 'fc.weight', 'Gemm:0', '2nd', ''])('cannot be %j, which a value of the graph may be called', (name) => {
    const sentence = `net: an input, target or output is called by letters, digits, _ and -, got ${JSON.stringify(name)}`;
    expect(refusal(() => named(name).instantiate())).toContain(sentence);
  });

  it.each(['y', 'class-scores', 'features_2', '_hidden'])('can be %s', (name) => {
    expect(() => compile(named(name).instantiate())).not.toThrow();
  });
});

it('a loss that returns nothing is told so, not that there is none', () => {
  const model = defineModel({
    name: 'net',
    options: {},
    inputs: () => ({ x: array([4]) }),
    forward: ({ x }) => ({ y: linear(x, 'fc', { units: 2 }) }),
    loss: (({ y }: { y: Tensor }) => {
      mean(y, [0, 1]);
    }) as never,
  });
  const said = refusal(() => compile(model.instantiate(), { artifacts: ['step'] }));
  expect(said).toContain('net: the loss must be a scalar tensor, got undefined');
  expect(said).toContain('hint: return what a loss function gives');
});

it('names of every object are no options', () => {
  const model = defineModel({
    name: 'net',
    options: { deep: bool(true) },
    inputs: () => ({ x: array([4]) }),
    forward: ({ x }) => ({ y: linear(x, 'fc', { units: 2 }) }),
  });
  for (const name of ['constructor', 'toString', '__proto__']) {
    const given = JSON.parse(`{ "${name}": "1" }`);
    expect(refusal(() => model.instantiate(given))).toContain(`OPTION_UNKNOWN  net has no option ${name}`);
  }
});
