/*
 * Programs with a shape mistake, each below the sentence that the editor shows and that the build stops with. `types.test.ts` has tsc check
 * this file without its `@ts-expect-error`s, and runs each program.
 */

import type { DType, Shape } from '../../compiler/ir/types.ts';
import {
  adaptiveAveragePool,
  add,
  averagePool,
  concat,
  conv1d,
  conv2d,
  equal,
  gather,
  groupNorm,
  matmul,
  maxPool,
  mean,
  meanSquaredError,
  mul,
  pad,
  relu,
  reshape,
  resize,
  slice,
  split,
  transpose,
  where,
} from '../../dsl/index.ts';
import type { Tensor } from '../../dsl/tensor.ts';
import type { flawless } from '../../dsl/types/index.ts';

/** A tensor of the given type: an input of a graph when the program runs. */
export type Make = <const S extends Shape, const D extends DType = 'float32'>(shape: S, dtype?: D) => Tensor<S, D>;

function residual<X extends Tensor, C extends number>(x: X, name: string, channels: C) {
  return relu(add(x, conv2d(x, name, { filters: channels, kernel: 3, pad: 1 })));
}

/** What a model's `forward` is checked by. */
function results<R extends Readonly<Record<string, Tensor>>>(forward: () => R & flawless<R>): R {
  return forward();
}

export function wrongPrograms(make: Make): readonly (() => unknown)[] {
  const map = make(['N', 32, 56, 56]);
  const wide = make(['N', 64, 56, 56]);
  const half = make(['N', 32, 28, 28]);
  const tiny = make(['N', 48, 4, 4]);
  const flat = make(['N', 32]);
  const either = Math.random() < 2 ? wide : half;
  return [
    // @ts-expect-error add: [N,32,56,56] and [N,64,56,56] have different shapes
    () => add(map, wide),
    // @ts-expect-error mul: [N,32,56,56] and [N,32] have different shapes
    () => mul(map, flat),
    // @ts-expect-error add: [N,32,56,56] and [M,32,56,56] have different shapes
    () => add(map, make(['M', 32, 56, 56])),
    // @ts-expect-error add: [N,64,56,56] and [N,32,56,56] have different shapes
    () => add(either, map),
    // @ts-expect-error add: [N,16,27,27] and [N,32,28,28] have different shapes
    () => add(relu(conv2d(map, 'a', { filters: 16, kernel: 3, stride: 2 })), half),
    // @ts-expect-error add: [N,64,56,56] and [N,32,56,56] have different shapes
    () => conv2d(relu(residual(wide, 'r', 32)), 's', { filters: 32, kernel: 1 }),
    // @ts-expect-error add: [N,64,56,56] and [N,32,56,56] have different shapes
    () => results(() => ({ probabilities: relu(flat), logits: residual(residual(wide, 'r', 32), 's', 8) })),
    // @ts-expect-error add: float32 and int64 are different element types
    () => add(map, make(['N', 32, 56, 56], 'int64')),
    // @ts-expect-error equal: int64 and bool are different element types
    () => equal(make(['N'], 'int64'), make(['N'], 'bool')),
    // @ts-expect-error add: takes at least one tensor, got two numbers
    () => add(1, 2),
    // @ts-expect-error add: takes at least one tensor, got two numbers
    () => conv2d(add(1, 2), 't', { filters: 8, kernel: 3 }),
    // @ts-expect-error mul: takes at least one tensor, got two numbers
    () => relu(add(map, mul(2, 3))),
    // @ts-expect-error equal: takes at least one tensor, got two numbers
    () => where(equal(1, 2), map, map),
    // @ts-expect-error where: int32 and float32 are different element types
    () => where(make(['N', 32], 'bool'), make([32], 'int32'), flat),
    // @ts-expect-error conv: kernel 7x7 does not fit the padded input 4x4
    () => conv2d(tiny, 'b', { filters: 8, kernel: 7 }),
    // @ts-expect-error conv: kernel 9x9 does not fit the padded input 6x7
    () => conv2d(tiny, 'c', { filters: 8, kernel: 3, dilation: 4, pad: [1, 2, 1, 1] }),
    // @ts-expect-error conv: 48 channels are not divisible by 32 groups
    () => conv2d(tiny, 'd', { filters: 32, kernel: 1, groups: 32 }),
    // @ts-expect-error conv: 48 output channels are not divisible by 32 groups
    () => conv2d(map, 'e', { filters: 48, kernel: 1, groups: 32 }),
    // @ts-expect-error maxPool: kernel 5x5 does not fit the padded input 4x4
    () => maxPool(tiny, { kernel: 5 }),
    // @ts-expect-error conv2d: takes [N,C,H,W], got [N,4,6]
    () => conv2d(make(['N', 4, 6]), 'g', { filters: 8, kernel: 3 }),
    // @ts-expect-error conv1d: takes [N,C,L], got [N,48,4,4]
    () => conv1d(tiny, 'h', { filters: 8, kernel: 3 }),
    // @ts-expect-error conv2d: has no option padding
    () => conv2d(map, 'i', { filters: 8, kernel: 3, padding: 1 }),
    // @ts-expect-error adaptiveAveragePool: takes [N,C,H,W], got [N,4,6]
    () => adaptiveAveragePool(make(['N', 4, 6]), 6),
    // @ts-expect-error maxPool: has no option strides
    () => maxPool(map, { kernel: 2, strides: 1 }),
    // @ts-expect-error averagePool: has no option dilation
    () => averagePool(map, { kernel: 2, dilation: 1 }),
    // @ts-expect-error resize: takes scale or size, got both
    () => resize(map, { scale: 2, size: 112 }),
    // @ts-expect-error groupNorm: 48 channels are not divisible by 32 groups
    () => groupNorm(tiny, 'f', { groups: 32 }),
    // @ts-expect-error concat: [N,32,56,56] and [N,32,28,28] differ in axis 2
    () => concat([map, wide, half]),
    // @ts-expect-error concat: [N,32,56,56] and [N,32] have different numbers of axes
    () => concat([map, flat]),
    // @ts-expect-error concat: axis 4 is out of range for [N,32,56,56]
    () => concat([map, map], 4),
    // @ts-expect-error matmul: [N,32] and [64,10] do not match: 32 against 64
    () => matmul(flat, make([64, 10])),
    // @ts-expect-error reshape: [N,32,7,7] does not have the elements of [N,1000]
    () => reshape(make(['N', 32, 7, 7]), ['N', 1000]),
    // @ts-expect-error reshape: [N,32,56,56] does not have the elements of [N,-1,5]
    () => reshape(map, ['N', -1, 5]),
    // @ts-expect-error reshape: [N,32] to [-1] would join N with another size
    () => reshape(flat, [-1]),
    // @ts-expect-error reduceMean: axis 4 is out of range for [N,32,56,56]
    () => mean(map, [4]),
    // @ts-expect-error transpose: [0,2,2,1] is not a permutation of the axes of [N,32,56,56]
    () => transpose(map, [0, 2, 2, 1]),
    // @ts-expect-error split: sizes [16,8] do not make up axis 1 of [N,32]
    () => split(flat, [16, 8]),
    // @ts-expect-error slice: axis -3 is out of range for [N,32]
    () => slice(flat, -3, 0, 1),
    // @ts-expect-error slice: from 8 to 8 there is nothing in axis 1 of [N,32]
    () => slice(flat, 1, 8, 8),
    // @ts-expect-error pad: pads [1,1] do not fit [N,32]
    () => pad(flat, [1, 1]),
    // @ts-expect-error gather: axis 2 is out of range for [64,10]
    () => gather(make([64, 10]), make(['N'], 'int64'), 2),
    // @ts-expect-error meanSquaredError: [N,1] and [N] have different shapes
    () => meanSquaredError(make(['N', 1]), make(['N'])),
  ];
}
