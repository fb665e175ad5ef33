import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp, { type Sharp } from 'sharp';
import { describe, expect, it } from 'vitest';
import { random } from '../../../numeric/random.ts';
import { decodeFile, decodeImage } from '../../../runtime/data/decode.ts';
import { bitmap } from './bitmap.ts';
import { errorOf, folderOf } from './files.ts';

/** A smooth picture with a little noise, uint8 [height,width,3]. */
function picture(width: number, height: number): Buffer {
  const next = random('picture', width, height);
  return Buffer.from(
    Uint8Array.from({ length: width * height * 3 }, (_, i) => {
      const [x, y, c] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width), i % 3];
      return Math.floor(128 + 90 * Math.sin(x / 9 + c) * Math.cos(y / 7 - c) + 30 * (next() - 0.5));
    }),
  );
}

const raw = (pixels: Uint8Array, width: number, height: number) => sharp(pixels, { raw: { width, height, channels: 3 } });

/** Resizing along one axis of [outer, length, inner] with a triangle filter as wide as the reduction: PIL's BILINEAR, in double precision. */
function resizeAxis(values: ArrayLike<number>, outer: number, length: number, inner: number, size: number): Float64Array {
  const out = new Float64Array(outer * size * inner);
  const scale = Math.max(1, length / size);
  for (let to = 0; to < size; to++) {
    const centre = ((to + 0.5) * length) / size;
    const weights = Array.from({ length }, (_, from) => Math.max(0, 1 - Math.abs(from + 0.5 - centre) / scale));
    const total = weights.reduce((a, b) => a + b, 0);
    for (let o = 0; o < outer; o++) {
      for (let from = 0; from < length; from++) {
        for (let i = 0; i < inner; i++)
          out[(o * size + to) * inner + i] += (weights[from] / total) * values[(o * length + from) * inner + i];
      }
    }
  }
  return out;
}

function differences(a: ArrayLike<number>, b: ArrayLike<number>): { mean: number; largest: number } {
  expect(a.length).toBe(b.length);
  const all = Array.from(a, (value, i) => Math.abs(value - b[i]));
  return { mean: all.reduce((x, y) => x + y, 0) / all.length, largest: Math.max(...all) };
}

describe('decodeImage', () => {
  it.each([
    [320, 240, 96],
    [100, 130, 96],
    [40, 30, 96],
    [96, 96, 96],
  ])('resizes %i x %i to %i px as a triangle filter does', async (width, height, size) => {
    const pixels = picture(width, height);
    const decoded = await decodeImage(await raw(pixels, width, height).png().toBuffer(), size, 'x.png');
    const exact = resizeAxis(resizeAxis(pixels, height, width, 3, size), 1, height, size * 3, size);
    const { mean, largest } = differences(decoded, exact);
    // libvips rounds after each axis and takes filter positions to 1/64 of a pixel; at the edges it repeats the last pixel in place of renormalising.
    expect(mean).toBeLessThan(0.6);
    expect(largest).toBeLessThan(4);
  });

  it('reads every format, in the order red, green, blue', async () => {
    const image = () => sharp({ create: { width: 40, height: 30, channels: 3, background: { r: 200, g: 100, b: 30 } } });
    for (const bytes of [
      image().jpeg(),
      image().png(),
      image().webp({ lossless: true }),
      image().gif(),
      image().tiff({ compression: 'lzw' }),
      image().avif({ lossless: true }),
    ]) {
      const decoded = await decodeImage(await bytes.toBuffer(), 8, 'x');
      expect(
        differences(
          decoded,
          Array.from({ length: 192 }, (_, i) => [200, 100, 30][i % 3]),
        ).largest,
      ).toBeLessThanOrEqual(2);
    }
  });

  it.each([24, 32, 8])('reads a bitmap of %i bits, stored from the bottom up', async (bits) => {
    const decoded = await decodeImage(bitmap(5, 6, bits), 8, 'x.bmp');
    // Pixel (row, column) is (10·row, 20·column, 5).
    const pixels = Uint8Array.from({ length: 90 }, (_, i) => [10 * Math.floor(i / 15), 20 * (Math.floor(i / 3) % 5), 5][i % 3]);
    expect(decoded).toEqual(await decodeImage(await raw(pixels, 5, 6).png().toBuffer(), 8, 'x.png'));
  });

  it('converts grey, 16 bits, CMYK and a palette', async () => {
    const pixels = picture(32, 32);
    const png = (image: Sharp) => image.png().toBuffer();
    const colour = await decodeImage(await png(raw(pixels, 32, 32)), 32, 'x');
    expect(colour).toEqual(new Uint8Array(pixels));

    const grey = await decodeImage(await png(raw(pixels, 32, 32).greyscale()), 32, 'x');
    for (let i = 0; i < grey.length; i += 3) expect(grey[i] === grey[i + 1] && grey[i] === grey[i + 2]).toBe(true);
    const deep = await png(raw(pixels, 32, 32).toColourspace('rgb16'));
    expect((await sharp(deep).metadata()).depth).toBe('ushort');
    expect(differences(await decodeImage(deep, 32, 'x'), pixels).largest).toBeLessThanOrEqual(1);
    const deepGrey = await png(raw(pixels, 32, 32).greyscale().toColourspace('grey16'));
    expect((await sharp(deepGrey).metadata()).depth).toBe('ushort');
    expect(differences(await decodeImage(deepGrey, 32, 'x'), grey).largest).toBeLessThanOrEqual(1);
    const cmyk = await raw(pixels, 32, 32).toColourspace('cmyk').jpeg({ quality: 100, chromaSubsampling: '4:4:4' }).toBuffer();
    expect((await sharp(cmyk).metadata()).space).toBe('cmyk');
    // Colours beyond what ink can show are lost.
    expect(differences(await decodeImage(cmyk, 32, 'x'), pixels).mean).toBeLessThan(40);
    const palette = await raw(pixels, 32, 32).png({ palette: true }).toBuffer();
    expect(differences(await decodeImage(palette, 32, 'x'), pixels).mean).toBeLessThan(12);
  });

  it('lays transparent parts on black', async () => {
    const half = Uint8Array.from({ length: 8 * 8 * 4 }, (_, i) => [200, 100, 50, Math.floor(i / 4) % 8 < 4 ? 255 : 0][i % 4]);
    const png = await sharp(half, { raw: { width: 8, height: 8, channels: 4 } })
      .png()
      .toBuffer();
    const row = (await decodeImage(png, 8, 'x')).subarray(0, 24);
    expect(row).toEqual(Uint8Array.from([...[200, 100, 50, 200, 100, 50, 200, 100, 50, 200, 100, 50], ...new Array(12).fill(0)]));
  });

  it('takes the first frame of an animation', async () => {
    const frames = Uint8Array.from({ length: 8 * 16 * 3 }, (_, i) => (i < 8 * 8 * 3 ? [250, 0, 0] : [0, 0, 250])[i % 3]);
    const gif = await sharp(frames, { raw: { width: 8, height: 16, channels: 3, pageHeight: 8 } })
      .gif()
      .toBuffer();
    expect((await sharp(gif).metadata()).pages).toBe(2);
    expect(
      differences(
        await decodeImage(gif, 8, 'x'),
        Array.from({ length: 192 }, (_, i) => [250, 0, 0][i % 3]),
      ).largest,
    ).toBeLessThanOrEqual(4);
  });

  it('applies an EXIF orientation', async () => {
    const leftRed = Uint8Array.from(
      { length: 8 * 8 * 3 },
      (_, i) => (Math.floor(i / 3) % 8 < 4 ? [255, 0, 0] : [0, 0, 255])[i % 3],
    );
    // Orientation 6: to be turned by 90° clockwise, so the left side comes to the top.
    const turned = await raw(leftRed, 8, 8).withMetadata({ orientation: 6 }).png().toBuffer();
    const decoded = await decodeImage(turned, 8, 'x');
    expect(decoded).toEqual(Uint8Array.from({ length: 192 }, (_, i) => (i < 96 ? [255, 0, 0] : [0, 0, 255])[i % 3]));
  });

  it.each(['jpeg', 'png', 'webp', 'gif', 'tiff', 'bmp'] as const)('refuses a truncated %s, wherever it ends', async (format) => {
    const image = raw(picture(64, 48), 64, 48);
    const whole = format === 'bmp' ? bitmap(64, 48, 24) : new Uint8Array(await image.toFormat(format).toBuffer());
    for (const share of [0.2, 0.5, 0.9]) {
      const error = await errorOf(() => decodeImage(whole.subarray(0, Math.floor(whole.length * share)), 16, `cut.${format}`));
      expect(error).toMatchObject({ code: 'IMAGE_DAMAGED', where: `cut.${format}`, hint: expect.any(String) });
    }
  });

  it.each([
    ['an empty file', 'IMAGE_EMPTY', async () => Buffer.alloc(0)],
    ['text', 'IMAGE_FORMAT', async () => Buffer.from('this is no picture')],
    ['SVG', 'IMAGE_FORMAT', async () => Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')],
    ['the beginning of a JPEG', 'IMAGE_DAMAGED', async () => Buffer.from([0xff, 0xd8, 0xff, 0xe0])],
    ['1x1 pixel', 'IMAGE_TOO_SMALL', () => raw(picture(1, 1), 1, 1).png().toBuffer()],
    ['3 pixels height', 'IMAGE_TOO_SMALL', () => raw(picture(50, 3), 50, 3).jpeg().toBuffer()],
    [
      '20,000 pixels width',
      'IMAGE_TOO_LARGE',
      () =>
        raw(Buffer.alloc(20_000 * 10 * 3), 20_000, 10)
          .png()
          .toBuffer(),
    ],
    ['a bitmap that claims to be huge', 'IMAGE_TOO_LARGE', async () => bitmap(20_000, 1_000_000, 24, true)],
  ])('refuses %s', async (_, code, make) => {
    const bytes = await make();
    expect(await errorOf(() => decodeImage(bytes, 16, 'x'))).toMatchObject({ code, where: 'x', hint: expect.any(String) });
  });

  it('refuses 20,000 x 20,000 pixels without decoding them', async () => {
    const png = new Uint8Array(await raw(picture(8, 8), 8, 8).png().toBuffer());
    new DataView(png.buffer).setUint32(16, 20_000);
    new DataView(png.buffer).setUint32(20, 20_000);
    const { crc32 } = await import('node:zlib');
    new DataView(png.buffer).setUint32(29, crc32(png.subarray(12, 29)));
    expect(await errorOf(() => decodeImage(png, 16, 'x'))).toMatchObject({ code: 'IMAGE_TOO_LARGE' });
  });
});

describe('decodeFile', () => {
  it('reads a file, and says which one is missing or cannot be read', async () => {
    const folder = folderOf([]);
    const file = join(folder, 'a.png');
    writeFileSync(file, await raw(picture(9, 9), 9, 9).png().toBuffer());
    expect(await decodeFile(file, 4)).toEqual(await decodeImage(readFileSync(file), 4, file));
    expect(await errorOf(() => decodeFile(join(folder, 'no.png'), 4))).toMatchObject({
      code: 'DATA_MISSING',
      where: join(folder, 'no.png'),
    });
    expect(await errorOf(() => decodeFile(folder, 4))).toMatchObject({ code: 'DATA_UNREADABLE', where: folder });
  });
});
