import { scalar } from '../compiler/ir/ndarray.ts';
import { DdrcError } from '../diagnostics/error.ts';
import { literal } from './literal.ts';
import { type AnyTensor, apply, contextOf, type Dim, type DType, located, type Shape, type Tensor, tensor } from './tensor.ts';
import type { broadcastShape, fits, fitsNumber, made, ShapeError, sameElement } from './types/index.ts';

/** A tensor, or a number that becomes a constant of the other operand's element type. */
export type Operand<D extends DType = DType> = Tensor<Shape, D> | number;
/** Element types that arithmetic takes. */
type Numbers = Exclude<DType, 'bool'>;
/** Element types with a sign. */
type Signed = Exclude<Numbers, 'uint8'>;

type shapeOf<X extends Operand> = X extends AnyTensor ? X['shape'] : [];
/** {@link shapeOf} `B`; beside another number nothing is known, so that no other mistake follows {@link oneTensor}'s. */
type shapeBeside<A extends Operand, B extends Operand> = B extends AnyTensor ? B['shape'] : [A] extends [number] ? Dim[] : [];
/** The element type of `A`; of a number, the other operand's; float32 of two numbers. */
type dtypeOf<A extends Operand, B extends Operand> = A extends AnyTensor
  ? A['dtype']
  : B extends AnyTensor
    ? B['dtype']
    : 'float32';

/** Refuses two plain numbers, which belong to no graph: `add: takes at least one tensor, got two numbers`. */
type oneTensor<Op extends string, A extends Operand, B extends Operand> = A extends number
  ? B extends number
    ? ShapeError<`${Op}: takes at least one tensor, got two numbers`>
    : []
  : [];

/** An element-wise operator of two operands with numpy's broadcasting. */
export type Binary<Op extends string> = <A extends Operand<Numbers>, B extends Operand<Numbers>>(
  a: A,
  b: B &
    fits<broadcastShape<Op, shapeOf<A>, shapeOf<B>>> &
    fits<sameElement<Op, dtypeOf<A, B>, dtypeOf<B, A>>> &
    fitsNumber<oneTensor<Op, A, B>>,
) => Tensor<made<broadcastShape<Op, shapeOf<A>, shapeBeside<A, B>>>, dtypeOf<A, B>>;

/** A comparison of two operands, element by element, with broadcasting; its results are true or false. */
export type Comparison<Op extends string, D extends DType = Signed> = <A extends Operand<D>, B extends Operand<D>>(
  a: A,
  b: B &
    fits<broadcastShape<Op, shapeOf<A>, shapeOf<B>>> &
    fits<sameElement<Op, dtypeOf<A, B>, dtypeOf<B, A>>> &
    fitsNumber<oneTensor<Op, A, B>>,
) => Tensor<made<broadcastShape<Op, shapeOf<A>, shapeBeside<A, B>>>, 'bool'>;

/** An element-wise operator of one tensor with elements of one of the types `D`. */
export type Unary<D extends DType = 'float32'> = <X extends Tensor<Shape, D>>(x: X) => Tensor<X['shape'], X['dtype']>;

function operands(op: string, a: Operand, b: Operand): [AnyTensor, AnyTensor] {
  if (typeof a !== 'number') return [a, typeof b === 'number' ? literal(op, a, b) : b];
  if (typeof b !== 'number') return [literal(op, b, a), b];
  throw located(
    new DdrcError({
      code: 'MODEL_INVALID',
      message: `${op}: takes at least one tensor, got two numbers`,
      hint: 'plain numbers are for JavaScript to compute with',
    }),
  );
}

const binary =
  (op: string) =>
  (a: Operand, b: Operand): AnyTensor =>
    apply(op, operands(op, a, b));
const unary =
  (op: string) =>
  (x: AnyTensor): AnyTensor =>
    apply(op, [x]);

/** a + b */
export const add = binary('add') as Binary<'add'>;
/** a − b */
export const sub = binary('sub') as Binary<'sub'>;
/** a · b */
export const mul = binary('mul') as Binary<'mul'>;
/** a / b */
export const div = binary('div') as Binary<'div'>;
/** aᵇ */
export const pow = binary('pow') as Binary<'pow'>;
/** The smaller of a and b; the gradient is shared evenly where they are equal. */
export const minimum = binary('minimum') as Binary<'minimum'>;
/** The larger of a and b; the gradient is shared evenly where they are equal. */
export const maximum = binary('maximum') as Binary<'maximum'>;

/** a = b */
export const equal = binary('equal') as Comparison<'equal', Signed | 'bool'>;
/** a < b */
export const less = binary('less') as Comparison<'less'>;
/** a ≤ b */
export const lessOrEqual = binary('lessOrEqual') as Comparison<'lessOrEqual'>;
/** a > b */
export const greater = binary('greater') as Comparison<'greater'>;
/** a ≥ b */
export const greaterOrEqual = binary('greaterOrEqual') as Comparison<'greaterOrEqual'>;
/** Both of two truth values. */
export const and = binary('and') as Comparison<'and', 'bool'>;
/** At least one of two truth values. */
export const or = binary('or') as Comparison<'or', 'bool'>;
/** The opposite of a truth value. */
export const not = unary('not') as Unary<'bool'>;

/** −x */
export const neg = unary('neg') as Unary<Signed>;
/** eˣ */
export const exp = unary('exp') as Unary;
/** ln x */
export const log = unary('log') as Unary;
/** √x */
export const sqrt = unary('sqrt') as Unary;
/** |x|, with the gradient 0 at 0 */
export const abs = unary('abs') as Unary<Signed>;
/** The error function 2/√π · ∫₀ˣ e^(−t²) dt */
export const erf = unary('erf') as Unary;
/** 1/x */
export const reciprocal = unary('reciprocal') as Unary;
/** −1, 0 or 1; its gradient is 0 */
export const sign = unary('sign') as Unary<Signed>;
/** ⌊x⌋; its gradient is 0 */
export const floor = unary('floor') as Unary;

/** x kept between `min` and `max`, either of which may be left out; the gradient passes at the bounds. */
export function clip<X extends Tensor>(
  x: X,
  bounds: { readonly min?: number; readonly max?: number },
): Tensor<X['shape'], X['dtype']>;
export function clip(x: Tensor, bounds: { readonly min?: number; readonly max?: number }): Tensor {
  return apply('clip', [x], bounds);
}

/** x where `condition` is true, y elsewhere, with broadcasting. */
export function where<C extends Tensor<Shape, 'bool'>, A extends Operand<Signed>, B extends Operand<Signed>>(
  condition: C,
  x: A,
  y: B & fits<broadcastShape<'where', shapeOf<A>, shapeOf<B>>> & fits<sameElement<'where', dtypeOf<A, B>, dtypeOf<B, A>>>,
): Tensor<made<broadcastShape<'where', C['shape'], made<broadcastShape<'where', shapeOf<A>, shapeOf<B>>>>>, dtypeOf<A, B>>;
export function where(condition: AnyTensor, x: Operand, y: Operand): AnyTensor {
  const numbers = typeof x === 'number' && typeof y === 'number';
  const context = contextOf(condition);
  const lifted = numbers ? tensor(context, context.graph.constant(scalar(x))) : x;
  return apply('where', [condition, ...operands('where', lifted, y)]);
}

/** x with another element type; truth values become 0 and 1, float32 is cut towards zero. */
export function cast<X extends AnyTensor, D extends DType>(x: X, to: D): Tensor<X['shape'], D>;
export function cast(x: AnyTensor, to: DType): AnyTensor {
  return apply('cast', [x], { to });
}
