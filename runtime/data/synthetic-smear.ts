import {
  between,
  type Canvas,
  type Colour,
  direction,
  dot,
  ease,
  inside,
  mix,
  type Next,
  type Point,
  paint,
  smoothNoise,
  UNITS,
  whole,
} from './synthetic-raster.ts';

/** The colours of one smear. They vary from picture to picture and say nothing about the kind of cell in it. */
export interface Stain {
  /** The empty slide under the lamp. */
  readonly ground: Colour;
  /** The red dye, as red cells take it. */
  readonly eosin: Colour;
  /** The blue dye, pale, as cytoplasm takes it. */
  readonly azure: Colour;
  /** Both dyes in chromatin. */
  readonly nucleus: Colour;
  /** The red dye at its deepest: eosinophil granules, and precipitate on the slide. */
  readonly granule: Colour;
}

/** Draws the stain of one picture. */
export function drawStain(next: Next): Stain {
  const eosin = mix([0.87, 0.6, 0.5], [0.82, 0.58, 0.62], next());
  return {
    ground: mix([0.84, 0.84, 0.78], [0.8, 0.78, 0.84], next()),
    eosin,
    azure: mix([0.55, 0.6, 0.8], [0.6, 0.52, 0.76], next()),
    nucleus: mix(mix([0.32, 0.24, 0.68], [0.5, 0.22, 0.62], next()), [0.24, 0.16, 0.42], next() * 0.6),
    granule: mix([0.86, 0.4, 0.26], [0.76, 0.36, 0.4], next()),
  };
}

/** Fills the canvas with the slide: uneven light and faint clouds. */
export function paintGround(on: Canvas, stain: Stain, next: Next): void {
  const { size, data } = on;
  const tilt = direction(next);
  const slope = between(next, 0, 0.12) / UNITS;
  const cloud = smoothNoise(next, between(next, 12, 30));
  const cloudy = between(next, 0, 0.03);
  for (let row = 0, at = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      const x = ((column + 0.5) / size) * UNITS;
      const y = ((row + 0.5) / size) * UNITS;
      const light = 1 + slope * (tilt[0] * (x - UNITS / 2) + tilt[1] * (y - UNITS / 2)) + cloudy * cloud(x, y);
      for (let c = 0; c < 3; c++) data[at++] = stain.ground[c] * light;
    }
  }
}

/** A round region that other things keep clear of, in units. */
export interface Keep {
  readonly centre: Point;
  readonly radius: number;
}

/** Draws red cells: biconcave discs with a pale centre, some overlapping, some cut by the border, few reaching under the white cell. */
export function paintRedCells(on: Canvas, stain: Stain, white: Keep, zoom: number, next: Next): void {
  const placed: Keep[] = [];
  const crowd = whole(next, 6, 40);
  const depth = between(next, 0.6, 1);
  const overlapping = between(next, 0.05, 0.5);
  const outline = smoothNoise(next, 7 * zoom);
  for (let i = 0; i < crowd; i++) {
    const radius = zoom * between(next, 6, 8);
    const centre: Point = [between(next, -4, UNITS + 4), between(next, -4, UNITS + 4)];
    const closeness = next() < overlapping ? 0.6 : 0.98;
    const cell = { centre, radius, closeness };
    const free = placed.every((other) => apart(cell, other) > closeness * (radius + other.radius));
    if (!free || apart(cell, white) < white.radius + radius * between(next, 0.6, 1)) continue;
    placed.push(cell);
    paintRedCell(on, stain, cell, depth * between(next, 0.85, 1.1), outline, next);
  }
}

function paintRedCell(
  on: Canvas,
  stain: Stain,
  { centre, radius }: Keep,
  depth: number,
  outline: (x: number, y: number) => number,
  next: Next,
): void {
  const axis = direction(next);
  const squeeze = between(next, 1, 1.25);
  const pale = between(next, 0.25, 0.9);
  const pit = between(next, 0.45, 0.7);
  paint(on, 'absorb', centre, radius * 1.2, stain.eosin, (x, y) => {
    const dx = x - centre[0];
    const dy = y - centre[1];
    const along = dx * axis[0] + dy * axis[1];
    const across = (dy * axis[0] - dx * axis[1]) * squeeze;
    const out = Math.sqrt(along * along + across * across) + 0.06 * radius * outline(x, y);
    if (out > radius + on.edge) return 0;
    const dent = 1 - pale * (1 - ease(out / (pit * radius)));
    return depth * dent * inside(on, out - radius);
  });
}

/** Draws platelets, precipitate of the red dye with the very colour of granules, and dark specks; none of it on the white cell. */
export function paintLitter(on: Canvas, stain: Stain, white: Keep, zoom: number, next: Next): void {
  const clear = (p: Point, radius: number) => apart({ centre: p, radius }, white) > white.radius + radius + 0.5;
  const anywhere = (): Point => [next() * UNITS, next() * UNITS];
  for (let i = whole(next, 0, 5); i > 0; i--) {
    const centre = anywhere();
    const radius = zoom * between(next, 1.2, 2.4);
    const tint = mix(stain.azure, stain.nucleus, between(next, 0.2, 0.8));
    if (clear(centre, radius)) dot(on, centre, radius, tint, between(next, 0.5, 0.9));
  }
  const heaps = next() < 0.5 ? 0 : whole(next, 1, 2);
  for (let heap = 0; heap < heaps; heap++) {
    const middle = anywhere();
    const spread = between(next, 5, 14);
    const radius = zoom * between(next, 0.8, 1.2);
    for (let i = whole(next, 15, 60); i > 0; i--) {
      const d = direction(next);
      const r = spread * Math.sqrt(next());
      const centre: Point = [middle[0] + d[0] * r, middle[1] + d[1] * r];
      const tint = mix(stain.granule, stain.eosin, between(next, 0, 0.4));
      if (clear(centre, radius)) dot(on, centre, radius * between(next, 0.8, 1.2), tint, between(next, 0.6, 0.95));
    }
  }
  for (let i = whole(next, 0, 4); i > 0; i--) {
    const centre = anywhere();
    if (clear(centre, 1)) dot(on, centre, between(next, 0.4, 0.9), mix(stain.nucleus, [0.2, 0.2, 0.2], next()), 0.7);
  }
}

function apart(a: Keep, b: Keep): number {
  const dx = a.centre[0] - b.centre[0];
  const dy = a.centre[1] - b.centre[1];
  return Math.sqrt(dx * dx + dy * dy);
}

/** The camera: exposure, white balance, saturation, contrast and sensor noise; returns bytes [size, size, 3]. */
export function develop(on: Canvas, next: Next): Uint8Array {
  const bytes = new Uint8Array(on.data.length);
  const exposure = between(next, 0.78, 1.12);
  const gain = [0, 1, 2].map(() => exposure * between(next, 0.95, 1.05));
  const saturation = between(next, 0.7, 1.2);
  const contrast = between(next, 0.85, 1.15);
  const grain = between(next, 1, 7);
  for (let at = 0; at < bytes.length; at += 3) {
    const r = on.data[at] * gain[0];
    const g = on.data[at + 1] * gain[1];
    const b = on.data[at + 2] * gain[2];
    const grey = (r + g + b) / 3;
    // One draw gives a byte of noise for each channel.
    const noise = Math.floor(next() * 0x1000000);
    for (let c = 0; c < 3; c++) {
      const value = grey + ((c === 0 ? r : c === 1 ? g : b) - grey) * saturation;
      const level = 255 * (0.7 + (value - 0.7) * contrast) + grain * (((noise >> (8 * c)) & 255) / 127.5 - 1);
      bytes[at + c] = level < 0 ? 0 : level > 255 ? 255 : Math.floor(level + 0.5);
    }
  }
  return bytes;
}
