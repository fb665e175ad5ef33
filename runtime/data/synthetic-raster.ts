/**
 * A small rasteriser for the drawn smears: shapes are signed distances, colours are mixed in floating point, bytes come last.
 * It uses only +, −, ×, ÷ and square roots, which IEEE 754 rounds the same way on every machine.
 */

/** A source of uniform numbers in [0, 1). */
export type Next = () => number;

/** Red, green, blue, each in [0, 1]. */
export type Colour = readonly [number, number, number];

/** A point or a direction, in drawing units: a picture is {@link UNITS} units wide whatever its size in pixels. */
export type Point = readonly [number, number];

/** Width and height of every picture in drawing units. */
export const UNITS = 64;

/** A picture in the making. */
export interface Canvas {
  /** Width and height in pixels. */
  readonly size: number;
  /** Width over which an edge fades, in units: at least one pixel, more where the picture is out of focus. */
  readonly edge: number;
  /** [size, size, 3], row by row, nominally in [0, 1]. */
  readonly data: Float32Array;
}

/** A canvas filled with black. `blur` is the least width of an edge in units. */
export function canvas(size: number, blur: number): Canvas {
  return { size, edge: Math.max(blur, UNITS / size), data: new Float32Array(size * size * 3) };
}

/** A uniform number in [low, high). */
export function between(next: Next, low: number, high: number): number {
  return low + (high - low) * next();
}

/** A whole number in [low, high], both ends included. */
export function whole(next: Next, low: number, high: number): number {
  return low + Math.floor(next() * (high - low + 1));
}

/** A direction of length 1, uniform over the circle: drawn in a disc and normalised, so no sine is needed. */
export function direction(next: Next): Point {
  for (;;) {
    const x = 2 * next() - 1;
    const y = 2 * next() - 1;
    const square = x * x + y * y;
    if (square <= 1 && square > 0.01) {
      const length = Math.sqrt(square);
      return [x / length, y / length];
    }
  }
}

/** The direction `d` turned by an angle given as t = tan(angle / 2). */
export function turned(d: Point, t: number): Point {
  const cos = (1 - t * t) / (1 + t * t);
  const sin = (2 * t) / (1 + t * t);
  return [d[0] * cos - d[1] * sin, d[0] * sin + d[1] * cos];
}

/** The colour at `t` of the way from `a` to `b`. */
export function mix(a: Colour, b: Colour, t: number): Colour {
  return [a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t];
}

/** Smooth noise over the plane with values in [−1, 1], varying over about `period` units. */
export function smoothNoise(next: Next, period: number): (x: number, y: number) => number {
  const side = 16;
  const lattice = Float32Array.from({ length: side * side }, () => 2 * next() - 1);
  return (x, y) => {
    // The offset keeps coordinates positive a whole picture outside the frame; the lattice repeats every 16 periods.
    const u = (x + UNITS) / period;
    const v = (y + UNITS) / period;
    const column = Math.floor(u);
    const row = Math.floor(v);
    const s = ease(u - column);
    const t = ease(v - row);
    const left = column & 15;
    const right = (column + 1) & 15;
    const top = (row & 15) * side;
    const bottom = ((row + 1) & 15) * side;
    const above = lattice[top + left] + (lattice[top + right] - lattice[top + left]) * s;
    const below = lattice[bottom + left] + (lattice[bottom + right] - lattice[bottom + left]) * s;
    return above + (below - above) * t;
  };
}

/** 3t² − 2t³ on [0, 1], flat outside. */
export function ease(t: number): number {
  const c = t < 0 ? 0 : Math.min(t, 1);
  return c * c * (3 - 2 * c);
}

/** How much of a pixel at signed distance `distance` (negative inside, in units) lies inside: 0 to 1. */
export function inside(on: Canvas, distance: number): number {
  return ease(0.5 - distance / on.edge);
}

/**
 * Lays `colour` over the square of half width `reach` units about `centre`, as thickly as `opacity(x, y)` says (0 to 1; x, y in units).
 * `cover` hides what is below; `absorb` multiplies like a stain in transmitted light, so overlapping things get darker.
 */
export function paint(
  on: Canvas,
  how: 'cover' | 'absorb',
  centre: Point,
  reach: number,
  colour: Colour,
  opacity: (x: number, y: number) => number,
): void {
  const { size, data } = on;
  const scale = size / UNITS;
  const margin = reach + on.edge;
  const x0 = Math.max(0, Math.floor((centre[0] - margin) * scale));
  const x1 = Math.min(size - 1, Math.ceil((centre[0] + margin) * scale));
  const y0 = Math.max(0, Math.floor((centre[1] - margin) * scale));
  const y1 = Math.min(size - 1, Math.ceil((centre[1] + margin) * scale));
  for (let row = y0; row <= y1; row++) {
    for (let column = x0; column <= x1; column++) {
      const a = opacity((column + 0.5) / scale, (row + 0.5) / scale);
      if (a <= 0) continue;
      const at = (row * size + column) * 3;
      for (let c = 0; c < 3; c++) {
        const old = data[at + c];
        data[at + c] = how === 'cover' ? old + (colour[c] - old) * a : old * (1 - a * (1 - colour[c]));
      }
    }
  }
}

/** Paints a round dot: centre in units, radius in units, opacity 0 to 1. */
export function dot(on: Canvas, centre: Point, radius: number, colour: Colour, opacity: number): void {
  paint(on, 'cover', centre, radius, colour, (x, y) => {
    const dx = x - centre[0];
    const dy = y - centre[1];
    return opacity * inside(on, Math.sqrt(dx * dx + dy * dy) - radius);
  });
}

/** A stroke that tapers from radius `r0` at (x0, y0) to `r1` at (x1, y1), in units: the one shape that nuclei are made of. */
export interface Stroke {
  readonly x0: number;
  readonly y0: number;
  readonly x1: number;
  readonly y1: number;
  readonly r0: number;
  readonly r1: number;
}

/** Signed distance in units to the union of `strokes`, with joints rounded over about `round` units. */
export function strokesDistance(strokes: readonly Stroke[], round: number): (x: number, y: number) => number {
  return (x, y) => {
    let union = 1e9;
    for (const s of strokes) {
      const dx = s.x1 - s.x0;
      const dy = s.y1 - s.y0;
      const length = dx * dx + dy * dy;
      const along = length === 0 ? 0 : ((x - s.x0) * dx + (y - s.y0) * dy) / length;
      const t = along < 0 ? 0 : Math.min(along, 1);
      const px = x - s.x0 - t * dx;
      const py = y - s.y0 - t * dy;
      const distance = Math.sqrt(px * px + py * py) - (s.r0 + (s.r1 - s.r0) * t);
      const gap = union > distance ? union - distance : distance - union;
      const low = Math.min(union, distance);
      const overlap = round - gap;
      union = overlap > 0 ? low - (overlap * overlap) / (4 * round) : low;
    }
    return union;
  };
}
