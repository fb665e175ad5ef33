import { expect, it } from 'vitest';
import { Graph } from '../../../compiler/ir/graph.ts';
import type { Attrs, DType, Shape } from '../../../compiler/ir/types.ts';
import { formatType } from '../../../compiler/ir/types.ts';
import { operators } from '../../../compiler/ops/index.ts';

/** Types that `name` gives to inputs of these shapes, or the sentence with which it refuses them. */
function answer(name: string, shapes: readonly Shape[], attrs: Attrs = {}, dtypes: readonly DType[] = []): string {
  const graph = new Graph('shapes', 'inference', operators);
  const inputs = shapes.map((shape, i) => graph.input(`x${i}`, { dtype: dtypes[i] ?? 'float32', shape }, 'data'));
  try {
    return graph
      .ops(name, inputs, attrs)
      .map((value) => formatType(value.type))
      .join(' ');
  } catch (error) {
    return (error as Error).message;
  }
}

it('reductions: drop or keep axes, and refuse those that are not there', () => {
  const map = ['N', 32, 56, 56];
  expect(answer('reduceMean', [map], { axes: [2, 3], keepdims: true })).toBe('float32[N,32,1,1]');
  expect(answer('reduceSum', [map], { axes: [0, -1], keepdims: false })).toBe('float32[32,56]');
  expect(answer('reduceMax', [map], { axes: [4], keepdims: true })).toBe('reduceMax: axis 4 is out of range for [N,32,56,56]');
  expect(answer('reduceMin', [map], { axes: [3, -1], keepdims: true })).toBe('reduceMin: axis 3 of [N,32,56,56] is given twice');
  expect(answer('reduceSum', [[3]], { axes: [0], keepdims: false }, ['int64'])).toBe('int64[]');
  expect(answer('reduceMean', [[3]], { axes: [0], keepdims: false }, ['int64'])).toBe('reduceMean: takes float32, got int64[3]');
});

it('reshape: keeps named sizes, finds the open one, refuses what has another number of elements', () => {
  const map = ['N', 32, 7, 7];
  expect(answer('reshape', [map], { shape: ['N', -1] })).toBe('float32[N,1568]');
  expect(answer('reshape', [map], { shape: [-1, 1568] })).toBe('float32[N,1568]');
  expect(answer('reshape', [map], { shape: [49, 'N', 32] })).toBe('float32[49,N,32]');
  expect(answer('reshape', [map], { shape: ['N', 1000] })).toBe('reshape: [N,32,7,7] does not have the elements of [N,1000]');
  expect(answer('reshape', [map], { shape: ['N', 1000, -1] })).toBe(
    'reshape: [N,32,7,7] does not have the elements of [N,1000,-1]',
  );
  expect(answer('reshape', [map], { shape: ['M', 1568] })).toBe('reshape: [N,32,7,7] does not have the elements of [M,1568]');
  expect(answer('reshape', [map], { shape: [1568] })).toBe('reshape: [N,32,7,7] does not have the elements of [1568]');
  expect(answer('reshape', [map], { shape: [-1, 7] })).toBe('reshape: [N,32,7,7] to [-1,7] would join N with another size');
  expect(answer('reshape', [map], { shape: [-1, -1] })).toBe('reshape: [-1,-1] leaves more than one size open');
  expect(answer('reshape', [map], { shape: ['N', 0] })).toBe('reshape: [N,0] has the size 0');
  expect(answer('reshape', [['N', 'T', 8]], { shape: ['N', 2, 4, 'T'] })).toBe('float32[N,2,4,T]');
  expect(answer('reshape', [['N', 'T', 8]], { shape: ['T', 'N', 8] })).toBe(
    'reshape: [N,T,8] to [T,N,8] moves more than one named size',
  );
});

it('transpose and expand: permute and repeat', () => {
  expect(answer('transpose', [['N', 3, 8, 9]], { perm: [0, 2, 3, 1] })).toBe('float32[N,8,9,3]');
  expect(answer('transpose', [['N', 3]], { perm: [0, 0] })).toBe('transpose: [0,0] is not a permutation of the axes of [N,3]');
  expect(
    answer('expand', [
      [3, 1, 1],
      ['N', 3, 8, 8],
    ]),
  ).toBe('float32[N,3,8,8]');
  expect(answer('expand', [['N', 3], [3]])).toBe('expand: [N,3] cannot be repeated to [3]');
  expect(answer('expand', [[4], ['N', 3]])).toBe('expand: [4] cannot be repeated to [N,3]');
});

it('concat and split: sizes along the axis add up, the others agree', () => {
  const [a, b] = [
    ['N', 32, 56, 56],
    ['N', 32, 28, 28],
  ];
  expect(answer('concat', [a, ['N', 64, 56, 56]], { axis: 1 })).toBe('float32[N,96,56,56]');
  expect(answer('concat', [a, b], { axis: 1 })).toBe('concat: [N,32,56,56] and [N,32,28,28] differ in axis 2');
  expect(answer('concat', [a, ['N', 32]], { axis: 1 })).toBe('concat: [N,32,56,56] and [N,32] have different numbers of axes');
  expect(answer('concat', [a, a], { axis: 0 })).toBe('concat: axis 0 of [N,32,56,56] has no known size');
  expect(answer('concat', [a, a], { axis: 4 })).toBe('concat: axis 4 is out of range for [N,32,56,56]');
  expect(answer('concat', [[2], [2]], { axis: 0 }, ['float32', 'int64'])).toBe(
    'concat: float32 and int64 are different element types',
  );
  expect(answer('split', [a], { axis: 1, sizes: [8, 24] })).toBe('float32[N,8,56,56] float32[N,24,56,56]');
  expect(answer('split', [a], { axis: 1, sizes: [8, 8] })).toBe('split: sizes [8,8] do not make up axis 1 of [N,32,56,56]');
});

it('slice and pad: windows of axes whose size is known', () => {
  const map = ['N', 32, 7, 7];
  expect(answer('slice', [map], { starts: [1], ends: [99], axes: [-1], steps: [2] })).toBe('float32[N,32,7,3]');
  expect(answer('slice', [map], { starts: [-1], ends: [-99], axes: [2], steps: [-1] })).toBe('float32[N,32,7,7]');
  expect(answer('slice', [map], { starts: [0], ends: [1], axes: [0] })).toBe('slice: axis 0 of [N,32,7,7] has no known size');
  expect(answer('slice', [map], { starts: [5], ends: [5], axes: [2] })).toBe(
    'slice: from 5 to 5 there is nothing in axis 2 of [N,32,7,7]',
  );
  expect(answer('slice', [map], { starts: [0], ends: [2], axes: [1], steps: [0] })).toBe('slice: [0] are not steps');
  expect(answer('slice', [map], { starts: [0], ends: [2, 3], axes: [1] })).toBe(
    'slice: each axis needs a start, an end and a step',
  );
  expect(answer('pad', [map], { pads: [0, 0, 1, 0, 0, 0, 2, 3] })).toBe('float32[N,32,10,10]');
  expect(answer('pad', [map], { pads: [1, 0, 0, 0, 0, 0, 0, 0] })).toBe('pad: axis 0 of [N,32,7,7] has no known size');
  expect(answer('pad', [map], { pads: [1, 1] })).toBe('pad: pads [1,1] do not fit [N,32,7,7]');
});

it('gather and oneHot: look up by integers', () => {
  expect(
    answer(
      'gather',
      [
        [50, 8],
        ['N', 5],
      ],
      { axis: 0 },
      ['float32', 'int64'],
    ),
  ).toBe('float32[N,5,8]');
  expect(
    answer(
      'gather',
      [
        [50, 8],
        ['N', 5],
      ],
      { axis: 0 },
    ),
  ).toBe('gather: takes int64 or int32 indices, got float32[N,5]');
  expect(answer('gather', [[50, 8], ['N']], { axis: 2 }, ['float32', 'int64'])).toBe('gather: axis 2 is out of range for [50,8]');
  expect(answer('oneHot', [['N']], { depth: 4 }, ['int64'])).toBe('float32[N,4]');
  expect(answer('oneHot', [['N']], { depth: 0 }, ['int64'])).toBe('oneHot: depth 0 is not a number of classes');
});

it('matmul and linear: the sizes that are summed over agree', () => {
  expect(
    answer('matmul', [
      ['N', 32],
      [32, 10],
    ]),
  ).toBe('float32[N,10]');
  expect(
    answer(
      'matmul',
      [
        ['N', 1, 4, 32],
        [5, 10, 32],
      ],
      { transB: true },
    ),
  ).toBe('float32[N,5,4,10]');
  expect(
    answer(
      'matmul',
      [
        ['N', 32],
        ['N', 10],
      ],
      { transA: true },
    ),
  ).toBe('float32[32,10]');
  expect(
    answer('matmul', [
      ['N', 32],
      [64, 10],
    ]),
  ).toBe('matmul: [N,32] and [64,10] do not match: 32 against 64');
  expect(
    answer('matmul', [
      [2, 3, 4],
      [5, 4, 6],
    ]),
  ).toBe('matmul: [2,3,4] and [5,4,6] do not match: 2 against 5');
  expect(
    answer('matmul', [
      [2, 7, 3, 4],
      [5, 7, 4, 6],
    ]),
  ).toBe('matmul: [2,7,3,4] and [5,7,4,6] do not match: 2 against 5');
  expect(answer('matmul', [[4], [4, 6]])).toBe('matmul: takes matrices, got [4]');
  expect(answer('linear', [['N', 49, 32], [10, 32], [10]])).toBe('float32[N,49,10]');
  expect(
    answer('linear', [
      ['N', 32],
      [10, 64],
    ]),
  ).toBe('linear: [N,32] and [10,64] do not match: 32 against 64');
  expect(answer('linear', [['N', 32], [10, 32], [5]])).toBe('linear: a bias [5] does not fit 10 outputs');
});

it('resize: takes maps of a known size and a size or factors', () => {
  const map = ['N', 3, 7, 5];
  expect(answer('resize', [map], { mode: 'nearest', scales: [2, 1.5] })).toBe('float32[N,3,14,7]');
  expect(answer('resize', [map], { mode: 'bilinear', size: [3, 9] })).toBe('float32[N,3,3,9]');
  expect(answer('resize', [map], { mode: 'bilinear', scales: [0.1, 1] })).toBe('resize: [0,5] is not a height and a width');
  expect(answer('resize', [map], { mode: 'bilinear' })).toBe('resize: [] is not a height and a width');
  expect(answer('resize', [map], { mode: 'cubic', size: [3, 9] })).toBe('resize: mode cubic is not known');
  expect(answer('resize', [['N', 3, 'H', 5]], { mode: 'nearest', size: [3, 9] })).toBe(
    'resize: takes maps of a known size, got [N,3,H,5]',
  );
  expect(answer('resize', [['N', 3]], { mode: 'nearest', size: [3, 9] })).toBe('resize: takes maps [N,C,H,W], got [N,3]');
});
