import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { random } from '../../numeric/random.ts';
import { drawCell, drawnClasses, drawnSmears } from '../../runtime/data/synthetic.ts';
import { anatomy, type CellKind } from '../../runtime/data/synthetic-cell.ts';
import { strokesDistance } from '../../runtime/data/synthetic-raster.ts';

const pixelsOf = (images: Uint8Array, size: number, i: number) => images.subarray(i * size * size * 3, (i + 1) * size * size * 3);

/** Mean absolute difference of two images in levels of 255. */
function difference(a: Uint8Array, b: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += Math.abs(a[i] - b[i]);
  return sum / a.length;
}

describe('drawn smears', () => {
  it('have balanced labels in the order of their classes', () => {
    const { images, labels, classes } = drawnSmears({ count: 10, seed: 1, split: 'train' });
    expect(classes).toEqual(['EOSINOPHIL', 'LYMPHOCYTE', 'MONOCYTE', 'NEUTROPHIL']);
    expect([...labels]).toEqual([0, 1, 2, 3, 0, 1, 2, 3, 0, 1]);
    expect(images.length).toBe(10 * 64 * 64 * 3);
  });

  it('are the same bytes for the same seed on every machine', () => {
    const { images } = drawnSmears({ count: 16, seed: 0, split: 'train' });
    expect(createHash('sha256').update(images).digest('hex')).toBe(
      'bc41580be2761023d27b3e0a8f05f252cf8da908237bd5a59021c9b6cf17afd9',
    );
  });

  it('do not depend on how many are drawn, but on seed, part and position', () => {
    const few = drawnSmears({ count: 4, size: 32, seed: 5, split: 'train' }).images;
    const many = drawnSmears({ count: 9, size: 32, seed: 5, split: 'train' }).images;
    expect(difference(few, many.subarray(0, few.length))).toBe(0);
    expect(difference(few, drawnSmears({ count: 4, size: 32, seed: 6, split: 'train' }).images)).toBeGreaterThan(10);
    expect(difference(few, drawnSmears({ count: 4, size: 32, seed: 5, split: 'test' }).images)).toBeGreaterThan(10);
    expect(difference(pixelsOf(many, 32, 0), pixelsOf(many, 32, 4))).toBeGreaterThan(10);
  });

  it('show the same scene at every size', () => {
    for (let label = 0; label < 4; label++) {
      const small = drawCell(label, 64, random(3, label));
      const large = drawCell(label, 128, random(3, label));
      const halved = small.map((_, at) => {
        const [row, column, c] = [Math.floor(at / 192), Math.floor(at / 3) % 64, at % 3];
        const corner = (row * 2 * 128 + column * 2) * 3 + c;
        return (large[corner] + large[corner + 3] + large[corner + 384] + large[corner + 387]) / 4;
      });
      // Sensor noise of at most 7 levels is all that differs: its mean size is 3.5 in the small picture, half that after averaging four.
      expect(difference(small, halved)).toBeLessThan(5);
    }
  });
});

describe('the shape of a nucleus', () => {
  /** The pieces that stay when all that is thinner than a bridge is worn off; area and spread of the whole; lengths over the radius. */
  function measure(kind: CellKind, seed: number) {
    const cell = anatomy(kind, random(seed, kind), 1);
    const distance = strokesDistance(cell.nucleus, cell.round);
    const side = 96;
    const at = (i: number) => (2 * ((i + 0.5) / side) - 1) * cell.radius * 1.1;
    const worn = new Uint8Array(side * side);
    const points: [number, number][] = [];
    for (let row = 0; row < side; row++) {
      for (let column = 0; column < side; column++) {
        const d = distance(at(column), at(row));
        if (d < 0) points.push([at(column), at(row)]);
        if (d < -0.13 * cell.radius) worn[row * side + column] = 1;
      }
    }
    const middle = [0, 1].map((c) => points.reduce((sum, p) => sum + p[c], 0) / points.length);
    const spread = Math.max(...points.map((p) => Math.hypot(p[0] - middle[0], p[1] - middle[1])));
    const area = points.length * (at(1) - at(0)) ** 2;
    return {
      pieces: pieces(worn, side),
      area,
      roundness: area / (Math.PI * spread * spread),
      out: Math.max(...points.map((p) => Math.hypot(...p))) / cell.radius,
    };
  }

  function pieces(mask: Uint8Array, side: number): number {
    let count = 0;
    for (let start = 0; start < mask.length; start++) {
      if (mask[start] !== 1) continue;
      count++;
      const stack = [start];
      while (stack.length > 0) {
        const i = stack.pop()!;
        if (mask[i] !== 1) continue;
        mask[i] = 2;
        stack.push(i - 1, i + 1, i - side, i + side);
      }
    }
    return count;
  }

  const draws = Array.from({ length: 150 }, (_, seed) => seed);
  const measured = Object.fromEntries(drawnClasses.map((kind) => [kind, draws.map((seed) => measure(kind, seed))])) as Record<
    CellKind,
    ReturnType<typeof measure>[]
  >;

  it('stays inside its cell', () => {
    for (const kind of drawnClasses) for (const cell of measured[kind]) expect(cell.out).toBeLessThan(1);
  });

  it('is round and whole in a lymphocyte', () => {
    for (const cell of measured.LYMPHOCYTE) {
      expect(cell.pieces).toBe(1);
      expect(cell.roundness).toBeGreaterThan(0.85);
    }
  });

  it('is whole but bent in a monocyte', () => {
    for (const cell of measured.MONOCYTE) {
      expect(cell.pieces).toBe(1);
      expect(cell.roundness).toBeLessThan(0.8);
    }
  });

  it('has two lobes in an eosinophil', () => {
    for (const cell of measured.EOSINOPHIL) expect(cell.pieces).toBe(2);
  });

  it('has three to five lobes in a neutrophil', () => {
    expect(new Set(measured.NEUTROPHIL.map((cell) => cell.pieces))).toEqual(new Set([3, 4, 5]));
  });

  it('is not told by its area', () => {
    const range = (kind: CellKind) => {
      const areas = measured[kind].map((cell) => cell.area).sort((a, b) => a - b);
      return [areas[15], areas[134]];
    };
    for (const a of drawnClasses) for (const b of drawnClasses) expect(range(a)[0]).toBeLessThan(range(b)[1]);
  });
});

describe('colour alone', () => {
  const train = drawnSmears({ count: 1200, seed: 0, split: 'train' });
  const test = drawnSmears({ count: 400, seed: 0, split: 'test' });

  type Features = (pixels: Uint8Array) => number[];

  const means: Features = (pixels) => {
    const sums = [0, 0, 0];
    for (let i = 0; i < pixels.length; i++) sums[i % 3] += pixels[i];
    return sums.map((sum) => (3 * sum) / pixels.length / 255);
  };
  const spreads: Features = (pixels) => {
    const middle = means(pixels);
    const sums = [0, 0, 0];
    for (let i = 0; i < pixels.length; i++) sums[i % 3] += (pixels[i] / 255 - middle[i % 3]) ** 2;
    return sums.map((sum) => Math.sqrt((3 * sum) / pixels.length));
  };
  const channels =
    (bins: number): Features =>
    (pixels) => {
      const counts = new Array<number>(3 * bins).fill(0);
      for (let i = 0; i < pixels.length; i++) counts[(i % 3) * bins + Math.floor((pixels[i] * bins) / 256)] += 3 / pixels.length;
      return counts;
    };
  const cube =
    (bins: number): Features =>
    (pixels) => {
      const bin = (level: number) => Math.floor((level * bins) / 256);
      const counts = new Array<number>(bins ** 3).fill(0);
      for (let i = 0; i < pixels.length; i += 3) {
        counts[(bin(pixels[i]) * bins + bin(pixels[i + 1])) * bins + bin(pixels[i + 2])] += 3 / pixels.length;
      }
      return counts;
    };
  const together =
    (...parts: Features[]): Features =>
    (pixels) =>
      parts.flatMap((part) => part(pixels));

  /** Accuracy on the test part of the class whose mean feature vector over the train part is nearest. */
  function nearestCentroid(features: Features, standardised: boolean): number {
    const rows = [...train.labels].map((_, i) => features(pixelsOf(train.images, 64, i)));
    const width = rows[0].length;
    const average = (of: number[][]) =>
      Array.from({ length: width }, (_, k) => of.reduce((sum, row) => sum + row[k], 0) / of.length);
    const centre = average(rows);
    const deviation = average(rows.map((row) => row.map((v, k) => (v - centre[k]) ** 2))).map(Math.sqrt);
    const weight = deviation.map((d) => (standardised ? (d > 0 ? 1 / d : 0) : 1));
    const centroids = drawnClasses.map((_, label) => average(rows.filter((_, i) => train.labels[i] === label)));
    let right = 0;
    for (let i = 0; i < test.labels.length; i++) {
      const row = features(pixelsOf(test.images, 64, i));
      const distances = centroids.map((c) => c.reduce((sum, v, k) => sum + ((v - row[k]) * weight[k]) ** 2, 0));
      if (distances.indexOf(Math.min(...distances)) === test.labels[i]) right++;
    }
    return right / test.labels.length;
  }

  const variants: Record<string, Features> = {
    'mean colour': means,
    'mean and deviation': together(means, spreads),
    'mean colour and 16 bins a channel': together(means, channels(16)),
    'mean colour and 32 bins a channel': together(means, channels(32)),
    'mean colour and 4x4x4 bins': together(means, cube(4)),
    'mean colour and 8x8x8 bins': together(means, cube(8)),
  };
  for (const [name, features] of Object.entries(variants)) {
    for (const standardised of [false, true]) {
      it(`is not enough: nearest centroid of ${name}${standardised ? ', standardised' : ''} stays below 70 %`, () => {
        expect(nearestCentroid(features, standardised)).toBeLessThan(0.7);
      });
    }
  }
});
