/**
 * A generator of uniform numbers in [0, 1), multiples of 2⁻³²: xoshiro128** (Blackman and Vigna, 2018), started from a hash of the seed and the salts.
 * The same arguments give the same numbers on every machine; any difference in one of them gives an unrelated sequence, so
 * `random(seed, 'augment', epoch, index)` needs no state to be kept. A number and its decimal text are the same seed: `random(7)` is `random('7')`.
 */
export function random(seed: number | string, ...salt: (number | string)[]): () => number {
  const text = joined(seed, salt);
  let a = hash(text, 1);
  let b = hash(text, 2);
  let c = hash(text, 3);
  // The all-zero state would stay zero for ever.
  let d = hash(text, 4) || 1;
  return () => {
    const result = Math.imul(rotateLeft(Math.imul(b, 5), 7), 9) >>> 0;
    const shifted = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= shifted;
    d = rotateLeft(d, 11);
    return result / 2 ** 32;
  };
}

/** A permutation of 0 … n-1, each equally likely (Fisher and Yates), drawn from `next`, a generator of numbers in [0, 1). */
export function permutation(n: number, next: () => number): Uint32Array {
  const order = Uint32Array.from({ length: n }, (_, index) => index);
  for (let last = n - 1; last > 0; last--) {
    const other = Math.floor(next() * (last + 1));
    const value = order[last];
    order[last] = order[other];
    order[other] = value;
  }
  return order;
}

/**
 * A number of the distribution Beta(α, α), drawn from `next`: x/(x + y) of two gamma-distributed numbers, by their logarithms, as for a small α both may be
 * too small for a number.
 */
export function symmetricBeta(alpha: number, next: () => number): number {
  const x = logGammaDistributed(alpha, next);
  const y = logGammaDistributed(alpha, next);
  return 1 / (1 + Math.exp(y - x));
}

/** The logarithm of a number of the distribution Gamma(shape, 1): Marsaglia and Tsang 2000; below a shape of 1 that of shape + 1, times u^(1/shape). */
function logGammaDistributed(shape: number, next: () => number): number {
  if (shape < 1) return logGammaDistributed(shape + 1, next) + Math.log(1 - next()) / shape;
  const d = shape - 1 / 3;
  const c = 1 / Math.sqrt(9 * d);
  for (;;) {
    const x = normal(next);
    const v = (1 + c * x) ** 3;
    if (v > 0 && Math.log(1 - next()) < 0.5 * x * x + d * (1 - v + Math.log(v))) return Math.log(d) + Math.log(v);
  }
}

/** A number of the standard normal distribution: Box and Muller; 1 − u keeps the logarithm finite. */
function normal(next: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
}

/** The seed of a training step's dropout: an integer in [0, 2²⁴), so that float32 holds it exactly, drawn anew for each step. */
export function seed24(seed: number | string, step: number): number {
  return hash(joined(seed, ['dropout', step]), 1) >>> 8;
}

/** One text from which the parts can be told apart: ('1', '23') and ('12', '3') differ. */
function joined(seed: number | string, salt: (number | string)[]): string {
  return [seed, ...salt].map((part) => `${String(part).length}:${part}`).join(',');
}

/** A 32-bit hash of a text's UTF-16 units: multiply and xor for each unit, then MurmurHash3's final mix. */
function hash(text: string, lane: number): number {
  let h = Math.imul(lane, 0x9e3779b9);
  for (let index = 0; index < text.length; index++) {
    h = Math.imul(h ^ text.charCodeAt(index), 0xcc9e2d51);
    h = rotateLeft(h, 15) ^ (h >>> 7);
  }
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function rotateLeft(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}
