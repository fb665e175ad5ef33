import type { Dim, Shape } from '../../compiler/ir/types.ts';
import type { product, quotient, remainder } from './arithmetic.ts';
import type { formatShape, isOpen, isUnranked, Mistake, ShapeError, unranked } from './mistake.ts';

/**
 * Shape of `reshape(x, Target)`: sizes, names that x has, and at most one −1 for whatever is left.
 * Mistakes: `reshape: [N,32,7,7] does not have the elements of [N,1000]`, `reshape: [N,3,4] to [-1] would join N with another size`.
 */
export type reshapeShape<S extends Shape, Target extends Shape> = S extends Shape
  ? isUnranked<Target> extends true
    ? unranked<S>
    : isUnranked<S> extends true
      ? S extends Mistake
        ? unranked<S>
        : fill<Target, Dim>
      : hasOpen<S> extends true
        ? fill<Target, number>
        : hasOpen<Target> extends true
          ? fill<Target, number>
          : reshaped<S, Target, without<names<S>, names<Target>>, without<names<Target>, names<S>>>
  : never;

/** Names that only x has, and names that only the target has. */
type reshaped<S extends Shape, Target extends Shape, Left extends Shape, Foreign extends Shape> = Foreign extends readonly []
  ? -1 extends Target[number]
    ? Left extends readonly []
      ? remainder<elements<S>, elements<Target>> extends 0
        ? fill<Target, quotient<elements<S>, elements<Target>>>
        : mismatch<S, Target>
      : Left extends readonly [infer Name extends Dim]
        ? elements<S> extends elements<Target>
          ? fill<Target, Name>
          : joins<S, Target, Name>
        : joins<S, Target, Left[0]>
    : Left extends readonly []
      ? elements<S> extends elements<Target>
        ? fill<Target, never>
        : mismatch<S, Target>
      : mismatch<S, Target>
  : mismatch<S, Target>;

type mismatch<
  S extends Shape,
  Target extends Shape,
> = ShapeError<`reshape: ${formatShape<S>} does not have the elements of ${formatShape<Target>}`>;
type joins<
  S extends Shape,
  Target extends Shape,
  Name extends Dim,
> = ShapeError<`reshape: ${formatShape<S>} to ${formatShape<Target>} would join ${Name} with another size`>;

/** `Target` with `Size` in place of −1. */
type fill<Target extends Shape, Size extends Dim> = { -readonly [I in keyof Target]: Target[I] extends -1 ? Size : Target[I] };

type hasOpen<S extends Shape> = S extends readonly [infer D extends Dim, ...infer Rest extends Shape]
  ? isOpen<D> extends true
    ? true
    : hasOpen<Rest>
  : false;

/** Product of the sizes that are numbers (other than −1). */
type elements<S extends Shape, Count extends Dim = 1> = S extends readonly [infer D extends Dim, ...infer Rest extends Shape]
  ? elements<Rest, D extends string ? Count : D extends -1 ? Count : product<Count, D>>
  : Count;

type names<S extends Shape, Found extends Shape = []> = S extends readonly [infer D extends Dim, ...infer Rest extends Shape]
  ? names<Rest, D extends string ? [...Found, D] : Found>
  : Found;

/** `A` without the members of `B`, each taken once. */
type without<A extends Shape, B extends Shape> = B extends readonly [infer D extends Dim, ...infer Rest extends Shape]
  ? without<withoutOne<A, D>, Rest>
  : A;
type withoutOne<A extends Shape, D extends Dim, Kept extends Shape = []> = A extends readonly [
  infer H extends Dim,
  ...infer T extends Shape,
]
  ? H extends D
    ? [...Kept, ...T]
    : withoutOne<T, D, [...Kept, H]>
  : Kept;

/** Shape of `flatten(x)`: the first axis, and all others as one. */
export type flattenShape<S extends Shape> =
  isUnranked<S> extends true
    ? S extends Mistake
      ? S
      : [Dim, Dim]
    : S extends readonly [infer N extends Dim, ...infer Rest extends Shape]
      ? [N, productOf<Rest>]
      : Dim[];

type productOf<S extends Shape, Count extends Dim = 1> = S extends readonly [infer D extends Dim, ...infer Rest extends Shape]
  ? productOf<Rest, product<Count, D>>
  : Count;
