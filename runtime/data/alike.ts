import { lookLength, product, symmetricLooks } from './look.ts';

/** The most bits in which the hashes of near-duplicates differ, of 63; every such pair is found. */
export const hashRadius = 7;
/** The least correlation of the looks of near-duplicates. */
export const leastCorrelation = 0.985;

/** Two pictures that look alike: one is the other, perhaps mirrored or turned by quarters, with small differences. */
export interface AlikePair {
  /** Indices, `a < b`. */
  readonly a: number;
  readonly b: number;
  /** Bits in which their hashes differ. */
  readonly distance: number;
  /** Of their looks, from -1 to 1. */
  readonly correlation: number;
}

/** What {@link findAlike} found. */
export interface Alike {
  /** Ordered by `a`, then `b`. */
  readonly pairs: readonly AlikePair[];
  /** False where there were more than `most` pairs, and the search ended there. */
  readonly complete: boolean;
}

const bands = 4;
const bandBits = 16;

/**
 * Finds pairs of pictures that look alike: the hashes of their looks (the signs of the numbers) differ in at most {@link hashRadius} bits, and their looks correlate by
 * at least {@link leastCorrelation}, for the better of the eight ways to mirror and turn one of them.
 *
 * The hash is cut into four bands. Two hashes that differ in at most seven bits have a band in which they differ in at most one, so it is enough to look, for each band, at
 * the pictures that have the same bits there, or all but one of them.
 *
 * @param looks see {@link import('./look.ts').lookOf}; null for a picture without one
 * @param most pairs after which the search ends; default 1,000,000
 */
export async function findAlike(
  looks: readonly (Float32Array | null)[],
  onProgress: (done: number, total: number) => void = () => {},
  most = 1_000_000,
): Promise<Alike> {
  const low = new Uint32Array(looks.length);
  const high = new Uint32Array(looks.length);
  looks.forEach((look, i) => {
    if (look !== null) [low[i], high[i]] = hashOf(look);
  });
  const tables = Array.from({ length: bands }, (_, band) => bandTable(looks, low, high, band));
  // For each picture the last search that met it: of one picture, and one way to turn it.
  const met = new Uint32Array(looks.length);
  const pairs: AlikePair[] = [];
  for (let a = 0; a < looks.length; a++) {
    if (a % 128 === 0) {
      onProgress(a, looks.length);
      // Searching blocks: let the progress be seen, and a signal be noticed, in between.
      await new Promise((resolve) => setImmediate(resolve));
    }
    const own = looks[a];
    if (own === null) continue;
    const found = new Map<number, AlikePair>();
    symmetricLooks(own).forEach((look, way) => {
      const [lowBits, highBits] = hashOf(look);
      const search = a * 8 + way + 1;
      tables.forEach(({ start, order }, band) => {
        const key = bandOf(lowBits, highBits, band);
        for (let flipped = -1; flipped < bandBits; flipped++) {
          const near = flipped < 0 ? key : key ^ (1 << flipped);
          for (let at = start[near + 1] - 1; at >= start[near] && order[at] > a; at--) {
            const b = order[at];
            if (met[b] === search) continue;
            met[b] = search;
            const distance = bitsOf(lowBits ^ low[b]) + bitsOf(highBits ^ high[b]);
            if (distance > hashRadius) continue;
            const correlation = product(look, looks[b]!, lookLength);
            if (correlation < Math.max(leastCorrelation, found.get(b)?.correlation ?? 0)) continue;
            found.set(b, { a, b, distance, correlation });
          }
        }
      });
    });
    pairs.push(...[...found.values()].sort((one, other) => one.b - other.b));
    if (pairs.length > most) return { pairs: pairs.slice(0, most), complete: false };
  }
  onProgress(looks.length, looks.length);
  return { pairs, complete: true };
}

/** The signs of a look as 63 bits in two words: number `i` is bit `i`. */
function hashOf(look: Float32Array): [low: number, high: number] {
  const words: [number, number] = [0, 0];
  for (let i = 0; i < lookLength; i++) if (look[i] > 0) words[i >>> 5] |= 1 << (i & 31);
  return [words[0] >>> 0, words[1] >>> 0];
}

function bandOf(low: number, high: number, band: number): number {
  return ((band < 2 ? low : high) >>> (band % 2 === 0 ? 0 : bandBits)) & 0xffff;
}

/** Pictures by the bits of a band, in rising order: those with the bits `key` are `order[start[key]]` to `order[start[key + 1] - 1]`. */
function bandTable(
  looks: readonly (Float32Array | null)[],
  low: Uint32Array,
  high: Uint32Array,
  band: number,
): { readonly start: Uint32Array; readonly order: Uint32Array } {
  const start = new Uint32Array(2 ** bandBits + 1);
  const present = looks.flatMap((look, i) => (look === null ? [] : [i]));
  for (const i of present) start[bandOf(low[i], high[i], band) + 1]++;
  for (let key = 0; key < 2 ** bandBits; key++) start[key + 1] += start[key];
  const next = start.slice();
  const order = new Uint32Array(present.length);
  for (const i of present) order[next[bandOf(low[i], high[i], band)]++] = i;
  return { start, order };
}

/** The number of bits that are set in a word of 32. */
function bitsOf(word: number): number {
  let sum = word - ((word >>> 1) & 0x55555555);
  sum = (sum & 0x33333333) + ((sum >>> 2) & 0x33333333);
  return Math.imul((sum + (sum >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
