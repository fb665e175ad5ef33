import { describe, expect, it } from 'vitest';
import type { Value } from '../../compiler/ir/graph.ts';
import { type NDArray, ndarray } from '../../compiler/ir/ndarray.ts';
import { interpret } from '../../compiler/passes/interpret.ts';
import {
  batchNorm,
  conv1d,
  conv2d,
  groupNorm,
  instanceNorm,
  layerNorm,
  linear,
  relu,
  scope,
  shapedLike,
  type Tensor,
} from '../../dsl/index.ts';
import { graphValue } from '../../dsl/tensor.ts';
import { refusal, writer } from './graph-of.ts';

type Dims = readonly (number | string)[];
/** The first line of what `layer` of an input of this shape is refused with. */
function firstLine(shape: Dims, layer: (x: Tensor) => unknown): string {
  return refusal(() => layer(writer().input('x', shape))).split('\n')[0];
}

it('conv1d computes Σ w·x with stride, dilation, asymmetric pads and groups', () => {
  const { context, input } = writer();
  const x = input('x', [1, 2, 5]);
  const y = conv1d(x, 'c', { filters: 2, kernel: 2, stride: 2, dilation: 2, pad: [1, 0], groups: 2 });
  expect(y.shape).toEqual([1, 2, 2]);
  const [weight, bias] = context.parameters;
  expect(context.parameters.map(({ name, shape }) => [name, shape])).toEqual([
    ['c.weight', [2, 1, 2]],
    ['c.bias', [2]],
  ]);
  const feeds = new Map<Value, NDArray>([
    [graphValue(x), ndarray([1, 2, 5], [1, 2, 3, 4, 5, 10, 20, 30, 40, 50])],
    [weight.value, ndarray([2, 1, 2], [1, -1, 2, 3])],
    [bias.value, ndarray([2], [0.5, -0.5])],
  ]);
  // Padded to 0 1 2 3 4 5, taps two apart at positions 0 and 2: 0·w₀ + 2·w₁, 2·w₀ + 4·w₁; the second group ten times that.
  const [result] = interpret(context.graph, feeds, [graphValue(y)]);
  expect([...result.data]).toEqual([-2 + 0.5, 2 - 4 + 0.5, 60 - 0.5, 40 + 120 - 0.5]);
});

describe('sizes that make no layer have a sentence at build', () => {
  const conv = (options: object, shape: Dims = ['N', 4, 8, 8]) =>
    firstLine(shape, (x) => conv2d(x, 'c', { filters: 4, kernel: 3, ...options } as never));

  it.each([
    [{ kernel: 0 }, 'conv: kernel must be whole numbers of at least 1, got 0'],
    [{ kernel: 2.5 }, 'conv: kernel must be whole numbers of at least 1, got 2.5'],
    [{ kernel: [3, -1] }, 'conv: kernel must be whole numbers of at least 1, got -1'],
    [{ groups: -2 }, 'conv: groups must be a whole number of at least 1, got -2'],
    [{ groups: 0 }, 'conv: groups must be a whole number of at least 1, got 0'],
    [{ groups: 0.5 }, 'conv: groups must be a whole number of at least 1, got 0.5'],
    [{ groups: 8, filters: 8 }, 'conv: 4 channels are not divisible by 8 groups'],
    [{ filters: 0 }, 'conv: filters must be a whole number of at least 1, got 0'],
    [{ filters: 1.5 }, 'conv: filters must be a whole number of at least 1, got 1.5'],
    [{ stride: 0 }, 'conv: strides must be whole numbers of at least 1, got 0'],
    [{ pad: -1 }, 'conv: pads must be whole numbers of at least 0, got -1'],
  ])('conv2d %j', (options, sentence) => {
    expect(conv(options)).toBe(`SHAPE_ATTRIBUTE  ${sentence}`);
  });

  it('conv2d and conv1d of inputs that they do not take', () => {
    expect(conv({}, ['N', 4, 'H', 8])).toBe('SHAPE_ATTRIBUTE  conv: [N,4,H,8] needs a number in place of H');
    expect(conv({}, ['N', 'C', 8, 8])).toBe('SHAPE_ATTRIBUTE  conv: [N,C,8,8] needs a number in place of C');
    expect(conv({}, ['N'])).toBe('SHAPE_RANK  conv2d: takes [N,C,H,W], got [N]');
    const wide = firstLine(['N', 4, 8, 8], (x) => conv1d(x, 'c', { filters: 4, kernel: 3 } as never));
    expect(conv({}, ['N', 4, 6])).toBe('SHAPE_RANK  conv2d: takes [N,C,H,W], got [N,4,6]');
    expect(conv({ kernel: [3] })).toBe('SHAPE_ATTRIBUTE  conv2d: kernel must have 2 values, got 1');
    expect(wide).toBe('SHAPE_RANK  conv1d: takes [N,C,L], got [N,4,8,8]');
  });

  it('linear', () => {
    const fc = (shape: Dims, units: number) => firstLine(shape, (x) => linear(x, 'fc', { units }));
    expect(fc(['N', 4], 2.5)).toBe('SHAPE_ATTRIBUTE  linear: units must be a whole number of at least 1, got 2.5');
    expect(fc(['N', 4], 0)).toBe('SHAPE_ATTRIBUTE  linear: units must be a whole number of at least 1, got 0');
    expect(fc(['N', 4], Number.NaN)).toBe('SHAPE_ATTRIBUTE  linear: units must be a whole number of at least 1, got NaN');
    expect(fc(['N', 'T'], 2)).toBe('SHAPE_ATTRIBUTE  linear: [N,T] needs a number in place of T');
    expect(fc([4], 2)).toBe('SHAPE_RANK  linear: takes [N,…,in], got [4]');
    expect(fc([], 2)).toBe('SHAPE_RANK  linear: takes [N,…,in], got []');
  });

  it('norms of inputs without channels, or with a named number of them', () => {
    const named = (op: string, layer: (x: Tensor) => unknown) => {
      expect(firstLine(['N', 'C', 4], layer)).toBe(`SHAPE_ATTRIBUTE  ${op}: [N,C,4] needs a number in place of C`);
      expect(firstLine(['N'], layer)).toBe(`SHAPE_RANK  ${op}: takes [N,C,…], got [N]`);
    };
    named('batchNorm', (x) => batchNorm(x, 'n'));
    named('groupNorm', (x) => groupNorm(x as Tensor<['N', 4]>, 'n', { groups: 1 }));
    named('instanceNorm', (x) => instanceNorm(x, 'n'));
    const last = firstLine(['N', 'T'], (x) => layerNorm(x, 'n'));
    expect(last).toBe('SHAPE_ATTRIBUTE  layerNorm: [N,T] needs a number in place of T');
    expect(firstLine(['N', 4], (x) => layerNorm(x, 'n', { axis: 2 }))).toBe(
      'SHAPE_ATTRIBUTE  layerNorm: axis 2 is out of range for [N,4]',
    );
  });

  it('a parameter of any layer', () => {
    const { context } = writer();
    const odd = () => context.graph.within('fc', () => context.parameter('weight', [3, 2.5], { kind: 'constant', value: 0 }));
    expect(refusal(odd)).toContain('SHAPE_ATTRIBUTE  fc.weight: [3,2.5] is not the shape of a parameter');
  });

  it('shapedLike says what it wanted, and where', () => {
    const { input } = writer();
    const x = input('x', ['N', 4]);
    const said = refusal(() => scope(x, 'block', (x) => shapedLike(x, relu(input('y', ['N', 5]) as never))));
    expect(said).toContain('shapedLike: [N,4] and [N,5] have different shapes');
    expect(said).toContain('scope block');
    expect(said).toContain('hint: shapedLike changes nothing: make y with the shape of x');
  });
});

describe('running statistics after a step', () => {
  /** The new running mean and variance of one channel with the values `x`, from 0 and 1, with a momentum of 1. */
  function statisticsAfter(x: readonly number[]): number[] {
    const { context, input } = writer();
    const value = input('x', [x.length, 1, 1, 1]);
    batchNorm(value, 'n', { momentum: 1 });
    const [mean, variance] = context.statistics.map((stored) => stored.value);
    const feeds = new Map<Value, NDArray>([
      [graphValue(value), ndarray([x.length, 1, 1, 1], x)],
      [mean, ndarray([1], [0])],
      [variance, ndarray([1], [1])],
      ...context.parameters.map((stored) => [stored.value, ndarray([1], [1])] as const),
    ]);
    return interpret(
      context.graph,
      feeds,
      [mean, variance].map((old) => context.updates.get(old)!),
    ).map(({ data }) => data[0]);
  }

  it('have the unbiased variance', () => expect(statisticsAfter([1, 2, 6])).toEqual([3, 7]));
  it('are finite where a channel has one value: its variance is 0', () => expect(statisticsAfter([5])).toEqual([5, 0]));
});
