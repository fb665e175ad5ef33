import { random } from '../../numeric/random.ts';
import { anatomy, drawnClasses, paintWhiteCell } from './synthetic-cell.ts';
import { between, canvas, type Next, type Point, UNITS } from './synthetic-raster.ts';
import { develop, drawStain, paintGround, paintLitter, paintRedCells } from './synthetic-smear.ts';

export { drawnClasses } from './synthetic-cell.ts';

/**
 * Draws one blood smear with one white cell, seen through a microscope: uint8 [size, size, 3], RGB.
 *
 * The nucleus tells the kinds apart: two lobes among coarse granules (0, eosinophil), one round nucleus that fills the cell
 * (1, lymphocyte), a kidney or horseshoe (2, monocyte), three to five lobes on thin bridges (3, neutrophil). Stain, light, focus,
 * sizes and the company of the cell vary more than they differ between kinds.
 *
 * @param classIndex index into {@link drawnClasses}, 0 to 3
 * @param size width and height in pixels; the same numbers from `next` give the same scene at every size, apart from the noise
 * @param next uniform numbers in [0, 1)
 */
export function drawCell(classIndex: number, size: number, next: Next): Uint8Array {
  const zoom = between(next, 0.88, 1.12);
  const on = canvas(size, between(next, 0.8, 1.7));
  const stain = drawStain(next);
  const cell = anatomy(drawnClasses[classIndex], next, zoom);
  const low = Math.min(UNITS / 2, cell.radius + 2);
  const centre: Point = [between(next, low, UNITS - low), between(next, low, UNITS - low)];
  const white = { centre, radius: cell.radius };
  paintGround(on, stain, next);
  paintRedCells(on, stain, white, zoom, next);
  paintLitter(on, stain, white, zoom, next);
  paintWhiteCell(on, cell, centre, stain, next);
  return develop(on, next);
}

/** What {@link drawnSmears} draws. */
export interface DrawnSmearsOptions {
  /** How many images. */
  readonly count: number;
  /** Width and height in pixels; 64 unless told. */
  readonly size?: number;
  readonly seed: number;
  /** Name of the part, such as `train` or `test`: other names give other images. */
  readonly split: string;
}

/** Drawn images with their labels. */
export interface DrawnSmears {
  /** uint8 [count, size, size, 3], RGB. */
  readonly images: Uint8Array;
  /** [count], indices into `classes`: 0, 1, 2, 3, 0, 1, … */
  readonly labels: Uint8Array;
  readonly classes: typeof drawnClasses;
}

/**
 * Draws `count` blood smears, the four kinds in turn. Image i depends on seed, split and i alone, so a larger count begins with the
 * images of a smaller one; the same arguments give the same bytes on every machine.
 */
export function drawnSmears({ count, size = UNITS, seed, split }: DrawnSmearsOptions): DrawnSmears {
  const images = new Uint8Array(count * size * size * 3);
  const labels = Uint8Array.from({ length: count }, (_, i) => i % drawnClasses.length);
  for (let i = 0; i < count; i++) {
    images.set(drawCell(labels[i], size, random(seed, 'drawn smear', split, i)), i * size * size * 3);
  }
  return { images, labels, classes: drawnClasses };
}
