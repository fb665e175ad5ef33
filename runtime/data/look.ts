// A picture's look is its grey levels in low frequencies, by the discrete cosine transform (DCT-II):
//   c(v,u) = Σ_y Σ_x g(y,x) · w(v) cos((2y+1) v π / 2n) · w(u) cos((2x+1) u π / 2n),   0 ≤ v,u < 8, without c(0,0)
//   w(0) = √(1/n), w(k) = √(2/n)
// Brightness is c(0,0), contrast a factor: both are left out, by leaving c(0,0) out and by dividing by the length of the vector. What is left are 63 numbers
// whose scalar product is the correlation of the two blurred pictures. Mirroring the picture from left to right turns the sign of odd u, upside down that of
// odd v; mirroring it at its diagonal exchanges u and v. So the look of a mirrored or turned picture follows from the picture's own.

/** Width and height to which a picture is resized for its look, in pixels. */
export const lookSide = 32;

const frequencies = 8;

/** Numbers in a look. */
export const lookLength = frequencies * frequencies - 1;

/** Standard deviation of the grey levels, of 255, below which a picture has no look: what is left is noise. */
const flat = 1;

const waves = Array.from({ length: frequencies }, (_, k) =>
  Float64Array.from(
    { length: lookSide },
    (_, x) => Math.sqrt((k === 0 ? 1 : 2) / lookSide) * Math.cos(((2 * x + 1) * k * Math.PI) / (2 * lookSide)),
  ),
);

/** Of each number of a look, its frequencies down and across. */
const places = Array.from({ length: lookLength }, (_, i) => [Math.floor((i + 1) / frequencies), (i + 1) % frequencies] as const);

/** How the look follows when a picture is mirrored or turned: number `i` is `sign[i]` times the number `from[i]`. The first is the picture as it is. */
const symmetries = Array.from({ length: 8 }, (_, which) => {
  const [across, down, exchange] = [1, 2, 4].map((bit) => (which & bit) !== 0);
  return {
    from: places.map(([v, u]) => (exchange ? u * frequencies + v : v * frequencies + u) - 1),
    sign: places.map(([v, u]) => ((across && u % 2 === 1) !== (down && v % 2 === 1) ? -1 : 1)),
  };
});

/**
 * The look of a picture: 63 numbers, a vector of length 1; null for a picture of one colour.
 *
 * @param pixels uint8 [32,32,3], red, green, blue
 */
export function lookOf(pixels: Uint8Array): Float32Array | null {
  const across = new Float64Array(lookSide * frequencies);
  const grey = new Float64Array(lookSide);
  for (let y = 0; y < lookSide; y++) {
    for (let x = 0; x < lookSide; x++) {
      const at = (y * lookSide + x) * 3;
      grey[x] = 0.299 * pixels[at] + 0.587 * pixels[at + 1] + 0.114 * pixels[at + 2];
    }
    for (let u = 0; u < frequencies; u++) across[y * frequencies + u] = product(grey, waves[u], lookSide);
  }
  const look = new Float32Array(lookLength);
  places.forEach(([v, u], i) => {
    let sum = 0;
    for (let y = 0; y < lookSide; y++) sum += waves[v][y] * across[y * frequencies + u];
    look[i] = sum;
  });
  const length = Math.sqrt(product(look, look, lookLength));
  return length / lookSide < flat ? null : look.map((value) => value / length);
}

/** The looks of the picture itself, mirrored, turned by 90, 180 and 270 degrees, and both. */
export function symmetricLooks(look: Float32Array): Float32Array[] {
  return symmetries.map(({ from, sign }) => look.map((_, i) => sign[i] * look[from[i]]));
}

/** The scalar product of the first `length` numbers; of two looks it is a correlation. */
export function product(a: ArrayLike<number>, b: ArrayLike<number>, length: number): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += a[i] * b[i];
  return sum;
}
