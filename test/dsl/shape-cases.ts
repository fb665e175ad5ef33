/*
 * What the shape rules answer, case by case; `types.test.ts` has tsc check this file. A case is wrong where tsc says that
 * `false` does not satisfy the constraint `true`.
 */
import type { Dim } from '../../compiler/ir/types.ts';
import type { difference, isLess, product, quotient, remainder, sum } from '../../dsl/types/arithmetic.ts';
import type * as t from '../../dsl/types/index.ts';

type equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
type expect<Verdict extends true> = Verdict;
type says<Answer, Sentence extends string> = equal<Answer, t.ShapeError<Sentence>>;

export type Arithmetic = [
  expect<equal<sum<0, 0>, 0>>,
  expect<equal<sum<999, 1>, 1000>>,
  expect<equal<sum<1, 999>, 1000>>,
  expect<equal<sum<50176, 49824>, 100000>>,
  expect<equal<sum<number, 1>, number>>,
  expect<equal<sum<'N', 1>, Dim>>,
  expect<equal<difference<1000, 1>, 999>>,
  expect<equal<difference<56, 55>, 1>>,
  expect<equal<difference<7, 7>, 0>>,
  expect<equal<difference<7, 8>, never>>,
  expect<equal<difference<7, 1000>, never>>,
  expect<equal<product<32, 3136>, 100352>>,
  expect<equal<product<999, 999>, 998001>>,
  expect<equal<product<2048, 0>, 0>>,
  expect<equal<product<64, 50176>, 3211264>>,
  expect<equal<product<0.5, 4>, number>>,
  expect<equal<quotient<223, 2>, 111>>,
  expect<equal<quotient<1, 2>, 0>>,
  expect<equal<quotient<100352, 49>, 2048>>,
  expect<equal<quotient<100352, 2049>, 48>>,
  expect<equal<quotient<7, 0>, number>>,
  expect<equal<remainder<100352, 50>, 2>>,
  expect<equal<remainder<48, 32>, 16>>,
  expect<equal<isLess<9, 10>, true>>,
  expect<equal<isLess<10, 9>, false>>,
  expect<equal<isLess<10, 10>, false>>,
  expect<equal<isLess<number, 10>, boolean>>,
  expect<equal<sum<3 | 9, 1>, 4 | 10>>,
];

type Image = ['N', 3, 224, 224];
type Map = ['N', 32, 56, 56];

export type Conv = [
  expect<equal<t.convShape<Image, { filters: 32; kernel: 3; stride: 2; pad: 1 }>, ['N', 32, 112, 112]>>,
  expect<equal<t.convShape<Image, { filters: 64; kernel: 7; stride: 2; pad: 3 }>, ['N', 64, 112, 112]>>,
  expect<equal<t.convShape<Map, { filters: 8; kernel: 3 }>, ['N', 8, 54, 54]>>,
  expect<equal<t.convShape<Map, { filters: 8; kernel: 1; stride: 3 }>, ['N', 8, 19, 19]>>,
  expect<equal<t.convShape<Map, { filters: 8; kernel: 3; pad: 4; dilation: 4 }>, ['N', 8, 56, 56]>>,
  expect<equal<t.convShape<Map, { filters: 8; kernel: 3; dilation: readonly [2, 3] }>, ['N', 8, 52, 50]>>,
  expect<equal<t.convShape<Map, { filters: 8; kernel: readonly [1, 7]; pad: readonly [0, 3] }>, ['N', 8, 56, 56]>>,
  expect<equal<t.convShape<Map, { filters: 8; kernel: readonly [3, 5]; stride: readonly [2, 1] }>, ['N', 8, 27, 52]>>,
  // pads [top, left, bottom, right]
  expect<equal<t.convShape<Map, { filters: 8; kernel: 3; pad: readonly [1, 2, 0, 3] }>, ['N', 8, 55, 59]>>,
  expect<equal<t.convShape<Map, { filters: 8; kernel: 4; stride: 2; pad: readonly [1, 1, 2, 2] }>, ['N', 8, 28, 28]>>,
  expect<equal<t.convShape<Map, { filters: 8; kernel: 5; pad: 'same' }>, ['N', 8, 56, 56]>>,
  expect<equal<t.convShape<['N', 3, 57, 56], { filters: 8; kernel: 3; stride: 2; pad: 'same' }>, ['N', 8, 29, 28]>>,
  expect<equal<t.convShape<Map, { filters: 8; kernel: 3; pad: 'same'; dilation: number }>, ['N', 8, 56, 56]>>,
  expect<equal<t.convShape<Map, { filters: 32; kernel: 5; groups: 32; pad: 2 }>, ['N', 32, 56, 56]>>,
  expect<equal<t.convShape<Map, { filters: 8; kernel: 56 }>, ['N', 8, 1, 1]>>,
  // 1-D
  expect<equal<t.convShape<['N', 2, 16000], { filters: 8; kernel: 25; stride: 4; pad: 11 }>, ['N', 8, 4000]>>,
  expect<equal<t.convShape<['N', 2, 100], { filters: 8; kernel: 3; pad: readonly [2, 0] }>, ['N', 8, 100]>>,
  expect<equal<t.convShape<['N', 2, 100], { filters: 8; kernel: readonly [3]; dilation: readonly [2] }>, ['N', 8, 96]>>,
  // sizes that are not known
  expect<equal<t.convShape<['N', 3, number, 56], { filters: 8; kernel: 3 }>, ['N', 8, number, 54]>>,
  expect<equal<t.convShape<Map, { filters: number; kernel: 3 }>, ['N', number, 54, 54]>>,
  expect<equal<t.convShape<Map, { filters: 8; kernel: 3; pad: number; dilation: number }>, ['N', 8, number, number]>>,
  expect<equal<t.convShape<Map, { filters: 8; kernel: 3; stride?: number }>, ['N', 8, number, number]>>,
  expect<equal<t.convShape<Map, { filters: 8; kernel: 3; stride: undefined }>, ['N', 8, 54, 54]>>,
  expect<equal<t.convShape<Dim[], { filters: 8; kernel: 3 }>, Dim[]>>,
  expect<equal<t.convShape<Map | Image, { filters: 8; kernel: 1 }>, ['N', 8, 56, 56] | ['N', 8, 224, 224]>>,
  expect<says<t.convShape<['N', 3, 4, 4], { filters: 8; kernel: 7 }>, 'conv: kernel 7x7 does not fit the padded input 4x4'>>,
  expect<
    says<
      t.convShape<['N', 3, 4, 9], { filters: 8; kernel: 3; dilation: 4; pad: 1 }>,
      'conv: kernel 9x9 does not fit the padded input 6x11'
    >
  >,
  expect<says<t.convShape<['N', 3, 4], { filters: 8; kernel: 7 }>, 'conv: kernel 7 does not fit the padded input 4'>>,
  expect<
    says<t.convShape<['N', 48, 4, 4], { filters: 32; kernel: 1; groups: 32 }>, 'conv: 48 channels are not divisible by 32 groups'>
  >,
  expect<
    says<t.convShape<Map, { filters: 48; kernel: 1; groups: 32 }>, 'conv: 48 output channels are not divisible by 32 groups'>
  >,
  expect<says<t.convShape<['N', 32], { filters: 48; kernel: 1 }>, 'conv: takes [N,C,L] or [N,C,H,W], got [N,32]'>>,
];

export type Pool = [
  expect<equal<t.poolShape<'maxPool', ['N', 32, 112, 112], { kernel: 2 }>, Map>>,
  expect<equal<t.poolShape<'maxPool', ['N', 64, 112, 112], { kernel: 3; stride: 2; pad: 1 }>, ['N', 64, 56, 56]>>,
  expect<equal<t.poolShape<'maxPool', ['N', 64, 7, 9], { kernel: readonly [2, 3] }>, ['N', 64, 3, 3]>>,
  expect<equal<t.poolShape<'averagePool', ['N', 64, 99], { kernel: 2; stride: 1 }>, ['N', 64, 98]>>,
  expect<says<t.poolShape<'maxPool', ['N', 64, 2, 2], { kernel: 3 }>, 'maxPool: kernel 3x3 does not fit the padded input 2x2'>>,
  expect<equal<t.globalPoolShape<Map>, ['N', 32, 1, 1]>>,
  expect<equal<t.adaptivePoolShape<Map, 6>, ['N', 32, 6, 6]>>,
  expect<equal<t.adaptivePoolShape<Map, readonly [6, 7]>, ['N', 32, 6, 7]>>,
  expect<says<t.adaptivePoolShape<['N', 8, 99], 6>, 'adaptiveAveragePool: takes [N,C,H,W], got [N,8,99]'>>,
  expect<equal<t.globalPoolShape<['N', 8, 99]>, ['N', 8, 1]>>,
  expect<equal<t.globalPoolShape<Map, false>, ['N', 32]>>,
  expect<equal<t.groupNormShape<Map, 32>, Map>>,
  expect<equal<t.groupNormShape<['N', 48, 7, 7], number>, ['N', 48, 7, 7]>>,
  expect<says<t.groupNormShape<['N', 48, 7, 7], 32>, 'groupNorm: 48 channels are not divisible by 32 groups'>>,
  expect<equal<t.resizeShape<Map, { scale: 2 }>, ['N', 32, 112, 112]>>,
  expect<equal<t.resizeShape<Map, { scale: readonly [1, 3] }>, ['N', 32, 56, 168]>>,
  expect<equal<t.resizeShape<Map, { scale: 0.5 }>, ['N', 32, number, number]>>,
  expect<equal<t.resizeShape<Map, { size: readonly [64, 48] }>, ['N', 32, 64, 48]>>,
];

export type Broadcast = [
  expect<equal<t.broadcastShape<'add', Map, Map>, Map>>,
  expect<equal<t.broadcastShape<'add', Map, readonly ['N', 32, 56, 56]>, Map>>,
  expect<equal<t.broadcastShape<'add', Map, ['N', 32, 1, 1]>, Map>>,
  expect<equal<t.broadcastShape<'add', [32, 1, 1], Map>, Map>>,
  expect<equal<t.broadcastShape<'add', Map, []>, Map>>,
  expect<equal<t.broadcastShape<'add', [2, 1, 3], [4, 1]>, [2, 4, 3]>>,
  expect<equal<t.broadcastShape<'add', ['N', 1], [1, 'N']>, ['N', 'N']>>,
  expect<equal<t.broadcastShape<'add', ['N', number], ['N', 7]>, ['N', 7]>>,
  expect<equal<t.broadcastShape<'add', ['N', 7, 7], ['N', number, 1]>, ['N', 7, 7]>>,
  expect<equal<t.broadcastShape<'add', ['N', number], ['N', 1]>, ['N', number]>>,
  expect<equal<t.broadcastShape<'add', [Dim, 32], ['N', 1]>, ['N', 32]>>,
  expect<equal<t.broadcastShape<'add', Dim[], Map>, Dim[]>>,
  expect<says<t.broadcastShape<'add', Map, ['N', 64, 56, 56]>, 'add: [N,32,56,56] and [N,64,56,56] have different shapes'>>,
  expect<says<t.broadcastShape<'sub', ['N', 2], ['M', 2]>, 'sub: [N,2] and [M,2] have different shapes'>>,
  expect<says<t.broadcastShape<'mul', ['N', 2, number], [3, 1]>, 'mul: [N,2,?] and [3,1] have different shapes'>>,
  // unions: each member of the first must find one of the second
  expect<equal<t.broadcastShape<'add', ['N', 2] | ['N', 3], ['N', 2] | ['N', 3]>, ['N', 2] | ['N', 3]>>,
  expect<
    equal<
      t.broadcastShape<'add', ['N', 2] | ['N', 3], ['N', 2]>,
      ['N', 2] | t.ShapeError<'add: [N,3] and [N,2] have different shapes'>
    >
  >,
  expect<equal<t.sameShape<'add', Map, ['N', number, 56, 56]>, Map>>,
  expect<says<t.sameShape<'add', Map, ['N', 32, 1, 1]>, 'add: [N,32,56,56] and [N,32,1,1] have different shapes'>>,
];

export type Linear = [
  expect<equal<t.matmulShape<['N', 32], [32, 10]>, ['N', 10]>>,
  expect<equal<t.matmulShape<['N', 8, 5, 7], ['N', 1, 7, 3]>, ['N', 8, 5, 3]>>,
  expect<equal<t.matmulShape<['N', 8, 5, 7], [7, 3]>, ['N', 8, 5, 3]>>,
  expect<equal<t.matmulShape<['N', number], [32, 10]>, ['N', 10]>>,
  expect<says<t.matmulShape<['N', 32], [64, 10]>, 'matmul: [N,32] and [64,10] do not match: 32 against 64'>>,
  expect<says<t.matmulShape<['N', 2, 3], [4, 3, 5]>, 'matmul: [N,2,3] and [4,3,5] have different shapes'>>,
  expect<equal<t.linearShape<['N', 32], 4>, ['N', 4]>>,
  expect<equal<t.linearShape<['N', 17, 32], 4>, ['N', 17, 4]>>,
  expect<equal<t.linearShape<['N', 32], number>, ['N', number]>>,
];

export type Reshape = [
  expect<equal<t.reshapeShape<['N', 32, 7, 7], ['N', 1568]>, ['N', 1568]>>,
  expect<equal<t.reshapeShape<['N', 32, 7, 7], ['N', -1]>, ['N', 1568]>>,
  expect<equal<t.reshapeShape<['N', 32, 7, 7], readonly ['N', 4, -1, 7]>, ['N', 4, 56, 7]>>,
  expect<equal<t.reshapeShape<['N', 32, 56, 56], ['N', -1, 3136]>, ['N', 32, 3136]>>,
  expect<equal<t.reshapeShape<['N', 32, 7, 7], [-1, 1568]>, ['N', 1568]>>,
  expect<equal<t.reshapeShape<['N', 1, 3], ['N', 3]>, ['N', 3]>>,
  expect<equal<t.reshapeShape<['N', 32, number], ['N', -1]>, ['N', number]>>,
  expect<equal<t.reshapeShape<[2, 3], [-1]>, [6]>>,
  expect<equal<t.reshapeShape<[1, 1], []>, []>>,
  expect<says<t.reshapeShape<['N', 32, 7, 7], ['N', 1000]>, 'reshape: [N,32,7,7] does not have the elements of [N,1000]'>>,
  expect<says<t.reshapeShape<['N', 32, 7, 7], ['N', -1, 5]>, 'reshape: [N,32,7,7] does not have the elements of [N,-1,5]'>>,
  expect<says<t.reshapeShape<['N', 6], ['M', 6]>, 'reshape: [N,6] does not have the elements of [M,6]'>>,
  expect<says<t.reshapeShape<['N', 3, 4], [-1]>, 'reshape: [N,3,4] to [-1] would join N with another size'>>,
  expect<equal<t.flattenShape<['N', 32, 7, 7]>, ['N', 1568]>>,
  expect<equal<t.flattenShape<['N', 32, 7, number]>, ['N', number]>>,
  expect<equal<t.flattenShape<['N']>, ['N', 1]>>,
];

export type Axes = [
  expect<equal<t.reduceShape<'reduceMean', Map, [2, 3]>, ['N', 32]>>,
  expect<equal<t.reduceShape<'reduceMean', Map, readonly [-1, -2]>, ['N', 32]>>,
  expect<equal<t.reduceShape<'reduceMean', Map, 1, true>, ['N', 1, 56, 56]>>,
  expect<equal<t.reduceShape<'reduceMean', Map, undefined>, []>>,
  expect<equal<t.reduceShape<'reduceMean', Map, undefined, true>, [1, 1, 1, 1]>>,
  expect<equal<t.reduceShape<'reduceMean', Map, number[], true>, [Dim, Dim, Dim, Dim]>>,
  expect<equal<t.reduceShape<'reduceMean', Map, number[]>, Dim[]>>,
  expect<equal<t.reduceShape<'reduceMean', Dim[], [2, 3]>, Dim[]>>,
  expect<says<t.reduceShape<'reduceMean', Map, [2, 4]>, 'reduceMean: axis 4 is out of range for [N,32,56,56]'>>,
  expect<says<t.reduceShape<'reduceMax', Map, [-5]>, 'reduceMax: axis -5 is out of range for [N,32,56,56]'>>,
  expect<equal<t.transposeShape<['N', 32, 7, 9], readonly [0, 2, 3, 1]>, ['N', 7, 9, 32]>>,
  expect<says<t.transposeShape<['N', 32, 7], [0, 2]>, 'transpose: [0,2] is not a permutation of the axes of [N,32,7]'>>,
  expect<says<t.transposeShape<['N', 32, 7], [0, 2, 2]>, 'transpose: [0,2,2] is not a permutation of the axes of [N,32,7]'>>,
  expect<equal<t.concatShape<[Map, Map, ['N', 64, 56, 56]], 1>, ['N', 128, 56, 56]>>,
  expect<equal<t.concatShape<[['N', 4], ['N', 5]], -1>, ['N', 9]>>,
  expect<equal<t.concatShape<Map[], 1>, ['N', number, 56, 56]>>,
  expect<equal<t.concatShape<[Map, ['N', number, number, number]], 1>, ['N', number, 56, 56]>>,
  expect<equal<t.concatShape<[Map, Dim[]], 1>, ['N', number, 56, 56]>>,
  expect<says<t.concatShape<[Map, ['N', 32, 28, 28]], 1>, 'concat: [N,32,56,56] and [N,32,28,28] differ in axis 2'>>,
  expect<says<t.concatShape<[Map, Map, ['N', 32]], 1>, 'concat: [N,32,56,56] and [N,32] have different numbers of axes'>>,
  expect<says<t.concatShape<[Map, Map], 4>, 'concat: axis 4 is out of range for [N,32,56,56]'>>,
  expect<equal<t.splitShape<['N', 48, 7], readonly [16, 32], 1>, [['N', 16, 7], ['N', 32, 7]]>>,
  expect<says<t.splitShape<['N', 48, 7], [16, 16], 1>, 'split: sizes [16,16] do not make up axis 1 of [N,48,7]'>>,
  expect<says<t.splitShape<['N', 48, 7], [16, 32], 3>, 'split: axis 3 is out of range for [N,48,7]'>>,
  expect<equal<t.sliceShape<['N', 48, 7], 1, 8, 24>, ['N', 16, 7]>>,
  expect<equal<t.sliceShape<['N', 48, 7], 1, 8, 100>, ['N', 40, 7]>>,
  expect<equal<t.sliceShape<['N', 48, 7], -1, -3, -1>, ['N', 48, 2]>>,
  expect<equal<t.sliceShape<['N', 48, 7], 2, 0, 7, 2>, ['N', 48, 4]>>,
  expect<equal<t.sliceShape<['N', 48, 7], 2, 0, 7, -2>, ['N', 48, number]>>,
  expect<says<t.sliceShape<['N', 48, 7], 1, 5, 5>, 'slice: from 5 to 5 there is nothing in axis 1 of [N,48,7]'>>,
  expect<equal<t.padShape<['N', 3, 5, 7], [0, 0, 1, 2, 0, 0, 3, 4]>, ['N', 3, 9, 13]>>,
  expect<says<t.padShape<['N', 3, 5, 7], [1, 1]>, 'pad: pads [1,1] do not fit [N,3,5,7]'>>,
  expect<equal<t.gatherShape<[100, 16], ['N', 12], 0>, ['N', 12, 16]>>,
  expect<equal<t.gatherShape<['N', 16], [], 1>, ['N']>>,
  expect<equal<t.gatherShape<['N', 16, 3], ['K'], -2>, ['N', 'K', 3]>>,
  expect<says<t.gatherShape<['N', 16], ['N'], 2>, 'gather: axis 2 is out of range for [N,16]'>>,
  expect<equal<t.oneHotShape<['N'], 4>, ['N', 4]>>,
];
