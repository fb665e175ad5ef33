import { permutation, random, symmetricBeta } from '../../numeric/random.ts';
import type { TensorData } from '../tensor.ts';

/**
 * How the examples of a batch are mixed with one another: α of mixup (Zhang et al. 2018) and of CutMix (Yun et al. 2019), 0 for not at all. Where both are above 0,
 * each batch gets one of the two, either with the same probability.
 */
export interface MixSettings {
  readonly mixup: number;
  readonly cutmix: number;
}

/** What is done with one batch. */
export interface Mix {
  /** λ, the share of each example itself: of its values (mixup) or of its area (CutMix). */
  readonly share: number;
  /** The example that each example is mixed with. */
  readonly partner: Uint32Array;
  /** CutMix: the middle of the rectangle that comes from the partner, in shares of height and width; null: mixup. */
  readonly middle: readonly [y: number, x: number] | null;
}

/** A batch's mix, from a generator of its own for each (seed, run); `run` counts as it does for dropout. */
export function drawMix({ mixup, cutmix }: MixSettings, size: number, seed: number | string, run: number): Mix {
  const next = random(seed, 'mix', run);
  const cutting = mixup === 0 || (cutmix > 0 && next() < 0.5);
  const share = symmetricBeta(cutting ? cutmix : mixup, next);
  const middle = [next(), next()] as const;
  return { share, partner: permutation(size, next), middle: cutting ? middle : null };
}

/**
 * Mixes a batch in place: `data` [B,…] of mixup, images [B,C,H,W] of CutMix, whose rectangle has √(1 − λ) of the height and width and is cut off at the border.
 * @returns the share of each example that its own label has: λ of mixup, of CutMix what the rectangle left of the area
 */
export function applyMix({ share, partner, middle }: Mix, data: Float32Array, shape: readonly number[]): number {
  const before = data.slice();
  const length = data.length / partner.length;
  if (middle === null) {
    partner.forEach((other, n) => {
      const from = other * length - n * length;
      for (let i = n * length; i < (n + 1) * length; i++) data[i] = share * before[i] + (1 - share) * before[i + from];
    });
    return share;
  }
  const [, , height, width] = shape;
  const side = Math.sqrt(1 - share);
  const [top, bottom] = span(middle[0], side, height);
  const [left, right] = span(middle[1], side, width);
  partner.forEach((other, n) => {
    for (let plane = 0; plane < length; plane += height * width) {
      for (let row = top; row < bottom; row++) {
        const at = plane + row * width;
        data.set(before.subarray(other * length + at + left, other * length + at + right), n * length + at + left);
      }
    }
  });
  return 1 - ((bottom - top) * (right - left)) / (height * width);
}

/** The pixels that a rectangle covers along an axis, as the paper's authors round them: middle and side to whole pixels downwards. */
function span(middle: number, side: number, size: number): readonly [first: number, end: number] {
  const at = Math.floor(middle * size);
  const half = Math.floor(Math.floor(side * size) / 2);
  return [Math.max(0, at - half), Math.min(size, at + half)];
}

/** Inputs [K·B,…] and targets of K batches, by name. */
type Feeds = Readonly<Record<string, TensorData>>;

/** What K mixed batches are fed with beside their data and targets. */
export interface MixedBatches {
  /** λ of each batch [K]. */
  readonly shares: Float32Array;
  /** Of each example that whose label is mixed into its own, counted through all K batches. */
  readonly partners: Uint32Array;
}

/**
 * Mixes each of K batches that lie one behind the other, in place.
 * @param inputs the names of the float32 inputs to mix; CutMix needs them to be images
 * @param run the run of the first of them
 */
export function mixBatches(
  feeds: Feeds,
  inputs: readonly string[],
  count: number,
  settings: MixSettings,
  seed: number | string,
  run: number,
): MixedBatches {
  const all = feeds[inputs[0]].shape[0];
  const size = all / count;
  const partners = new Uint32Array(all);
  const shares = Float32Array.from({ length: count }, (_, k) => {
    const mix = drawMix(settings, size, seed, run + k);
    partners.set(
      mix.partner.map((other) => k * size + other),
      k * size,
    );
    const [share] = inputs.map((name) => {
      const { shape, data } = feeds[name];
      const length = data.length / count;
      return applyMix(mix, (data as Float32Array).subarray(k * length, (k + 1) * length), shape);
    });
    return share;
  });
  return { shares, partners };
}
