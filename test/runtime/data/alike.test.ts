import { existsSync } from 'node:fs';
import sharp, { type Sharp } from 'sharp';
import { beforeAll, describe, expect, it } from 'vitest';
import { random } from '../../../numeric/random.ts';
import { findAlike, hashRadius, leastCorrelation } from '../../../runtime/data/alike.ts';
import { decodeFile, decodeImage } from '../../../runtime/data/decode.ts';
import { readListing } from '../../../runtime/data/layout.ts';
import { lookLength, lookOf, lookSide, product, symmetricLooks } from '../../../runtime/data/look.ts';
import { bloodCells } from './files.ts';

/** A picture [32,32,3] of smooth random shapes. */
function picture(seed: number): Uint8Array {
  const next = random('picture', seed);
  const waves = Array.from({ length: 12 }, () => [next() * 0.8, next() * 0.8, next() * 6, 10 + next() * 20]);
  return Uint8Array.from({ length: lookSide * lookSide * 3 }, (_, at) => {
    const [y, x] = [Math.floor(at / 3 / lookSide), Math.floor(at / 3) % lookSide];
    return 128 + waves.reduce((sum, [a, b, c, d]) => sum + (d / 3) * Math.sin(a * y + b * x + c), 0);
  });
}

/** The picture whose pixel (y, x) is the pixel `from(y, x)` of another. */
function moved(pixels: Uint8Array, from: (y: number, x: number) => readonly [number, number]): Uint8Array {
  return pixels.map((_, at) => {
    const [y, x] = from(Math.floor(at / 3 / lookSide), Math.floor(at / 3) % lookSide);
    return pixels[(y * lookSide + x) * 3 + (at % 3)];
  });
}

const last = lookSide - 1;
const ways: Record<string, (y: number, x: number) => readonly [number, number]> = {
  same: (y, x) => [y, x],
  'left to right': (y, x) => [y, last - x],
  'upside down': (y, x) => [last - y, x],
  'turned by 180': (y, x) => [last - y, last - x],
  'mirrored at the diagonal': (y, x) => [x, y],
  'turned by 90': (y, x) => [last - x, y],
  'turned by 270': (y, x) => [x, last - y],
  'mirrored at the other diagonal': (y, x) => [last - x, last - y],
};

describe('the look of a picture', () => {
  it('is the cosine transform by its definition, without brightness and contrast', () => {
    const pixels = picture(1);
    const look = lookOf(pixels)!;
    const grey = (y: number, x: number) =>
      [0.299, 0.587, 0.114].reduce((sum, weight, i) => sum + weight * pixels[(y * lookSide + x) * 3 + i], 0);
    const expected = Array.from({ length: lookLength }, (_, i) => {
      const [v, u] = [Math.floor((i + 1) / 8), (i + 1) % 8];
      let sum = 0;
      for (let y = 0; y < lookSide; y++) {
        for (let x = 0; x < lookSide; x++)
          sum += grey(y, x) * Math.cos(((2 * y + 1) * v * Math.PI) / 64) * Math.cos(((2 * x + 1) * u * Math.PI) / 64);
      }
      return sum * (v === 0 ? Math.SQRT1_2 : 1) * (u === 0 ? Math.SQRT1_2 : 1);
    });
    const length = Math.hypot(...expected);
    for (const [i, value] of look.entries()) expect(value).toBeCloseTo(expected[i] / length, 6);
    // Half the contrast, rounded to whole levels.
    const dim = lookOf(pixels.map((value) => 40 + value / 2))!;
    expect(product(look, dim, lookLength)).toBeGreaterThan(0.9999);
  });

  it('follows, mirrored or turned, from that of the picture itself', () => {
    const pixels = picture(2);
    const known = symmetricLooks(lookOf(pixels)!);
    const found = Object.values(ways).map((from) => {
      const look = lookOf(moved(pixels, from))!;
      return known.findIndex((each) => each.every((value, i) => Math.abs(value - look[i]) < 1e-5));
    });
    expect(found.toSorted()).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(found[0]).toBe(0);
  });

  it('is none for one colour', () => {
    expect(lookOf(new Uint8Array(lookSide * lookSide * 3).fill(90))).toBeNull();
  });
});

describe('findAlike', () => {
  it.each(Object.keys(ways))('finds a picture and itself, %s, among others', async (way) => {
    const all = [...Array(30).keys()].map((seed) => lookOf(picture(seed)));
    const { pairs, complete } = await findAlike([...all, null, lookOf(moved(picture(7), ways[way]))]);
    expect(pairs).toEqual([{ a: 7, b: 31, distance: expect.any(Number), correlation: expect.closeTo(1, 5) }]);
    expect(complete).toBe(true);
  });

  it('finds every pair that trying all of them finds', async () => {
    // Neighbours differ a little, some by more than is alike.
    const next = random('noise');
    const looks = [...Array(200).keys()].map((i) => {
      const look = symmetricLooks(lookOf(picture(i % 40))!)[i % 8].map(
        (value) => value + 0.05 * Math.sqrt(i / 200) * (next() - 0.5),
      );
      const length = Math.sqrt(product(look, look, lookLength));
      return look.map((value) => value / length);
    });
    const expected: string[] = [];
    for (let a = 0; a < looks.length; a++) {
      for (let b = a + 1; b < looks.length; b++) {
        const alike = symmetricLooks(looks[a]).some((look) => {
          const distance = look.reduce((sum, value, i) => sum + (value > 0 !== looks[b][i] > 0 ? 1 : 0), 0);
          return distance <= hashRadius && product(look, looks[b], lookLength) >= leastCorrelation;
        });
        if (alike) expected.push(`${a} ${b}`);
      }
    }
    const { pairs } = await findAlike(looks);
    expect(pairs.map(({ a, b }) => `${a} ${b}`)).toEqual(expected);
    // Of the 400 pairs with one picture some are found and some not.
    expect(expected.length).toBeGreaterThan(100);
    expect(expected.length).toBeLessThan(400);
  });

  it('ends where there are too many', async () => {
    const same = lookOf(picture(1));
    const { pairs, complete } = await findAlike(Array(50).fill(same), () => {}, 100);
    expect([pairs.length, complete]).toEqual([100, false]);
  });
});

describe.skipIf(!existsSync(bloodCells))(
  'near-duplicates of real cells (skipped where ../shared/data/blood-cells is absent)',
  () => {
    let paths: string[];
    let looks: (Float32Array | null)[];

    beforeAll(async () => {
      const { items } = readListing(bloodCells);
      paths = items.filter((_, i) => i % 186 === 0).map(({ path }) => path);
      looks = await Promise.all(paths.map(async (path) => lookOf(await decodeFile(path, lookSide))));
    });

    it.each<[string, (image: Sharp) => Sharp]>([
      ['JPEG of quality 20', (image) => image.jpeg({ quality: 20 })],
      ['a quarter of the size', (image) => image.resize(80, 60).png()],
      ['mirrored, and smoothed', (image) => image.flop().blur(2).png()],
      ['turned by 90 degrees', (image) => image.rotate(90).png()],
      ['grey', (image) => image.greyscale().png()],
      ['1 pixel of 320 cut off at each side', (image) => image.extract({ left: 1, top: 1, width: 318, height: 238 }).png()],
    ])('of 68 pictures all are found, and no other pair: %s', async (_, change) => {
      const copies = await Promise.all(
        paths.map(async (path) => lookOf(await decodeImage(await change(sharp(path)).toBuffer(), lookSide, path))),
      );
      const { pairs } = await findAlike([...looks, ...copies]);
      const own = pairs.filter(({ a, b }) => b === a + paths.length);
      const others = pairs.filter(({ a, b }) => a < paths.length && b >= paths.length && b !== a + paths.length);
      expect(paths.length).toBe(68);
      expect(own.length).toBe(68);
      expect(others).toEqual([]);
    });
  },
);
