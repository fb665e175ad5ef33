import { type Augmentation, colourMatrix } from './augment.ts';

/** Turns pixels [S,S,3] in 0 to 255 into values [3,S,S] in [0,1], written to `out` from `offset`. */
export type Warp = (pixels: Uint8Array, change: Augmentation, out: Float32Array, offset: number) => void;

const scaled = Float32Array.from({ length: 256 }, (_, value) => value / 255);

/**
 * Pixels [S,S,3] (uint8, a decoder's order) as values [3,S,S] in [0,1] (a network's order), written to `out` from `offset`: each value is pixel / 255.
 */
export function toPlanes(pixels: Uint8Array, size: number, out: Float32Array, offset: number): void {
  const plane = size * size;
  const second = offset + plane;
  const third = second + plane;
  for (let i = 0, at = 0; i < plane; i++, at += 3) {
    out[offset + i] = scaled[pixels[at]];
    out[second + i] = scaled[pixels[at + 1]];
    out[third + i] = scaled[pixels[at + 2]];
  }
}

/**
 * A function that applies an {@link Augmentation} to images [S,S,3] of one size: samples bilinearly at the mapped positions with black outside (PyTorch's
 * `affine_grid` and `grid_sample`, both with align_corners = False), then colours by {@link colourMatrix}, contrast about the mean of all values, brightness, clipping to [0,1].
 * The change that leaves all as it is gives pixel / 255 exactly. One image at a time: the function keeps its working memory.
 */
export function createWarp(size: number): Warp {
  // A black border of one pixel: a position inside it has all four neighbours.
  const stride = (size + 2) * 3;
  const padded = new Uint8Array((size + 2) * stride);
  const plane = size * size;
  const half = size / 2;
  const limit = size + 1;
  return (pixels, change, out, offset) => {
    if (isIdentity(change)) {
      toPlanes(pixels, size, out, offset);
      return;
    }
    for (let row = 0; row < size; row++) {
      padded.set(pixels.subarray(row * size * 3, (row + 1) * size * 3), (row + 1) * stride + 3);
    }
    const { xx, xy, yx, yy, contrast, brightness } = change;
    const second = plane;
    const third = 2 * plane;
    out.fill(0, offset, offset + 3 * plane);
    let sum = 0;
    for (let row = 0; row < size; row++) {
      const v = row + 0.5 - half;
      // The position in the padded image of column 0; each further column adds (xx, yx).
      const startX = xx * (0.5 - half) + xy * v + change.x0 * half + half + 0.5;
      const startY = yx * (0.5 - half) + yy * v + change.y0 * half + half + 0.5;
      const first = Math.max(firstInside(startX, xx, limit), firstInside(startY, yx, limit));
      const end = Math.min(endInside(startX, xx, limit, size), endInside(startY, yx, limit, size));
      for (let column = first, to = offset + row * size + first; column < end; column++, to++) {
        const x = startX + xx * column;
        const y = startY + yx * column;
        // Rounding may leave a position a last digit outside of what the range promised.
        if (x < 0 || y < 0 || x >= limit || y >= limit) continue;
        const left = x | 0;
        const top = y | 0;
        const wx = x - left;
        const wy = y - top;
        const a = top * stride + left * 3;
        const c = a + stride;
        const w11 = wx * wy;
        const w01 = wx - w11;
        const w10 = wy - w11;
        const w00 = 1 - wx - w10;
        const red = padded[a] * w00 + padded[a + 3] * w01 + padded[c] * w10 + padded[c + 3] * w11;
        const green = padded[a + 1] * w00 + padded[a + 4] * w01 + padded[c + 1] * w10 + padded[c + 4] * w11;
        const blue = padded[a + 2] * w00 + padded[a + 5] * w01 + padded[c + 2] * w10 + padded[c + 5] * w11;
        sum += red + green + blue;
        out[to] = red;
        out[to + second] = green;
        out[to + third] = blue;
      }
    }
    if (change.saturation !== 1 || change.hue !== 0)
      sum = recolour(out, offset, plane, colourMatrix(change.saturation, change.hue));
    const mean = sum / (3 * plane * 255);
    const scale = contrast / 255;
    const shift = mean - mean * contrast + brightness;
    const last = offset + 3 * plane;
    for (let i = offset; i < last; i++) {
      let value = out[i] * scale + shift;
      if (value < 0) value = 0;
      else if (value > 1) value = 1;
      out[i] = value;
    }
  };
}

function isIdentity(change: Augmentation): boolean {
  const { xx, xy, x0, yx, yy, y0, contrast, brightness, saturation, hue } = change;
  // Sine of a zero angle is 0 or -0, so compare by value.
  const stays = xx === 1 && xy === 0 && x0 === 0 && yx === 0 && yy === 1 && y0 === 0;
  return stays && contrast === 1 && brightness === 0 && saturation === 1 && hue === 0;
}

/** Multiplies each colour of planes [3,S,S], in place, by a matrix [3,3]. Returns the sum of all new values. */
function recolour(planes: Float32Array, offset: number, plane: number, matrix: readonly number[]): number {
  const [rr, rg, rb, gr, gg, gb, br, bg, bb] = matrix;
  let sum = 0;
  for (let r = offset, g = r + plane, b = g + plane; r < offset + plane; r++, g++, b++) {
    const [red, green, blue] = [planes[r], planes[g], planes[b]];
    planes[r] = rr * red + rg * green + rb * blue;
    planes[g] = gr * red + gg * green + gb * blue;
    planes[b] = br * red + bg * green + bb * blue;
    sum += planes[r] + planes[g] + planes[b];
  }
  return sum;
}

/** The first column ≥ 0 at which start + step · column is within [0, limit). */
function firstInside(start: number, step: number, limit: number): number {
  if (step === 0) return start >= 0 && start < limit ? 0 : Number.POSITIVE_INFINITY;
  const crossing = step > 0 ? -start / step : (limit - start) / step;
  return Math.max(0, Math.floor(crossing));
}

/** The first column after that range, at most `size`. */
function endInside(start: number, step: number, limit: number, size: number): number {
  if (step === 0) return size;
  const crossing = step > 0 ? (limit - start) / step : -start / step;
  return Math.max(0, Math.min(size, Math.ceil(crossing) + 1));
}
