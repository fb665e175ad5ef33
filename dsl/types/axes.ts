import type { Dim, Shape } from '../../compiler/ir/types.ts';
import type { difference, isLess, sum } from './arithmetic.ts';
import type { anyThatFits, formatDims, formatShape, isOpen, isUnranked, Mistake, ShapeError, unranked } from './mistake.ts';

/**
 * The axis counted from the start: −1 is the last one. never where there is no such axis, `number` where that is not known.
 */
export type axisOf<S extends Shape, Axis extends number> = number extends Axis
  ? number
  : isUnranked<S> extends true
    ? number
    : `${Axis}` extends `-${infer Back extends number}`
      ? difference<S['length'], Back>
      : isLess<Axis, S['length']> extends true
        ? Axis
        : never;

/** Mistake: `concat: axis 4 is out of range for [N,32,56,56]`. */
export type outOfRange<
  Op extends string,
  S extends Shape,
  Axis extends number,
> = ShapeError<`${Op}: axis ${Axis} is out of range for ${formatShape<S>}`>;

/** A shape of as many axes, of whose sizes nothing is known. */
export type anySizes<S extends Shape> = { -readonly [I in keyof S]: Dim };

/** `S` with `Size` at axis `I`. */
export type replaced<S extends Shape, I extends number, Size extends Dim> = number extends I
  ? anySizes<S>
  : { -readonly [K in keyof S]: K extends `${I}` ? Size : S[K] };

/**
 * Shape of a reduction over `Axes` (a number, a list, or undefined for all). Reduced axes have size 1 where `KeepDims`, and are gone otherwise.
 * Mistake: `reduceMean: axis 4 is out of range for [N,32,56,56]`.
 */
export type reduceShape<Op extends string, S extends Shape, Axes, KeepDims extends boolean = false> = S extends Shape
  ? isUnranked<S> extends true
    ? unranked<S>
    : Axes extends undefined
      ? reduced<S, `${number}`, KeepDims>
      : Axes extends number
        ? reduceList<Op, S, readonly [Axes], KeepDims>
        : Axes extends readonly number[]
          ? reduceList<Op, S, Axes, KeepDims>
          : Dim[]
  : never;

type reduceList<
  Op extends string,
  S extends Shape,
  Axes extends readonly number[],
  KeepDims extends boolean,
> = number extends Axes[number]
  ? KeepDims extends true
    ? anySizes<S>
    : Dim[]
  : firstWrong<S, Axes> extends infer Wrong extends number
    ? [Wrong] extends [never]
      ? reduced<S, axisKeys<S, Axes>, KeepDims>
      : outOfRange<Op, S, Wrong>
    : never;

/** The first axis that is out of range; never where there is none. */
type firstWrong<S extends Shape, Axes extends readonly number[]> = Axes extends readonly [
  infer Axis extends number,
  ...infer Rest extends readonly number[],
]
  ? [axisOf<S, Axis>] extends [never]
    ? Axis
    : firstWrong<S, Rest>
  : never;

/** `'2' | '3'` for the axes −2 and −1 of four. */
type axisKeys<S extends Shape, Axes extends readonly number[]> = { [I in keyof Axes]: `${axisOf<S, Axes[I]>}` }[number];

type reduced<S extends Shape, Keys extends string, KeepDims extends boolean> = KeepDims extends true
  ? { -readonly [K in keyof S]: K extends Keys ? 1 : S[K] }
  : KeepDims extends false
    ? dropped<S, Keys>
    : Dim[];

type dropped<S extends Shape, Keys extends string, Seen extends 1[] = [], Out extends Shape = []> = S extends readonly [
  infer D extends Dim,
  ...infer Rest extends Shape,
]
  ? dropped<Rest, Keys, [...Seen, 1], `${Seen['length']}` extends Keys ? Out : [...Out, D]>
  : Out;

/**
 * Shape of `transpose(x, Perm)`: axis i of the result is axis Perm[i] of x.
 * Mistake: `transpose: [0,2] is not a permutation of the axes of [N,32,7]`.
 */
export type transposeShape<S extends Shape, Perm extends readonly number[]> = S extends Shape
  ? isUnranked<S> extends true
    ? unranked<S>
    : number extends Perm[number]
      ? anySizes<S>
      : isPermutation<S, Perm> extends true
        ? { -readonly [I in keyof Perm]: S[Perm[I]] }
        : ShapeError<`transpose: [${formatDims<Perm, ','>}] is not a permutation of the axes of ${formatShape<S>}`>
  : never;

type isPermutation<S extends Shape, Perm extends readonly number[]> = Perm['length'] extends S['length']
  ? Exclude<keyof S & `${number}`, `${Perm[number]}`> extends never
    ? true
    : false
  : false;

/**
 * Shape of a concatenation of tensors with the shapes `Shapes` along `Axis`: the first one's, with the sizes along `Axis` added up. For an array
 * whose length is not known that size is `number`.
 * Mistakes: `concat: [N,32,56,56] and [N,32,28,28] differ in axis 2`, `concat: [N,32] and [N,32,7] have different numbers of axes`,
 * `concat: axis 4 is out of range for [N,32,56,56]`.
 */
export type concatShape<Shapes extends readonly Shape[], Axis extends number> = Shapes extends readonly [
  infer First extends Shape,
  ...infer Rest extends readonly Shape[],
]
  ? First extends Shape
    ? isUnranked<First> extends true
      ? unranked<First>
      : axisOf<First, Axis> extends infer I extends number
        ? [I] extends [never]
          ? outOfRange<'concat', First, Axis>
          : number extends I
            ? anySizes<First>
            : anyThatFits<joined<First, Rest, I, First[I]>>
        : never
    : never
  : joinedArray<Shapes[number], Axis>;

type joinedArray<S extends Shape, Axis extends number> = S extends Shape
  ? isUnranked<S> extends true
    ? unranked<S>
    : axisOf<S, Axis> extends infer I extends number
      ? [I] extends [never]
        ? outOfRange<'concat', S, Axis>
        : replaced<S, I, number>
      : never
  : never;

/** `Size`: the sizes along axis `I` added up so far. */
type joined<First extends Shape, Rest extends readonly Shape[], I extends number, Size extends Dim> = Rest extends readonly [
  infer Next extends Shape,
  ...infer Others extends readonly Shape[],
]
  ? Next extends Shape
    ? isUnranked<Next> extends true
      ? Next extends Mistake
        ? unranked<Next>
        : joined<First, Others, I, number>
      : First['length'] extends Next['length']
        ? differing<First, Next, `${I}`> extends infer Wrong
          ? [Wrong] extends [never]
            ? joined<First, Others, I, sum<Size, Next[I]>>
            : ShapeError<`concat: ${formatShape<First>} and ${formatShape<Next>} differ in axis ${Wrong & number}`>
          : never
        : ShapeError<`concat: ${formatShape<First>} and ${formatShape<Next>} have different numbers of axes`>
    : never
  : replaced<First, I, Size>;

/** The first axis other than `Key` whose sizes are known and differ; never where there is none. */
type differing<A extends Shape, B extends Shape, Key extends string, Seen extends 1[] = []> = [A, B] extends [
  readonly [infer X extends Dim, ...infer ARest extends Shape],
  readonly [infer Y extends Dim, ...infer BRest extends Shape],
]
  ? `${Seen['length']}` extends Key
    ? differing<ARest, BRest, Key, [...Seen, 1]>
    : agrees<X, Y> extends true
      ? differing<ARest, BRest, Key, [...Seen, 1]>
      : Seen['length']
  : never;

type agrees<X extends Dim, Y extends Dim> =
  isOpen<X> extends true ? true : isOpen<Y> extends true ? true : [X] extends [Y] ? true : [Y] extends [X] ? true : false;

/**
 * Shapes of the parts of x cut along `Axis` into `Sizes`.
 * Mistakes: `split: sizes [16,16] do not make up axis 1 of [N,48,7,7]`, `split: axis 4 is out of range for [N,48,7,7]`.
 */
export type splitShape<S extends Shape, Sizes extends readonly number[], Axis extends number> = S extends Shape
  ? isUnranked<S> extends true
    ? S extends Mistake
      ? unranked<S>
      : { -readonly [P in keyof Sizes]: Dim[] }
    : axisOf<S, Axis> extends infer I extends number
      ? [I] extends [never]
        ? outOfRange<'split', S, Axis>
        : agrees<S[I], total<Sizes>> extends false
          ? ShapeError<`split: sizes [${formatDims<Sizes, ','>}] do not make up axis ${I} of ${formatShape<S>}`>
          : { -readonly [P in keyof Sizes]: replaced<S, I, Sizes[P]> }
      : never
  : never;

type total<Sizes extends readonly number[], Sum extends Dim = 0> = Sizes extends readonly [
  infer Size extends number,
  ...infer Rest extends readonly number[],
]
  ? total<Rest, sum<Sum, Size>>
  : Sizes extends readonly []
    ? Sum
    : number;
