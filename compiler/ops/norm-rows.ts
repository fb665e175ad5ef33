/*
 * What the norms compute on rows: a map x [N,C,H,W] is seen as N·G rows of (C/G)·H·W values (a group), or as N·C rows of H·W (a channel).
 * Everything here is ONNX forms, shared by forward pass and gradient; equal requests become one ONNX node.
 *
 * Moments of a row of m values, with k the mean of a few of them:
 *
 *   s = x − k      d = Σs / m      var = Σs² / m − d²      mean = k + d
 *
 * Mean of squares alone cancels where the mean is large against the deviation. As k lies within √(m / few) deviations of the mean whatever the
 * values are, and usually within a fraction of one, s cancels nothing; s takes the place of x in all that follows, so this costs one pass.
 *
 * On CPU two sums over a row and maps a·x + b are fastest as depthwise Convs over [1,R,1,m], one channel a row, whose weights are run-time values
 * (measured at [16,32,56,56], one thread: Σx·y 0.15 ms against 0.29 for Mul and ReduceSum; a·x + b + z 0.55 against 1.0). Below a few hundred values
 * a row that has too much overhead.
 */
import type { Emitter } from '../emit/emitter.ts';
import { needs } from '../emit/lowering.ts';
import { elementCount, isStatic, type Shape } from '../ir/types.ts';

/** How many values of a row estimate its mean. */
const PROBE = 64;
/** Shortest row on which a depthwise Conv is faster. */
const CONV_ROW = 400;

/** Rows of a map: how many (null where the batch size is not known), how long, and whether depthwise Convs run them. */
export interface Rows {
  readonly count: number | null;
  readonly size: number;
  readonly conv: boolean;
}

/** The N·`perSample` rows of x [N,C,…]. */
export function rowsOf(shape: Shape, perSample: number, conv: boolean): Rows {
  const size = elementCount(shape.slice(1)) / perSample;
  return { count: typeof shape[0] === 'number' ? shape[0] * perSample : null, size, conv };
}

/** Depthwise Convs over the channels of x [N,C,…]. */
export const rowsByConv = needs(
  'the CPU and a known shape',
  ({ inputs: [x] }, { provider }) => provider === 'cpu' && isStatic(x.type.shape),
);
export const longRows = needs(
  `rows of ${CONV_ROW} values or more`,
  ({ inputs: [x] }) => elementCount(x.type.shape.slice(2)) >= CONV_ROW,
);

/** `x` as [R,m]. */
export function asRows(e: Emitter, x: string, rows: Rows): string {
  return e.reshape(x, [-1, rows.size]);
}

/** Rows, or coefficients, as an array of shape `shape`, whose named dimension (one at most) is left to the run. */
export function reshapeTo(e: Emitter, x: string, shape: Shape): string {
  return e.reshape(
    x,
    shape.map((dim) => (typeof dim === 'number' ? dim : -1)),
  );
}

/** Σ over a row → [R,1]. */
export function rowSums(e: Emitter, x: string, rows: Rows): string {
  return e.reduce('ReduceSum', asRows(e, x, rows), [1], true);
}

/** Σ x·y over a row → [R,1]. */
export function rowDots(e: Emitter, x: string, y: string, rows: Rows): string {
  const { count, size, conv } = rows;
  if (!conv || count === null) return e.reduce('ReduceSum', e.node('Mul', [asRows(e, x, rows), asRows(e, y, rows)]), [1], true);
  const sums = e.node('Conv', [e.reshape(x, [1, count, 1, size]), e.reshape(y, [count, 1, 1, size])], { group: count });
  return e.reshape(sums, [-1, 1]);
}

/** a·x + b with a coefficient pair a row (`a`, `b` hold R values in any shape), plus `plus` where it is given → [R,m], or [1,R,1,m]. */
export function rowAffine(e: Emitter, x: string, a: string, b: string | null, rows: Rows, plus?: string): string {
  const { count, size, conv } = rows;
  if (!conv || count === null) {
    let y = e.node('Mul', [asRows(e, x, rows), e.reshape(a, [-1, 1])]);
    if (b !== null) y = e.node('Add', [y, e.reshape(b, [-1, 1])]);
    return plus === undefined ? y : e.node('Add', [y, asRows(e, plus, rows)]);
  }
  const inputs = [e.reshape(x, [1, count, 1, size]), e.reshape(a, [count, 1, 1, 1]), b === null ? '' : e.reshape(b, [count])];
  if (plus === undefined) return e.node('Conv', b === null ? inputs.slice(0, 2) : inputs, { group: count });
  return e.node('FusedConv', [...inputs, e.reshape(plus, [1, count, 1, size])], { group: count }, 'com.microsoft');
}

/** Mean of a few values from the middle of each row of `x` [R,m] → [R,1]: an estimate of the row's mean. */
export function probe(e: Emitter, x: string, size: number): string {
  const start = Math.max(0, Math.floor((size - PROBE) / 2));
  const some = size <= PROBE ? x : e.node('Slice', [x, e.ints([start]), e.ints([start + PROBE]), e.ints([1])]);
  return e.reduce('ReduceMean', some, [1], true);
}

/** Moments of rows. */
export interface Moments {
  /** s = x − k, [R,m]. */
  readonly shifted: string;
  /** d, the mean of s, [R,1]. */
  readonly mean: string;
  /** 1 / √(var + ε), [R,1]. */
  readonly inverse: string;
}

/** Moments of the rows of `x`; biased variance. */
export function rowMoments(e: Emitter, x: string, rows: Rows, epsilon: number): Moments {
  const flat = asRows(e, x, rows);
  const shifted = e.node('Sub', [flat, probe(e, flat, rows.size)]);
  const mean = e.reduce('ReduceMean', shifted, [1], true);
  const squares = e.node('Mul', [rowDots(e, shifted, shifted, rows), e.floats(1 / rows.size)]);
  const variance = e.node('Sub', [squares, e.node('Mul', [mean, mean])]);
  return { shifted, mean, inverse: inverseRoot(e, variance, epsilon) };
}

/** 1 / √(var + ε). */
export function inverseRoot(e: Emitter, variance: string, epsilon: number): string {
  return e.node('Reciprocal', [e.node('Sqrt', [e.node('Add', [variance, e.floats(epsilon)])])]);
}
