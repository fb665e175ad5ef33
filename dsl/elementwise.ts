import { scalar } from '../compiler/ir/ndarray.ts';
import { DdrcError } from '../diagnostics/error.ts';
import { literal } from './literal.ts';
import { apply, contextOf, type DType, located, type Shape, type Tensor, tensor } from './tensor.ts';
import type { broadcastShape, fits, made, ShapeError } from './types/index.ts';

/** A tensor, or a number that becomes a constant of the other operand's element type. */
export type Operand = Tensor | number;
type shapeOf<X extends Operand> = X extends Tensor ? X['shape'] : [];
type dtypeOf<A extends Operand, B extends Operand> = A extends Tensor ? A['dtype'] : B extends Tensor ? B['dtype'] : DType;

/** Refuses two plain numbers, which belong to no graph: `add: takes at least one tensor, got two numbers`. */
type oneTensor<Op extends string, A extends Operand, B extends Operand> = A extends number
  ? B extends number
    ? ShapeError<`${Op}: takes at least one tensor, got two numbers`>
    : []
  : [];

/** An element-wise operator of two operands with numpy's broadcasting. */
export type Binary<Op extends string> = <A extends Operand, B extends Operand>(
  a: A,
  b: B & fits<broadcastShape<Op, shapeOf<A>, shapeOf<B>>> & fits<oneTensor<Op, A, B>>,
) => Tensor<made<broadcastShape<Op, shapeOf<A>, shapeOf<B>>>, dtypeOf<A, B>>;

/** A comparison of two operands, element by element, with broadcasting; its results are true or false. */
export type Comparison<Op extends string> = <A extends Operand, B extends Operand>(
  a: A,
  b: B & fits<broadcastShape<Op, shapeOf<A>, shapeOf<B>>> & fits<oneTensor<Op, A, B>>,
) => Tensor<made<broadcastShape<Op, shapeOf<A>, shapeOf<B>>>, 'bool'>;

/** An element-wise operator of one tensor. */
export type Unary = <X extends Tensor>(x: X) => Tensor<X['shape'], X['dtype']>;

function operands(op: string, a: Operand, b: Operand): [Tensor, Tensor] {
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
  (a: Operand, b: Operand): Tensor =>
    apply(op, operands(op, a, b));
const unary =
  (op: string) =>
  (x: Tensor): Tensor =>
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
export const equal = binary('equal') as Comparison<'equal'>;
/** a < b */
export const less = binary('less') as Comparison<'less'>;
/** a ≤ b */
export const lessOrEqual = binary('lessOrEqual') as Comparison<'lessOrEqual'>;
/** a > b */
export const greater = binary('greater') as Comparison<'greater'>;
/** a ≥ b */
export const greaterOrEqual = binary('greaterOrEqual') as Comparison<'greaterOrEqual'>;
/** Both of two truth values. */
export const and = binary('and') as Comparison<'and'>;
/** At least one of two truth values. */
export const or = binary('or') as Comparison<'or'>;
/** The opposite of a truth value. */
export const not = unary('not') as Unary;

/** −x */
export const neg = unary('neg') as Unary;
/** eˣ */
export const exp = unary('exp') as Unary;
/** ln x */
export const log = unary('log') as Unary;
/** √x */
export const sqrt = unary('sqrt') as Unary;
/** |x|, with the gradient 0 at 0 */
export const abs = unary('abs') as Unary;
/** The error function 2/√π · ∫₀ˣ e^(−t²) dt */
export const erf = unary('erf') as Unary;
/** 1/x */
export const reciprocal = unary('reciprocal') as Unary;
/** −1, 0 or 1; its gradient is 0 */
export const sign = unary('sign') as Unary;
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
export function where<C extends Tensor<Shape, 'bool'>, A extends Operand, B extends Operand>(
  condition: C,
  x: A,
  y: B & fits<broadcastShape<'where', shapeOf<A>, shapeOf<B>>>,
): Tensor<made<broadcastShape<'where', C['shape'], made<broadcastShape<'where', shapeOf<A>, shapeOf<B>>>>>, dtypeOf<A, B>>;
export function where(condition: Tensor, x: Operand, y: Operand): Tensor {
  const numbers = typeof x === 'number' && typeof y === 'number';
  const context = contextOf(condition);
  const lifted = numbers ? tensor(context, context.graph.constant(scalar(x))) : x;
  return apply('where', [condition, ...operands('where', lifted, y)]);
}

/** x with another element type; truth values become 0 and 1, float32 is cut towards zero. */
export function cast<X extends Tensor, D extends DType>(x: X, to: D): Tensor<X['shape'], D>;
export function cast(x: Tensor, to: DType): Tensor {
  return apply('cast', [x], { to });
}
