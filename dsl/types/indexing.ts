import type { Dim, Shape } from '../../compiler/ir/types.ts';
import type { difference, isLess, product, quotient, sum } from './arithmetic.ts';
import type { anySizes, axisOf, outOfRange, replaced } from './axes.ts';
import type { formatDims, formatShape, isOpen, isUnranked, ShapeError, unranked } from './mistake.ts';

/**
 * Shape of x from `Start` to `End` (excluded; negative ones count from the end, what is beyond is cut) along `Axis`, every `Step`th element.
 * Mistakes: `slice: axis 4 is out of range for [N,48,7,7]`, `slice: from 5 to 5 there is nothing in axis 1 of [N,48,7,7]`.
 */
export type sliceShape<
  S extends Shape,
  Axis extends number,
  Start extends number,
  End extends number,
  Step extends number = 1,
> = S extends Shape
  ? isUnranked<S> extends true
    ? unranked<S>
    : axisOf<S, Axis> extends infer I extends number
      ? [I] extends [never]
        ? outOfRange<'slice', S, Axis>
        : count<bound<Start, S[I]>, bound<End, S[I]>, Step> extends infer Count extends number
          ? [Count] extends [never]
            ? ShapeError<`slice: from ${Start} to ${End} there is nothing in axis ${I} of ${formatShape<S>}`>
            : replaced<S, I, Count>
          : never
      : never
  : never;

/** An index between 0 and Size. */
type bound<At extends number, Size extends Dim> = number extends At
  ? number
  : isOpen<Size> extends true
    ? number
    : Size extends string
      ? number
      : `${At}` extends `-${infer Back extends number}`
        ? isLess<Size, Back> extends true
          ? 0
          : difference<Size, Back>
        : isLess<Size, At> extends true
          ? Size
          : At;

/** ⌈(To − From) / Step⌉; never where it is not positive. */
type count<From extends Dim, To extends Dim, Step extends number> =
  isLess<From, To> extends infer Any
    ? boolean extends Any
      ? number
      : Any extends true
        ? `${Step}` extends `-${string}`
          ? number
          : sum<quotient<difference<difference<To, From>, 1>, Step>, 1>
        : `${Step}` extends `-${string}`
          ? number
          : never
    : never;

/**
 * Shape of x with `Pads` around it: counts before each axis, then after each axis.
 * Mistake: `pad: pads [1,1] do not fit [N,32,7,7]`.
 */
export type padShape<S extends Shape, Pads extends readonly number[]> = S extends Shape
  ? isUnranked<S> extends true
    ? unranked<S>
    : number extends Pads['length']
      ? anySizes<S>
      : Pads['length'] extends product<S['length'], 2>
        ? padded<S, Pads, S['length']>
        : ShapeError<`pad: pads [${formatDims<Pads, ','>}] do not fit ${formatShape<S>}`>
  : never;

type padded<
  S extends Shape,
  Pads extends readonly number[],
  Rank extends number,
  I extends 1[] = [],
  Out extends Shape = [],
> = S extends readonly [infer D extends Dim, ...infer Rest extends Shape]
  ? padded<Rest, Pads, Rank, [...I, 1], [...Out, sum<D, sum<Pads[I['length']], Pads[sum<I['length'], Rank> & number]>>]>
  : Out;

/**
 * Shape of the elements of x at `Indices` along `Axis`: the shape of the indices takes the axis' place.
 * Mistake: `gather: axis 4 is out of range for [N,48,7,7]`.
 */
export type gatherShape<S extends Shape, Indices extends Shape, Axis extends number> = S extends Shape
  ? isUnranked<S> extends true
    ? unranked<S>
    : axisOf<S, Axis> extends infer I extends number
      ? [I] extends [never]
        ? outOfRange<'gather', S, Axis>
        : number extends I
          ? Dim[]
          : inserted<S, Indices, I>
      : never
  : never;

type inserted<S extends Shape, Middle extends Shape, I extends number, Before extends Shape = []> = S extends readonly [
  infer D extends Dim,
  ...infer Rest extends Shape,
]
  ? Before['length'] extends I
    ? [...Before, ...Middle, ...Rest]
    : inserted<Rest, Middle, I, [...Before, D]>
  : Dim[];

/** Shape of one-hot vectors of `Depth` for the indices x: one more axis at the end. */
export type oneHotShape<S extends Shape, Depth extends number> = [...S, Depth];
