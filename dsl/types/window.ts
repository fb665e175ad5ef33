import type { Dim, Shape } from '../../compiler/ir/types.ts';
import type { difference, isLess, product, quotient, remainder, sum } from './arithmetic.ts';
import type { knownOptions } from './known-options.ts';
import type { formatDims, formatShape, isOpen, isUnranked, lost, ShapeError, unranked } from './mistake.ts';

/** One number for all map axes, or one for each. */
export type PerAxis = number | readonly [number] | readonly [number, number];

/**
 * Zeros around the map: one number; one for each axis ([pad] or [vertical, horizontal]); begins and ends ([left, right] or
 * [top, left, bottom, right]); or `'same'`: dilation · (kernel − 1) in all, the odd one at the end, so that a stride of 1 keeps the map's size.
 */
export type Padding = PerAxis | readonly [number, number, number, number] | 'same';

/** Geometry of a pooling window. */
export interface PoolWindow {
  readonly kernel: PerAxis;
  /** The kernel by default: windows that do not overlap. */
  readonly stride?: PerAxis;
  /** 0 by default. */
  readonly pad?: Padding;
}

/** Geometry of a convolution. */
export interface ConvWindow {
  /** Output channels. */
  readonly filters: number;
  readonly kernel: PerAxis;
  /** 1 by default. */
  readonly stride?: PerAxis;
  /** 0 by default. */
  readonly pad?: Padding;
  /** 1 by default. */
  readonly dilation?: PerAxis;
  /** 1 by default. */
  readonly groups?: number;
}

/** An option's value, `Default` where it is not given, and number where that is not known. */
type option<O, Key extends PropertyKey, Default> = Key extends keyof O
  ? O[Key] extends undefined
    ? Default
    : undefined extends O[Key]
      ? number
      : O[Key]
  : Default;

/** The value for map axis `I`. */
type along<Value, I extends Dim> = Value extends number ? Value : Value extends readonly Dim[] ? Value[I & number] : number;

/** Zeros along map axis `I` of `Rank`, begin and end together. */
type padAlong<Pad, I extends number, Rank extends number> = Pad extends number
  ? sum<Pad, Pad>
  : Pad extends readonly Dim[]
    ? Pad['length'] extends Rank
      ? sum<along<Pad, I>, along<Pad, I>>
      : Pad['length'] extends sum<Rank, Rank>
        ? sum<along<Pad, I>, along<Pad, sum<I, Rank>>>
        : number
    : number;

/** From the first to the last element that a window touches: dilation · (kernel − 1) + 1. */
type reach<Kernel extends Dim, Dilation extends Dim> = sum<product<Dilation, difference<Kernel, 1>>, 1>;

/** ⌊(Padded − Reach) / Stride⌋ + 1; never where the window does not fit. */
type positions<Padded extends Dim, Reach extends Dim, Stride extends Dim> =
  isLess<Padded, Reach> extends true ? never : sum<quotient<difference<Padded, Reach>, Stride>, 1>;

/** ⌈Size / Stride⌉. */
type positionsSame<Size extends Dim, Stride extends Dim> = Stride extends 1
  ? Size
  : quotient<sum<Size, difference<Stride, 1>>, Stride>;

/** Where a window of size `K`, stride `T`, padding `P` and dilation `D` goes over the axes of `Map`; never where it does not fit. */
type slide<
  Map extends Shape,
  K,
  T,
  P,
  D,
  Rank extends number,
  I extends 1[] = [],
  Out extends Shape = [],
> = Map extends readonly [infer Size extends Dim, ...infer Rest extends Shape]
  ? slideAxis<Size, along<K, I['length']>, along<T, I['length']>, P, along<D, I['length']>, Rank, I['length']> extends infer To
    ? [To] extends [never]
      ? never
      : To extends Dim
        ? slide<Rest, K, T, P, D, Rank, [...I, 1], [...Out, To]>
        : never
    : never
  : Out;

type slideAxis<
  Size extends Dim,
  K extends Dim,
  T extends Dim,
  P,
  D extends Dim,
  Rank extends number,
  I extends number,
> = P extends 'same' ? positionsSame<Size, T> : positions<sum<Size, padAlong<P, I, Rank>>, reach<K, D>, T>;

/** The map after a window, or that the window does not fit. */
type windowMap<Op extends string, Map extends Shape, K, T, P, D> = [slide<Map, K, T, P, D, Map['length']>] extends [
  infer To extends Shape,
]
  ? [To] extends [never]
    ? ShapeError<`${Op}: kernel ${formatDims<reaches<Map, K, D>, 'x'>} does not fit the padded input ${formatDims<padded<Map, P>, 'x'>}`>
    : To
  : never;

type reaches<Map extends Shape, K, D> = Map['length'] extends 1
  ? [reach<along<K, 0>, along<D, 0>>]
  : [reach<along<K, 0>, along<D, 0>>, reach<along<K, 1>, along<D, 1>>];
type padded<Map extends Shape, P> = Map['length'] extends 1
  ? [sum<Map[0], padAlong<P, 0, 1>>]
  : [sum<Map[0], padAlong<P, 0, 2>>, sum<Map[1], padAlong<P, 1, 2>>];

type maps = readonly [Dim, Dim, Dim] | readonly [Dim, Dim, Dim, Dim];

/**
 * Shape of a convolution of x [N,C,L] or [N,C,H,W]: [N,filters,…], each map size ⌊(size + pads − dilation·(kernel − 1) − 1) / stride⌋ + 1.
 * Mistakes: `conv: kernel 7x7 does not fit the padded input 4x4` (the kernel with its dilation), `conv: 48 channels are not divisible
 * by 32 groups`, `conv: takes [N,C,L] or [N,C,H,W], got [N,32]`.
 */
export type convShape<S extends Shape, O extends ConvWindow> = mapShape<
  'conv',
  S,
  O['filters'],
  O['kernel'],
  option<O, 'stride', 1>,
  option<O, 'pad', 0>,
  option<O, 'dilation', 1>,
  option<O, 'groups', 1>
>;

/** Shape of `conv2d(x)`: x [N,C,H,W] only. Mistake beside those of a convolution: `conv2d: takes [N,C,H,W], got [N,4,6]`. */
export type conv2dShape<S extends Shape, O extends ConvWindow> = S extends Shape
  ? isUnranked<S> extends true
    ? unranked<S>
    : S extends readonly [Dim, Dim, Dim, Dim]
      ? convShape<S, O>
      : ShapeError<`conv2d: takes [N,C,H,W], got ${formatShape<S>}`>
  : never;

/** Shape of `conv1d(x)`: x [N,C,L] only. Mistake beside those of a convolution: `conv1d: takes [N,C,L], got [N,4,6,6]`. */
export type conv1dShape<S extends Shape, O extends ConvWindow> = S extends Shape
  ? isUnranked<S> extends true
    ? unranked<S>
    : S extends readonly [Dim, Dim, Dim]
      ? convShape<S, O>
      : ShapeError<`conv1d: takes [N,C,L], got ${formatShape<S>}`>
  : never;

/**
 * Shape of a pooling of x [N,C,L] or [N,C,H,W]: [N,C,…].
 * Mistake: `maxPool: kernel 3x3 does not fit the padded input 2x2`.
 */
export type poolShape<Op extends string, S extends Shape, O extends PoolWindow> = mapShape<
  Op,
  S,
  null,
  O['kernel'],
  option<O, 'stride', O['kernel']>,
  option<O, 'pad', 0>,
  1,
  1
>;

/** A window over x with `Filters` output channels, or those of x where it is null. */
type mapShape<Op extends string, S extends Shape, Filters, Kernel, Stride, Pad, Dilation, Groups> = S extends Shape
  ? isUnranked<S> extends true
    ? unranked<S>
    : mapShapeOf<Op, S, Filters, Kernel, Stride, Pad, Dilation, Groups>
  : never;

type mapShapeOf<Op extends string, S extends Shape, Filters, Kernel, Stride, Pad, Dilation, Groups> = S extends readonly [
  infer N extends Dim,
  infer C extends Dim,
  ...infer Map extends Shape,
]
  ? S extends maps
    ? ungrouped<Op, C, Filters, Groups> extends infer Sentence
      ? [Sentence] extends [never]
        ? windowMap<Op, Map, Kernel, Stride, Pad, Dilation> extends infer To
          ? To extends Shape
            ? [N, Filters extends Dim ? Filters : C, ...To]
            : To
          : never
        : ShapeError<Sentence & string>
      : never
    : wrongRank<Op, S>
  : wrongRank<Op, S>;

type wrongRank<Op extends string, S extends Shape> = ShapeError<`${Op}: takes [N,C,L] or [N,C,H,W], got ${formatShape<S>}`>;

/** That the groups do not divide the channels; never where they do. */
type ungrouped<Op extends string, C extends Dim, Filters, Groups> = Groups extends 1
  ? never
  : Groups extends number
    ? divides<Groups, C> extends false
      ? `${Op}: ${C} channels are not divisible by ${Groups} groups`
      : Filters extends number
        ? divides<Groups, Filters> extends false
          ? `${Op}: ${Filters} output channels are not divisible by ${Groups} groups`
          : never
        : never
    : never;

type divides<Groups extends number, C extends Dim> =
  remainder<C, Groups> extends infer Left extends number
    ? isOpen<Left> extends true
      ? true
      : Left extends 0
        ? true
        : false
    : true;

/** Shape of a group norm of x [N,C,…]: that of x. Mistake: `groupNorm: 48 channels are not divisible by 32 groups`. */
export type groupNormShape<S extends Shape, Groups extends number> = S extends Shape
  ? isUnranked<S> extends true
    ? unranked<S>
    : [ungrouped<'groupNorm', S[1], null, Groups>] extends [infer Sentence extends string]
      ? [Sentence] extends [never]
        ? S
        : ShapeError<Sentence>
      : never
  : never;

/** Shape of a pooling over the whole map of x [N,C,…]: [N,C,1,…], or [N,C] where `KeepDims` is false. */
export type globalPoolShape<S extends Shape, KeepDims extends boolean = true> = S extends Shape
  ? isUnranked<S> extends true
    ? lost<S>
    : S extends readonly [infer N extends Dim, infer C extends Dim, ...infer Map extends Shape]
      ? KeepDims extends true
        ? [N, C, ...{ [I in keyof Map]: 1 }]
        : [N, C]
      : Dim[]
  : never;

/** Shape of an adaptive pooling of x [N,C,H,W] to maps of `Size`, one number for both axes or one for each. */
export type adaptivePoolShape<S extends Shape, Size> = S extends Shape
  ? isUnranked<S> extends true
    ? unranked<S>
    : S extends readonly [infer N extends Dim, infer C extends Dim, Dim, Dim]
      ? [N, C, along<Size, 0>, along<Size, 1>]
      : ShapeError<`adaptiveAveragePool: takes [N,C,H,W], got ${formatShape<S>}`>
  : never;

/** Where a resize goes: factors, or sizes, one number for all map axes or one for each. */
export type ResizeTarget = { readonly scale: PerAxis } | { readonly size: PerAxis };

/** Refuses a target of a resize that says both, or anything else: `resize: takes scale or size, got both`. */
export type oneTarget<Target> = Target extends { readonly scale: unknown; readonly size: unknown }
  ? ShapeError<'resize: takes scale or size, got both'>
  : knownOptions<'resize', Target, 'scale' | 'size'>;

/** Shape of a resize of x [N,C,L] or [N,C,H,W]: map sizes `size`, or ⌊map size · scale⌋. */
export type resizeShape<S extends Shape, Target extends ResizeTarget> = S extends Shape
  ? isUnranked<S> extends true
    ? unranked<S>
    : S extends maps
      ? S extends readonly [infer N extends Dim, infer C extends Dim, ...infer Map extends Shape]
        ? [N, C, ...resized<Map, Target>]
        : never
      : wrongRank<'resize', S>
  : never;

type resized<Map extends Shape, Target, I extends 1[] = [], Out extends Shape = []> = Map extends readonly [
  infer Size extends Dim,
  ...infer Rest extends Shape,
]
  ? resized<
      Rest,
      Target,
      [...I, 1],
      [
        ...Out,
        Target extends { readonly size: infer To }
          ? along<To, I['length']>
          : Target extends { readonly scale: infer By }
            ? product<Size, along<By, I['length']>>
            : number,
      ]
    >
  : Out;
