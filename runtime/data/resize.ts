/**
 * Resizes pixels uint8 [height,width,3] to [size,size,3] bilinearly, as PIL's BILINEAR does: along each axis a triangle filter, one input pixel wide each way when
 * enlarging and as wide as the reduction when shrinking, cut off and renormalised at the edges.
 */
export function resizeBilinear(pixels: Uint8Array, width: number, height: number, size: number): Uint8Array {
  const across = filterOf(width, size);
  const down = filterOf(height, size);
  const rows = new Float32Array(height * size * 3);
  for (let row = 0, to = 0; row < height; row++) {
    for (const { first, weights } of across) {
      let [red, green, blue] = [0, 0, 0];
      for (let i = 0, from = (row * width + first) * 3; i < weights.length; i++, from += 3) {
        red += weights[i] * pixels[from];
        green += weights[i] * pixels[from + 1];
        blue += weights[i] * pixels[from + 2];
      }
      rows[to++] = red;
      rows[to++] = green;
      rows[to++] = blue;
    }
  }
  const stride = size * 3;
  const out = new Uint8Array(size * stride);
  down.forEach(({ first, weights }, row) => {
    for (let column = 0; column < stride; column++) {
      let value = 0;
      for (let i = 0, from = first * stride + column; i < weights.length; i++, from += stride) value += weights[i] * rows[from];
      out[row * stride + column] = Math.round(value);
    }
  });
  return out;
}

/** For each output position the first input position that counts, and the weights from there on; their sum is 1. */
function filterOf(length: number, size: number): { first: number; weights: Float64Array }[] {
  const reach = Math.max(1, length / size);
  return Array.from({ length: size }, (_, to) => {
    const centre = ((to + 0.5) * length) / size;
    const first = Math.max(0, Math.ceil(centre - reach - 0.5));
    const last = Math.min(length - 1, Math.floor(centre + reach - 0.5));
    const weights = Float64Array.from({ length: last - first + 1 }, (_, i) => 1 - Math.abs(first + i + 0.5 - centre) / reach);
    const sum = weights.reduce((a, b) => a + b, 0);
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}
