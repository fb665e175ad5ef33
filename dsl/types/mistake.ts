/*
 * How a shape rule says no. Every rule of this folder (`convShape`, `broadcastShape`, …) answers with the result's shape, or with
 * `ShapeError<sentence>`; the sentence is the one that the operator's own rule says when a graph is built. An operator puts the
 * answer into its signature twice, in an overload of its own:
 *
 *   export function pool<X extends Tensor, const O extends PoolWindow>(
 *     x: X & fits<poolShape<'maxPool', X['shape'], O>>,
 *     options: O,
 *   ): Tensor<made<poolShape<'maxPool', X['shape'], O>>, X['dtype']>;
 *   export function pool(x: Tensor, options: PoolWindow): Tensor { … }
 *
 * `fits` is `unknown`, or the sentence, to which no tensor is assignable, so that the editor says
 *   Type 'Tensor<["N", 64, 56, 56]>' is not assignable to type '"add: [N,32,56,56] and [N,64,56,56] have different shapes"'.
 * and `made` gives the result of a mistake a shape of which nothing is known, so that it is not followed by others.
 *
 * Inside a generic function a rule cannot answer yet: its answer is a conditional type that TypeScript defers. Then `fits` lets the
 * argument pass. Both are written so that TypeScript need not look into a deferred answer (it would, at a cost that grows exponentially
 * with the number of operators in the function): the parameter's type is no conditional type, and every branch of `made` is a shape by the
 * constraint of its `infer`.
 */
import type { Dim, Shape } from '../../compiler/ir/types.ts';

declare const sentence: unique symbol;
declare const again: unique symbol;

/**
 * What a shape rule answers to inputs that do not fit: the sentence that the build would stop with. `Again` where an operator before has
 * said it.
 */
export interface ShapeError<out Sentence extends string = string, out Again extends boolean = false> {
  readonly [sentence]: Sentence;
  readonly [again]: Again;
}

/** Any ShapeError. */
export type Mistake = ShapeError<string, boolean>;

/** A shape, or a list of shapes (of an operator with several results). */
type Valid = readonly unknown[];

/**
 * What a parameter's type is intersected with: `unknown` where the rule's answer is a shape or is not known yet, the sentence where it is a
 * mistake (or one of several, for a union).
 */
export type fits<Answer> = Outcome<Answer>[outcome<settled<certain<Answer>>>];

interface Outcome<Answer> {
  accepted: unknown;
  refused: Answer extends ShapeError<infer Sentence, boolean> ? Sentence : never;
}

/** {@link fits} for an argument that may be a number: the sentence itself, a text, would leave nothing of a number but `never`. */
export type fitsNumber<Answer> = NumberOutcome<Answer>[outcome<settled<certain<Answer>>>];

interface NumberOutcome<Answer> {
  accepted: unknown;
  refused: Answer extends Mistake ? Answer : never;
}

/*
 * TypeScript judges an argument for `Outcome[key]` by the constraint of a key that it cannot decide yet. Constraints leave `any` branches of
 * conditional types out: that of `certain` is 'accepted', and so is the key's. Once the answer is known, `any` takes both ways in `settled`,
 * which adds up to `string` and so to 'refused'.
 */
// biome-ignore lint/suspicious/noExplicitAny: a constraint leaves out `any` only, see above
type certain<Answer> = [Answer] extends [Valid] ? 'accepted' : any;
type settled<Certain> = Certain extends 'accepted' ? 'accepted' : string;
type outcome<Settled> = Settled extends 'accepted' ? 'accepted' : 'refused';

/**
 * The shape of a result: a rule's answer; in place of a mistake a shape of which nothing is known but the sentence. So a mistake inside a
 * generic function, which comes out where that function is called, is shown by the next operator that takes its result, and by
 * {@link flawless} at the end.
 */
export type made<Answer> = Answer extends infer S extends Shape
  ? S
  : Answer extends ShapeError<infer Sentence, infer Again>
    ? Dim[] & ShapeError<Sentence, Again>
    : Dim[];

/** The shapes of several results, like {@link made}. */
export type madeAll<Answer> = Answer extends infer Shapes extends readonly Shape[] ? Shapes : made<Answer>[];

/** The shape of the result of an operator that makes no mistakes of its own, for an input of unknown rank. */
export type lost<S extends Shape> = S extends infer Carried extends Shape & Mistake ? Carried : Dim[];

/** A rule's answer to an input of unknown rank: its mistake, if that is why; the second time as a shape, so that it is not shown once more. */
export type unranked<S extends Shape> = Dim[] extends S
  ? Dim[]
  : S extends ShapeError<infer Sentence, false>
    ? ShapeError<Sentence, true>
    : lost<S>;

/**
 * What the type of a function's results is intersected with: `unknown`, or the sentences of the mistakes that tensors of `Results` come from.
 * Shows a mistake that was made and used inside generic functions only.
 */
export type flawless<Results extends Readonly<Record<string, { readonly shape: Shape }>>> = [
  flawOf<Results[keyof Results]['shape']>,
] extends [never]
  ? unknown
  : flawOf<Results[keyof Results]['shape']>;

type flawOf<S extends Shape> = S extends ShapeError<infer Sentence, boolean> ? Sentence : never;

/**
 * A rule's answers for the members of a union, of which one that fits is enough: `b` of `add(a, b)` may have been made by the same
 * condition as `a`.
 */
export type anyThatFits<Answer> = [Answer] extends [Mistake] ? Answer : Exclude<Answer, Mistake>;

/** `['N', 32, 56, 56]` → `[N,32,56,56]`; a size that is not known is written `?`. */
export type formatShape<S extends Shape> = number extends S['length'] ? '[...]' : `[${formatDims<S, ','>}]`;

/** `[7, 7]` → `7x7` with `x` between; a size that is not known is written `?`. */
export type formatDims<S extends Shape, Between extends string, Text extends string = ''> = S extends readonly [
  infer Head extends Dim,
  ...infer Tail extends Shape,
]
  ? formatDims<Tail, Between, Text extends '' ? formatDim<Head> : `${Text}${Between}${formatDim<Head>}`>
  : Text;

type formatDim<D extends Dim> = isOpen<D> extends true ? '?' : `${D}`;

/** Whether nothing is known of a size: `number`, `string` or both, no literal. */
export type isOpen<D extends Dim> = number extends D ? true : string extends D ? true : false;

/** Whether the number of axes is not known: `Dim[]`. */
export type isUnranked<S extends Shape> = number extends S['length'] ? true : false;
