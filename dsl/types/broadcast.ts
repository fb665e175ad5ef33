import type { Dim, Shape } from '../../compiler/ir/types.ts';
import type { anyThatFits, formatDims, formatShape, isOpen, isUnranked, lost, Mistake, ShapeError, unranked } from './mistake.ts';

/**
 * Shape of an element-wise operator of two tensors by numpy's rules: aligned at the right, sizes equal or 1. A named dimension fits itself
 * and 1. Where one size is not known the other one is taken.
 * Mistake: `add: [N,32,56,56] and [N,64,56,56] have different shapes`.
 */
export type broadcastShape<Op extends string, A extends Shape, B extends Shape> = A extends Shape
  ? anyThatFits<broadcastPair<Op, A, B>>
  : never;

type broadcastPair<Op extends string, A extends Shape, B extends Shape> = B extends Shape
  ? isUnranked<A> extends true
    ? unrankedOf<A, B>
    : isUnranked<B> extends true
      ? unranked<B>
      : orMistake<broadcastDims<A, B>, `${Op}: ${formatShape<A>} and ${formatShape<B>} have different shapes`>
  : never;

/** The mistake of one of two inputs, if there is one. */
type unrankedOf<A extends Shape, B extends Shape> = A extends Mistake ? unranked<A> : unranked<B>;

/** `Dims`, or a mistake where it is never. */
type orMistake<Dims, Sentence extends string> = [Dims] extends [never] ? ShapeError<Sentence> : Dims;

/** never where the shapes do not fit. */
type broadcastDims<A extends Shape, B extends Shape, Out extends Shape = []> = A extends readonly [
  ...infer ALead extends Shape,
  infer X extends Dim,
]
  ? B extends readonly [...infer BLead extends Shape, infer Y extends Dim]
    ? [broadcastDim<X, Y>] extends [never]
      ? never
      : broadcastDims<ALead, BLead, [broadcastDim<X, Y>, ...Out]>
    : [...A, ...Out]
  : [...B, ...Out];

type broadcastDim<A extends Dim, B extends Dim> =
  isOpen<A> extends true
    ? isOpen<B> extends true
      ? A | B
      : B extends 1
        ? A
        : B
    : isOpen<B> extends true
      ? A extends 1
        ? B
        : A
      : A extends B
        ? A
        : A extends 1
          ? B
          : B extends 1
            ? A
            : never;

/**
 * Shape of a matrix product of a […,M,K] and b […,K,N]: […,M,N], the leading axes broadcast.
 * Mistakes: `matmul: [N,32] and [64,10] do not match: 32 against 64`, `matmul: [N,2,3] and [4,3,5] have different shapes`.
 */
export type matmulShape<A extends Shape, B extends Shape> = A extends Shape ? anyThatFits<matmulPair<A, B>> : never;

type matmulPair<A extends Shape, B extends Shape> = B extends Shape
  ? isUnranked<A> extends true
    ? unrankedOf<A, B>
    : isUnranked<B> extends true
      ? unranked<B>
      : matmulRanked<A, B>
  : never;

type matmulRanked<A extends Shape, B extends Shape> = A extends readonly [
  ...infer ALead extends Shape,
  infer M extends Dim,
  infer K extends Dim,
]
  ? B extends readonly [...infer BLead extends Shape, infer L extends Dim, infer N extends Dim]
    ? contracts<K, L> extends false
      ? ShapeError<`matmul: ${formatShape<A>} and ${formatShape<B>} do not match: ${formatDims<[K], ''>} against ${formatDims<[L], ''>}`>
      : broadcastDims<ALead, BLead> extends infer Lead extends Shape
        ? orMistake<
            [Lead] extends [never] ? never : [...Lead, M, N],
            `matmul: ${formatShape<A>} and ${formatShape<B>} have different shapes`
          >
        : never
    : Dim[]
  : Dim[];

type contracts<K extends Dim, L extends Dim> =
  isOpen<K> extends true ? true : isOpen<L> extends true ? true : [K] extends [L] ? true : [L] extends [K] ? true : false;

/** Shape of a fully connected layer on x […,in] with `Units` outputs: […,Units]. */
export type linearShape<S extends Shape, Units extends Dim> = S extends Shape
  ? isUnranked<S> extends true
    ? lost<S>
    : S extends readonly [...infer Lead extends Shape, Dim]
      ? [...Lead, Units]
      : Dim[]
  : never;

/**
 * `A`, where `B` is the same shape as far as both are known: for a result that is known to keep a shape, inside a generic function.
 * Mistake: `Op: [N,32,56,56] and [N,64,56,56] have different shapes`.
 */
export type sameShape<Op extends string, A extends Shape, B extends Shape> = A extends Shape
  ? anyThatFits<samePair<Op, A, B>>
  : never;

type samePair<Op extends string, A extends Shape, B extends Shape> = B extends Shape
  ? isUnranked<B> extends true
    ? B extends Mistake
      ? unranked<B>
      : A
    : isUnranked<A> extends true
      ? A
      : A['length'] extends B['length']
        ? false extends { [I in keyof A]: I extends keyof B ? contracts<A[I], B[I] & Dim> : false }[number]
          ? ShapeError<`${Op}: ${formatShape<A>} and ${formatShape<B>} have different shapes`>
          : A
        : ShapeError<`${Op}: ${formatShape<A>} and ${formatShape<B>} have different shapes`>
  : never;
