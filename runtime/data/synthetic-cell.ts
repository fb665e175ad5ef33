import {
  between,
  type Canvas,
  type Colour,
  direction,
  dot,
  inside,
  mix,
  type Next,
  type Point,
  paint,
  type Stroke,
  smoothNoise,
  strokesDistance,
  turned,
  whole,
} from './synthetic-raster.ts';
import type { Stain } from './synthetic-smear.ts';

/** The four kinds of white cell that are drawn, in the order of their labels: Kaggle's blood-cell classes. */
export const drawnClasses = ['EOSINOPHIL', 'LYMPHOCYTE', 'MONOCYTE', 'NEUTROPHIL'] as const;

/** A kind of white cell. */
export type CellKind = (typeof drawnClasses)[number];

/** The shape of a white cell about its own centre (0, 0); lengths in units. */
export interface Anatomy {
  /** Radius of the cell body. */
  readonly radius: number;
  readonly nucleus: readonly Stroke[];
  /** Over how many units the nucleus' joints are rounded: small keeps bridges thin. */
  readonly round: number;
  /** How far the cytoplasm reaches beyond the nucleus everywhere. */
  readonly rim: number;
  /** Share of the blue (0) to the red dye (1) in the cytoplasm, and how deeply it is stained. */
  readonly cytoplasm: { readonly red: number; readonly depth: number };
  /** Granules in the cytoplasm: how many, radius, opacity; vacuoles are pale ones. */
  readonly granules: { readonly count: number; readonly radius: number; readonly opacity: number };
  readonly vacuoles: number;
}

/** Draws the proportions of one cell of a kind; `zoom` scales all of it. Sizes and colours of the kinds overlap, shapes do not. */
export function anatomy(kind: CellKind, next: Next, zoom: number): Anatomy {
  return anatomies[kind](next, zoom);
}

const anatomies: Record<CellKind, (next: Next, zoom: number) => Anatomy> = {
  EOSINOPHIL(next, zoom) {
    const radius = zoom * between(next, 12.5, 16.5);
    const axis = direction(next);
    const side: Point = [-axis[1], axis[0]];
    const apart = radius * between(next, 0.4, 0.46);
    const off = radius * between(next, -0.22, 0.22);
    const lobe = (sign: number): Stroke => {
      const r = radius * between(next, 0.27, 0.33);
      const half = radius * between(next, 0.02, 0.14);
      const lean = turned(side, between(next, -0.25, 0.25));
      const x = sign * apart * axis[0] + off * side[0];
      const y = sign * apart * axis[1] + off * side[1];
      return { x0: x - half * lean[0], y0: y - half * lean[1], x1: x + half * lean[0], y1: y + half * lean[1], r0: r, r1: r };
    };
    const lobes = [lobe(-1), lobe(1)];
    const bridge = radius * between(next, 0.06, 0.1);
    return {
      radius,
      nucleus: [...lobes, joint(lobes[0], lobes[1], bridge)],
      round: 0.08 * radius,
      rim: 0.1 * radius,
      cytoplasm: { red: between(next, 0.3, 0.9), depth: between(next, 0.15, 0.45) },
      granules: { count: whole(next, 95, 140), radius: radius * between(next, 0.062, 0.08), opacity: between(next, 0.75, 0.95) },
      vacuoles: 0,
    };
  },

  LYMPHOCYTE(next, zoom) {
    const radius = zoom * between(next, 9, 14);
    const r = radius * between(next, 0.76, 0.84);
    const half = r * between(next, 0, 0.08);
    const long = direction(next);
    const shift = direction(next);
    const by = (radius - r - half) * between(next, 0.2, 0.8);
    const [x, y] = [shift[0] * by, shift[1] * by];
    return {
      radius,
      nucleus: [{ x0: x - half * long[0], y0: y - half * long[1], x1: x + half * long[0], y1: y + half * long[1], r0: r, r1: r }],
      round: 1,
      rim: 0.08 * radius,
      cytoplasm: { red: between(next, 0, 0.4), depth: between(next, 0.2, 0.6) },
      granules: { count: 0, radius: 1, opacity: 0 },
      vacuoles: 0,
    };
  },

  MONOCYTE(next, zoom) {
    const radius = zoom * between(next, 13, 17.5);
    const bend = radius * between(next, 0.4, 0.46);
    const thick = radius * between(next, 0.23, 0.3);
    const steps = 6;
    // From a kidney (160°) to a horseshoe (250°): six steps of 27° to 42°, as tan(angle / 2).
    const turn = between(next, 0.24, 0.38);
    const shift = direction(next);
    const by = radius * between(next, 0, 0.12);
    let d = direction(next);
    const points: Point[] = [];
    const widths: number[] = [];
    for (let i = 0; i <= steps; i++) {
      points.push([d[0] * bend + shift[0] * by, d[1] * bend + shift[1] * by]);
      widths.push(thick * between(next, 0.9, 1.1));
      d = turned(d, turn);
    }
    return {
      radius,
      nucleus: points.slice(1).map((p, i) => ({
        x0: points[i][0],
        y0: points[i][1],
        x1: p[0],
        y1: p[1],
        r0: widths[i],
        r1: widths[i + 1],
      })),
      round: 0.1 * radius,
      rim: 0.1 * radius,
      cytoplasm: { red: between(next, 0, 0.4), depth: between(next, 0.25, 0.65) },
      granules: { count: whole(next, 0, 30), radius: radius * 0.03, opacity: between(next, 0.1, 0.3) },
      vacuoles: whole(next, 0, 5),
    };
  },

  NEUTROPHIL(next, zoom) {
    const radius = zoom * between(next, 12.5, 16.5);
    const count = whole(next, 3, 5);
    const lobe = radius * (count === 3 ? 0.255 : count === 4 ? 0.22 : 0.195);
    const bend = radius * between(next, 0.47, 0.53);
    // The steps between neighbouring lobes leave room for a bridge and at least one wide gap in the ring.
    const turn = count === 3 ? 0.78 : count === 4 ? 0.64 : 0.53;
    let d = direction(next);
    const lobes: Stroke[] = [];
    for (let i = 0; i < count; i++) {
      const out = bend + radius * between(next, -0.06, 0.06);
      const r = lobe * between(next, 0.88, 1.14);
      const half = lobe * between(next, 0, 0.3);
      const [x, y] = [d[0] * out, d[1] * out];
      lobes.push({ x0: x - half * d[0], y0: y - half * d[1], x1: x + half * d[0], y1: y + half * d[1], r0: r, r1: r });
      d = turned(d, turn * between(next, 0.93, 1.07));
    }
    const bridge = radius * between(next, 0.05, 0.085);
    return {
      radius,
      nucleus: [...lobes, ...lobes.slice(1).map((b, i) => joint(lobes[i], b, bridge))],
      round: 0.06 * radius,
      rim: 0.1 * radius,
      cytoplasm: { red: between(next, 0.3, 0.9), depth: between(next, 0.15, 0.45) },
      granules: { count: whole(next, 40, 90), radius: radius * between(next, 0.025, 0.035), opacity: between(next, 0.15, 0.4) },
      vacuoles: 0,
    };
  },
};

/** A thin bridge between the middles of two lobes. */
function joint(a: Stroke, b: Stroke, radius: number): Stroke {
  return { x0: (a.x0 + a.x1) / 2, y0: (a.y0 + a.y1) / 2, x1: (b.x0 + b.x1) / 2, y1: (b.y0 + b.y1) / 2, r0: radius, r1: radius };
}

/** Draws a white cell at `centre`: cytoplasm, vacuoles, granules, then the nucleus with its chromatin. */
export function paintWhiteCell(on: Canvas, cell: Anatomy, centre: Point, stain: Stain, next: Next): void {
  const [cx, cy] = centre;
  const { radius } = cell;
  const nucleus = strokesDistance(cell.nucleus, cell.round);
  const outline = smoothNoise(next, radius * between(next, 0.5, 0.9));
  const ragged = radius * between(next, 0.02, 0.07);
  const body = (x: number, y: number) => {
    const disc = Math.sqrt(x * x + y * y) - radius + ragged * outline(x, y);
    // Deep inside the disc the nucleus changes nothing that is drawn, and its distance is the costly one.
    return disc < -3 ? disc : Math.min(disc, nucleus(x, y) - cell.rim);
  };
  const reach = radius * 1.1;
  const dye = mix(stain.azure, stain.eosin, cell.cytoplasm.red);
  const colour = mix(stain.ground, dye, cell.cytoplasm.depth);
  const cloud = smoothNoise(next, radius * 0.3);
  const cloudy = between(next, 0.03, 0.12);
  paint(on, 'cover', centre, reach, colour, (x, y) => {
    const d = body(x - cx, y - cy);
    return d > on.edge ? 0 : (0.9 + cloudy * cloud(x, y) - 0.06) * inside(on, d);
  });
  // A faint rim makes the border of a pale cell visible.
  const rim: Colour = mix(colour, stain.azure, 0.25);
  paint(on, 'cover', centre, reach, rim, (x, y) => {
    const d = body(x - cx, y - cy);
    return 0.6 * inside(on, Math.abs(d + 0.4) - 0.4);
  });

  scatter(next, cell.vacuoles, radius * 0.9, (x, y) => {
    const r = radius * between(next, 0.04, 0.08);
    if (nucleus(x, y) > r) dot(on, [cx + x, cy + y], r, stain.ground, 0.6);
  });
  const { count, radius: size, opacity } = cell.granules;
  const deep = size > 0.05 * radius;
  scatter(next, count, radius * 0.97 - size, (x, y) => {
    const tint = mix(stain.granule, deep ? stain.eosin : stain.azure, between(next, 0, deep ? 0.4 : 0.6));
    const r = size * between(next, 0.85, 1.2);
    if (nucleus(x, y) > -0.3 * r) dot(on, [cx + x, cy + y], r, tint, opacity);
  });

  const chromatin = smoothNoise(next, radius * between(next, 0.13, 0.25));
  const clumped = between(next, 0.04, 0.14);
  const density = between(next, 0.8, 0.93);
  paint(on, 'cover', centre, radius, stain.nucleus, (x, y) => {
    const d = nucleus(x - cx, y - cy);
    return d > on.edge ? 0 : (density + clumped * (chromatin(x, y) - 0.3)) * inside(on, d);
  });
}

/** Calls `put` at `count` points that are uniform over the disc of radius `radius` about (0, 0). */
function scatter(next: Next, count: number, radius: number, put: (x: number, y: number) => void): void {
  for (let i = 0; i < count; i++) {
    const d = direction(next);
    const r = radius * Math.sqrt(next());
    put(d[0] * r, d[1] * r);
  }
}
