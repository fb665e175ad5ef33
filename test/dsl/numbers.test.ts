import { expect, it } from 'vitest';
import { ndarray } from '../../compiler/ir/ndarray.ts';
import type { DType } from '../../compiler/ir/types.ts';
import { interpret } from '../../compiler/passes/interpret.ts';
import {
  add,
  clip,
  conv2d,
  dropout,
  equal,
  leakyRelu,
  less,
  linear,
  maximum,
  maxPool,
  mul,
  normal,
  pad,
  pow,
  resize,
  softmaxCrossEntropy,
  sub,
  type Tensor,
  where,
} from '../../dsl/index.ts';
import { graphValue } from '../../dsl/tensor.ts';
import { refusal, writer } from './graph-of.ts';

/** The first line of what `body` of an input of this type is refused with. */
function said(dtype: DType, body: (x: Tensor) => unknown, shape: readonly (number | string)[] = ['N', 4]): string {
  return refusal(() => body(writer().input('x', shape, dtype as 'float32'))).split('\n')[0];
}

it.each<[string, DType, (x: Tensor) => unknown, string]>([
  ['add(float32, 1e300)', 'float32', (x) => add(x, 1e300), 'add: 1e+300 is beyond the largest number of float32'],
  ['mul(int32, 0.5)', 'int32', (x) => mul(x, 0.5), 'mul: 0.5 is not a whole number of int32'],
  ['mul(0.5, int64)', 'int64', (x) => mul(0.5, x as never), 'mul: 0.5 is not a whole number of int64'],
  ['add(uint8, 300)', 'uint8', (x) => add(x, 300), 'add: 300 is not from 0 to 255, the numbers of uint8'],
  ['sub(uint8, -1)', 'uint8', (x) => sub(x, -1), 'sub: -1 is not from 0 to 255, the numbers of uint8'],
  ['less(int32, 2^31)', 'int32', (x) => less(x, 2 ** 31), 'less: 2147483648 is not from -2147483648 to 2147483647'],
  [
    'equal(int64, Infinity)',
    'int64',
    (x) => equal(x, Number.POSITIVE_INFINITY),
    'equal: Infinity is not a whole number of int64',
  ],
  ['where(…, int32, 0.5)', 'int32', (x) => where(less(x, 3), x, 0.5), 'where: 0.5 is not a whole number of int32'],
  ['pad(int64, 0.5)', 'int64', (x) => pad(x, [0, 1, 0, 1], 0.5), 'pad: 0.5 is not a whole number of int64'],
  ['add(float32, NaN)', 'float32', (x) => add(x, Number.NaN), 'add: NaN is not a number of float32'],
])('a number that is none of the tensor’s type: %s', (_, dtype, body, sentence) => {
  expect(said(dtype, body)).toContain(`DTYPE_MISMATCH  ${sentence}`);
});

it('a number of the tensor’s type is that number', () => {
  const { context, input } = writer();
  const x = input('x', [2], 'int32');
  const [result] = interpret(context.graph, new Map([[graphValue(x), ndarray([2], [3, -4], 'int32')]]), [graphValue(mul(x, -7))]);
  expect([...result.data]).toEqual([-21, 28]);
  expect(said('float32', (x) => maximum(x, Number.NEGATIVE_INFINITY))).toBe('nothing was thrown');
});

it.each(['add', 'sub', 'mul', 'div', 'pow', 'minimum', 'maximum'] as const)('%s takes no truth values', async (name) => {
  const language = await import('../../dsl/index.ts');
  const operator = language[name] as (a: Tensor, b: Tensor) => Tensor;
  expect(said('bool', (x) => operator(x, x))).toMatch(new RegExp(`^DTYPE_MISMATCH  ${name}: takes .*, got bool`));
});

it('two plain numbers have a sentence', () => {
  // @ts-expect-error the editor refuses them too
  expect(refusal(() => add(1, 2))).toContain('MODEL_INVALID  add: takes at least one tensor, got two numbers');
  // @ts-expect-error
  expect(refusal(() => pow(2, 3))).toContain('pow: takes at least one tensor, got two numbers');
});

it('dropout names itself when its part is no probability, also where it does nothing', () => {
  for (const mode of ['training', 'inference'] as const) {
    for (const p of [-0.1, 1, 1.5, Number.NaN]) {
      const sentence = `SHAPE_ATTRIBUTE  dropout: p ${p} is not a probability below 1`;
      expect(refusal(() => dropout(writer(mode).input('x', ['N', 4]), p))).toContain(sentence);
    }
  }
});

it('attributes and initializers that are not numbers', () => {
  expect(said('float32', (x) => leakyRelu(x, Number.NaN))).toBe('SHAPE_ATTRIBUTE  leakyRelu: alpha is NaN');
  expect(said('float32', (x) => clip(x, { min: Number.NaN }))).toBe('SHAPE_ATTRIBUTE  clip: min is NaN');
  const broken = (x: Tensor) => linear(x, 'fc', { units: 2, initializer: normal(Number.NaN) });
  expect(said('float32', broken)).toBe('MODEL_INVALID  fc.weight: its initializer has the number NaN');
});

it('class weights are numbers of 0 or more, and not all 0', () => {
  const weighted = (classWeights: readonly number[]) => {
    const { input } = writer();
    return refusal(() => softmaxCrossEntropy(input('x', ['N', 2]), input('t', ['N'], 'int64') as never, { classWeights }));
  };
  expect(weighted([1, -1])).toContain('softmaxCrossEntropy: class weight -1 is not a number of 0 or more');
  expect(weighted([Number.NaN, 1])).toContain('softmaxCrossEntropy: class weight NaN is not a number of 0 or more');
  expect(weighted([0, 0])).toContain('softmaxCrossEntropy: all class weights are 0');
  expect(weighted([0, 1])).toBe('nothing was thrown');
});

it('a misspelt option comes with the one that was meant', () => {
  const map = ['N', 4, 8, 8];
  const hint = (body: (x: Tensor) => unknown) =>
    refusal(() => body(writer().input('x', map)))
      .split('\n')
      .at(-1);
  expect(hint((x) => conv2d(x, 'c', { filters: 2, kernel: 1, padding: 1 } as never))).toContain(
    'hint: did you mean "pad"? the options',
  );
  expect(hint((x) => maxPool(x, { kernel: 2, strides: 1 } as never))).toContain('hint: did you mean "stride"? the options');
  expect(hint((x) => resize(x, { scales: 2 } as never))).toContain('hint: did you mean "scale"? the options are scale, size');
  expect(said('float32', (x) => linear(x, 'fc', { units: 2, biases: true } as never))).toContain('linear: has no option biases');
});
