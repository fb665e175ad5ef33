/*
 * Dropout masks from arithmetic on a seed: the same on every provider, and resumable, as nothing but the seed changes from step to step.
 *
 * All arithmetic is on digits, whole numbers of about [0, p), p = 4093 a prime, in float32. With digits below p + 2, a square plus a few digits
 * stays below 2^24, where float32 holds whole numbers exactly, so every sum and product is exact, fused or not. The one inexact step is the quotient in
 *
 *   mod(v) = v − p·⌊v · fl(1/p)⌋
 *
 * a correctly rounded product, which is the same everywhere; where it crosses a whole number, mod is −1, p or p + 1, a digit like others.
 *
 * An element has a row (its place on the first axis) and a column (its place on the rest). Row, column and seed are two digits each, and pass a
 * generalised Feistel network
 *
 *   (a, b) → (b, mod(a + b² + k))         k a round key
 *
 * which is invertible, so that different rows stay different. The seed's network gives the keys. Then the digits of row and column are mixed:
 * x₀ = mod(a + c²+…), and each further round squares the last digit and adds the one before and a fresh digit of row, column or key. Squares
 * of sums of row and column digits leave no linear relation between neighbours. The last two digits are a number u of [0, p²), evenly spread:
 *
 *   mask = 1/(1 − P) where u ≥ P·p², else 0
 */
import type { Emitter } from '../emit/emitter.ts';
import { type NDArray, ndarray, zeros } from '../ir/ndarray.ts';
import { defineOp, type Sample } from '../ir/op.ts';
import { formatType, type Shape } from '../ir/types.ts';
import { shapeError } from './shapes.ts';

/** `p`: the probability with which an element is dropped, in [0, 1); `salt`: a whole number, another for each mask of a model. */
export type DropoutMaskAttrs = { readonly p: number; readonly salt: number };

const PRIME = 4093;
const INVERSE = Math.fround(1 / PRIME);
/** Rounds of the network on row, column and seed. */
const ROUNDS = 6;
/** Keys made from the seed: one a round for row and column, and those of the mixing. */
const KEYS = 4;

/** Arithmetic on digits: numbers in the reference, names of ONNX values in a graph. Operands broadcast. */
interface Digits<T> {
  digit(value: number): T;
  add(a: T, b: T): T;
  square(a: T): T;
  /** v − p·⌊v/p⌋, and the quotient. */
  divide(v: T): { quotient: T; rest: T };
}

/** A whole number in [0, p) that depends on `salt` and `index` without a visible pattern. */
function constantDigit(salt: number, index: number): number {
  let h = Math.imul(salt ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(index + 1, 0xc2b2ae35);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  h = Math.imul(h ^ (h >>> 12), 0x297a2d39);
  return ((h ^ (h >>> 15)) >>> 0) % PRIME;
}

/** The network on a whole number below 2^24: digits by which it can be told from others, the last ones well mixed. */
function network<T>(on: Digits<T>, value: T, keys: readonly T[]): [T, T] {
  const { quotient, rest } = on.divide(value);
  let [a, b] = [quotient, rest];
  keys.forEach((key) => {
    const { rest: next } = on.divide(on.add(on.add(on.square(b), a), key));
    [a, b] = [b, next];
  });
  return [a, b];
}

function constants<T>(on: Digits<T>, salt: number, stage: number): T[] {
  return Array.from({ length: ROUNDS }, (_, i) => on.digit(constantDigit(salt, stage * ROUNDS + i)));
}

/** Keys of a step. */
function keysOf<T>(on: Digits<T>, seed: T, salt: number): T[] {
  let [a, b] = network(on, seed, constants(on, salt, 0));
  return Array.from({ length: KEYS }, (_, i) => {
    const { rest: next } = on.divide(on.add(on.add(on.square(b), a), on.digit(constantDigit(salt, 100 + i))));
    [a, b] = [b, next];
    return next;
  });
}

/** The digits of a row or a column in a step: those of the network, with keys in its first and last rounds. */
function placeDigits<T>(on: Digits<T>, place: T, keys: readonly T[], salt: number, stage: number): [T, T] {
  return network(on, place, [keys[0], ...constants(on, salt, stage).slice(0, 2), keys[1]]);
}

/** u of an element from the digits of its row and of its column. */
function mix<T>(on: Digits<T>, [a, b]: readonly [T, T], [c, d]: readonly [T, T], key: T): { high: T; low: T } {
  const round = (last: T, ...others: T[]) => on.divide(others.reduce((sum, other) => on.add(sum, other), on.square(last))).rest;
  const first = on.divide(on.add(a, c)).rest;
  const second = round(first, b, d);
  const third = round(second, first, a);
  const fourth = round(third, second, c);
  const fifth = round(fourth, third, key);
  return { high: fifth, low: fourth };
}

const numbers: Digits<number> = {
  digit: (value) => value,
  add: (a, b) => a + b,
  square: (a) => a * a,
  divide(v) {
    const quotient = Math.floor(Math.fround(v * INVERSE));
    return { quotient, rest: v - PRIME * quotient };
  },
};

function names(e: Emitter): Digits<string> {
  return {
    digit: (value) => e.floats(value),
    add: (a, b) => e.node('Add', [a, b]),
    square: (a) => e.node('Mul', [a, a]),
    divide(v) {
      const quotient = e.node('Floor', [e.node('Mul', [v, e.floats(INVERSE)])]);
      return { quotient, rest: e.node('Sub', [v, e.node('Mul', [quotient, e.floats(PRIME)])]) };
    },
  };
}

/** The least u that keeps an element. */
function threshold(p: number): number {
  // Digits may be −1, so that u may be a little less than 0: nothing is dropped at P = 0.
  return p === 0 ? -PRIME * PRIME : Math.round(p * PRIME * PRIME);
}

/** 0, 1, … as float32 [n], n a value of int64 []. */
function range(e: Emitter, count: string): string {
  return e.node('Cast', [e.node('Range', [e.ints(0), count, e.ints(1)])], { to: 1 });
}

/** Rows [R,1] and columns [1,C] of a value of shape `shape`, as far as it is known. */
function placesOf(e: Emitter, like: string, shape: Shape): { rows: string; columns: string } {
  const sizes = () => e.node('Shape', [like]);
  const count = (dims: Shape, from: number, to: number) => {
    if (dims.every((dim) => typeof dim === 'number'))
      return e.ints(dims.reduce<number>((product, dim) => product * (dim as number), 1));
    const some = e.node('Slice', [sizes(), e.ints([from]), e.ints([to]), e.ints([0])]);
    return e.node('ReduceProd', [some], { keepdims: 0 });
  };
  const rows = range(e, count(shape.slice(0, 1), 0, 1));
  const columns = range(e, count(shape.slice(1), 1, shape.length));
  return { rows: e.reshape(rows, [-1, 1]), columns: e.reshape(columns, [1, -1]) };
}

function emitMask(e: Emitter, shape: Shape, like: string, seed: string, { p, salt }: DropoutMaskAttrs): string {
  const on = names(e);
  const keys = keysOf(on, e.node('Cast', [seed], { to: 1 }), salt);
  const { rows, columns } = placesOf(e, like, shape);
  const row = placeDigits(on, rows, keys.slice(0, 2), salt, 1);
  const column = placeDigits(on, columns, keys.slice(1, 3), salt, 2);
  const { high, low } = mix(on, row, column, keys[3]);
  const u = e.node('Add', [e.node('Mul', [high, e.floats(PRIME)]), low]);
  const kept = e.node('Clip', [e.node('Sub', [u, e.floats(threshold(p) - 1)]), e.floats(0), e.floats(1)]);
  const mask = e.node('Mul', [kept, e.floats(1 / (1 - p))]);
  const named = shape.filter((dim) => typeof dim === 'string').length;
  if (named > 1) return e.node('Reshape', [mask, e.node('Shape', [like])]);
  return e.reshape(
    mask,
    shape.map((dim) => (typeof dim === 'number' ? dim : -1)),
  );
}

/** The mask of shape `shape` for a seed in [0, 2^24): the arithmetic that the graphs do, bit for bit. */
export function maskOf(shape: readonly number[], seed: number, { p, salt }: DropoutMaskAttrs): NDArray {
  const mask = zeros(shape);
  const columns = shape.slice(1).reduce((product, size) => product * size, 1);
  const keys = keysOf(numbers, seed, salt);
  const scale = Math.fround(1 / (1 - p));
  const digits = Array.from({ length: columns }, (_, i) => placeDigits(numbers, i, keys.slice(1, 3), salt, 2));
  for (let row = 0; row * columns < mask.data.length; row++) {
    const own = placeDigits(numbers, row, keys.slice(0, 2), salt, 1);
    for (let column = 0; column < columns; column++) {
      const { high, low } = mix(numbers, own, digits[column], keys[3]);
      if (high * PRIME + low >= threshold(p)) mask.data[row * columns + column] = scale;
    }
  }
  return mask;
}

type MaskSample = Omit<Sample, 'attrs'> & { attrs: DropoutMaskAttrs };

function sample(name: string, shape: readonly number[], seed: number, p: number, salt = 1): MaskSample {
  return { name, inputs: [zeros(shape), ndarray([], [seed], 'int64')], attrs: { p, salt } };
}

export const dropoutMask = defineOp<DropoutMaskAttrs>('dropoutMask', {
  summary:
    'Inverted dropout mask of the shape of its first input: 0 with probability p, else 1/(1 − p), from the seed (int64 [], 0 … 2^24 − 1).',
  properties: {},
  infer(inputs, { p, salt }, site) {
    const [like, seed] = inputs;
    if (seed.dtype !== 'int64' || seed.shape.length !== 0) {
      throw shapeError(site, 'DTYPE_MISMATCH', `takes a seed int64[], got ${formatType(seed)}`, inputs);
    }
    const fail = (sentence: string, hint?: string) => shapeError(site, 'SHAPE_ATTRIBUTE', sentence, inputs, hint);
    if (!(p >= 0 && p < 1)) throw fail(`p ${p} is not a probability below 1`, 'p is the part of the elements that is dropped');
    if (!Number.isInteger(salt)) throw fail(`salt ${salt} is not a whole number`);
    return [{ dtype: 'float32', shape: like.shape }];
  },
  vjp: { zero: 'a mask does not depend on values' },
  lower: [{ name: 'digits', emit: (e, node, [like, seed], attrs) => emitMask(e, node.inputs[0].type.shape, like, seed, attrs) }],
  flops: () => 0,
  evaluate: ([like, seed], attrs) => [maskOf(like.shape, seed.data[0], attrs)],
  samples: () => [
    sample('vectors', [4, 10], 0, 0.2),
    sample('maps', [2, 3, 4, 5], 123_456, 0.5, 7),
    sample('the greatest seed', [3, 50], 2 ** 24 - 1, 0.9, -3),
    sample('nothing dropped', [2, 3], 5, 0),
    sample('one axis', [9], 77, 0.3),
    sample('more columns than a digit holds', [1, 5000], 31, 0.4),
  ],
});
