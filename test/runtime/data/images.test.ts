import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type LoadOptions, loadImageFile, loadImages } from '../../../runtime/data/images.ts';
import { readListing } from '../../../runtime/data/layout.ts';
import { bloodCells, errorOf, folderOf, temporaryFolder } from './files.ts';

const disk = vi.hoisted(() => ({ writableBytes: Number.POSITIVE_INFINITY, imagesRead: 0 }));

// A disk that is full after so many bytes, and a count of the image files that are read.
vi.mock(import('node:fs/promises'), async (importOriginal) => {
  const original = await importOriginal();
  const limited = (file: FileHandle): FileHandle => {
    const write = file.write.bind(file) as (...args: unknown[]) => Promise<{ bytesWritten: number; buffer: Uint8Array }>;
    file.write = (async (...args: unknown[]) => {
      disk.writableBytes -= (args[0] as Uint8Array).length;
      if (disk.writableBytes < 0) throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
      return write(...args);
    }) as FileHandle['write'];
    return file;
  };
  return {
    ...original,
    open: async (...args: Parameters<typeof original.open>) => limited(await original.open(...args)),
    readFile: ((...args: Parameters<typeof original.readFile>) => {
      disk.imagesRead++;
      return original.readFile(...args);
    }) as typeof original.readFile,
  };
});

const size = 6;
let png: (value: number) => Buffer;

beforeEach(async () => {
  const images = await Promise.all(
    Array.from({ length: 12 }, (_, i) =>
      sharp({ create: { width: 8, height: 8, channels: 3, background: { r: 20 * i, g: 1, b: 2 } } })
        .png()
        .toBuffer(),
    ),
  );
  png = (value) => images[value];
  disk.imagesRead = 0;
});

afterEach(() => {
  disk.writableBytes = Number.POSITIVE_INFINITY;
});

/** TRAIN with images 0 to 3, TEST with 4 to 7, of classes a and b. */
const data = (more: [string, Uint8Array | string][] = []) =>
  folderOf([
    ...[0, 1, 2, 3].map((i) => [`TRAIN/${'ab'[i >> 1]}/${i}.png`, png(i)] as const),
    ...[4, 5, 6, 7].map((i) => [`TEST/${'ab'[(i - 4) >> 1]}/${i}.png`, png(i)] as const),
    ...more,
  ]);

/** The first value of each image, divided by 20: its number; null for one that was left out. */
async function numbers(root: string, options: Partial<LoadOptions> = {}) {
  const progress: number[] = [];
  const images = await loadImages(readListing(root), {
    size,
    cache: 'none',
    onProgress: (done) => progress.push(done),
    ...options,
  });
  const found = await Promise.all(
    images.listing.items.map(async (_, i) => (images.has(i) ? (await images.pixels(i))[0] / 20 : null)),
  );
  await images.close();
  return { found, bad: images.bad, notes: images.notes, progress };
}

const eight = [0, 1, 2, 3, 4, 5, 6, 7];

describe('loadImages', () => {
  it('decodes each image once and reports progress', async () => {
    expect(await numbers(data())).toEqual({ found: eight, bad: [], notes: [], progress: [1, 2, 3, 4, 5, 6, 7, 8] });
    expect(disk.imagesRead).toBe(8);
  });

  it.each([Number.POSITIVE_INFINITY, 0])(
    'takes them from the cache the second time (%d bytes of memory)',
    async (memoryLimit) => {
      const [root, cache] = [data(), join(temporaryFolder(), 'cache')];
      expect((await numbers(root, { cache, memoryLimit })).found).toEqual(eight);
      expect(disk.imagesRead).toBe(8);
      expect(await numbers(root, { cache, memoryLimit })).toEqual({ found: eight, bad: [], notes: [], progress: [4, 8] });
      expect(disk.imagesRead).toBe(8);
      expect(readdirSync(cache)).toHaveLength(2);
      expect((await numbers(root, { cache, memoryLimit, size: 7 })).found).toEqual(eight);
      expect(disk.imagesRead).toBe(16);
    },
  );

  it('has a cache file for each split, so that a test alone finds what a training left', async () => {
    const [root, cache] = [data(), temporaryFolder()];
    expect((await numbers(root, { cache, items: [5] })).found).toEqual([null, null, null, null, 4, 5, 6, 7]);
    expect(disk.imagesRead).toBe(4);
    expect((await numbers(root, { cache })).found).toEqual(eight);
    expect(disk.imagesRead).toBe(8);
  });

  it('decodes an image again that changed', async () => {
    const [root, cache] = [data(), temporaryFolder()];
    await numbers(root, { cache });
    writeFileSync(join(root, 'TRAIN', 'a', '0.png'), png(11));
    expect((await numbers(root, { cache })).found).toEqual([11, 1, 2, 3, 4, 5, 6, 7]);
  });

  it('refuses an image whose bytes are not those that the CSV states, decoded before or not', async () => {
    const [root, cache] = [data(), temporaryFolder()];
    const hashes = [0, 1, 2, 3].map((i) => createHash('sha256').update(png(i)).digest('hex'));
    const rows = [0, 1, 2, 3].map((i) => [`TRAIN/${'ab'[i >> 1]}/${i}.png`, 'ab'[i >> 1], hashes[i]]);
    const csv = (name: string, columns: number) => {
      const lines = [['path', 'label', 'hash'], ...rows].map((cells) => cells.slice(0, columns).join(','));
      writeFileSync(join(root, name), `${lines.join('\n')}\n`);
      return join(root, name);
    };
    const [stated, plain] = [csv('stated.csv', 3), csv('plain.csv', 2)];
    expect((await numbers(stated, { cache })).found).toEqual([0, 1, 2, 3]);
    const changed = join(root, 'TRAIN', 'b', '2.png');
    writeFileSync(changed, png(11));
    expect((await numbers(plain, { cache })).found).toEqual([0, 1, 11, 3]);
    const error = await errorOf(() => numbers(stated, { cache }));
    expect(error).toMatchObject({ code: 'DATA_CHANGED', where: changed });
    expect(error.hint).toBe(
      'put the right file back; where the change is meant, remove its hash from the CSV; --on-bad-image skip leaves such images out',
    );
    const { found, bad } = await numbers(stated, { cache, onBadImage: 'skip' });
    expect(found).toEqual([0, 1, null, 3]);
    expect(bad).toMatchObject([{ path: changed, error: { code: 'DATA_CHANGED' } }]);
  });

  it.each([Number.POSITIVE_INFINITY, 0])(
    'makes a damaged cache anew, or decodes what is damaged (%d bytes of memory)',
    async (memoryLimit) => {
      const [root, cache] = [data(), temporaryFolder()];
      await numbers(root, { cache });
      for (const at of [4, 50, -20]) {
        for (const name of readdirSync(cache)) {
          const bytes = readFileSync(join(cache, name));
          bytes[(at + bytes.length) % bytes.length] ^= 1;
          writeFileSync(join(cache, name), bytes);
        }
        expect(await numbers(root, { cache, memoryLimit })).toMatchObject({ found: eight, notes: [] });
      }
      for (const name of readdirSync(cache)) writeFileSync(join(cache, name), 'something else');
      expect(await numbers(root, { cache, memoryLimit })).toMatchObject({ found: eight, notes: [] });
    },
  );

  it.each([Number.POSITIVE_INFINITY, 0])(
    'does without a cache where the disk is full, and says so (%d bytes of memory)',
    async (memoryLimit) => {
      // 108 bytes an image: full before the first, in the middle, at the index.
      for (const bytes of [0, 250, 440]) {
        const cache = temporaryFolder();
        disk.writableBytes = bytes;
        const { found, notes } = await numbers(data(), { cache, memoryLimit, items: [0] });
        expect(found).toEqual([0, 1, 2, 3, null, null, null, null]);
        expect(notes).toEqual([`Decoded images are not cached: ${cache} cannot be written: the disk is full.`]);
        expect(readdirSync(cache)).toEqual([]);
      }
    },
  );

  it('does without a cache whose folder cannot be made', async () => {
    const root = data([['file', 'x']]);
    const { found, notes } = await numbers(root, { cache: join(root, 'file', 'cache') });
    expect(found).toEqual(eight);
    expect(notes[0]).toContain('a part of the path is a file, not a folder');
  });

  it('survives two loads at once', async () => {
    const [root, cache] = [data(), temporaryFolder()];
    const loads = await Promise.all([1, 2, 3, 4].map(() => numbers(root, { cache })));
    for (const { found, notes } of loads) expect({ found, notes }).toEqual({ found: eight, notes: [] });
    expect(readdirSync(cache)).toHaveLength(2);
    expect((await numbers(root, { cache })).progress).toEqual([4, 8]);
  });
});

describe('bad images', () => {
  const withBad = () =>
    data([
      ['TRAIN/a/1b.png', ''],
      ['TRAIN/b/5.png', png(3).subarray(0, 60)],
      ['TEST/b/note.png', 'no image'],
    ]);

  it('stop the loading, the first in order first, and leave no cache behind', async () => {
    const [root, cache] = [withBad(), temporaryFolder()];
    const error = await errorOf(() => numbers(root, { cache }));
    expect(error).toMatchObject({ code: 'IMAGE_EMPTY', where: join(root, 'TRAIN', 'a', '1b.png') });
    expect(error.hint).toContain('--on-bad-image skip');
    expect(readdirSync(cache)).toEqual([]);
  });

  it.each([Number.POSITIVE_INFINITY, 0])(
    'are left out and named on request, from the cache too (%d bytes of memory)',
    async (memoryLimit) => {
      const [root, cache] = [withBad(), temporaryFolder()];
      for (const reads of [11, 11]) {
        const { found, bad } = await numbers(root, { cache, memoryLimit, onBadImage: 'skip' });
        expect(found).toEqual([0, 1, null, 2, 3, null, 4, 5, 6, 7, null]);
        expect(bad.map(({ item, path, error }) => [item, path, error.code, error.where])).toEqual(
          [
            [2, 'TRAIN/a/1b.png', 'IMAGE_EMPTY'],
            [5, 'TRAIN/b/5.png', 'IMAGE_DAMAGED'],
            [10, 'TEST/b/note.png', 'IMAGE_FORMAT'],
          ].map(([item, path, code]) => [item, join(root, path as string), code, join(root, path as string)]),
        );
        expect(disk.imagesRead).toBe(reads);
      }
      expect((await errorOf(() => numbers(root, { cache, memoryLimit }))).code).toBe('IMAGE_EMPTY');
    },
  );

  it('are an error even on request where nothing is left', async () => {
    const root = folderOf(['a/1.png', 'b/1.png']);
    const error = await errorOf(() => numbers(root, { onBadImage: 'skip' }));
    expect(error).toMatchObject({ code: 'DATA_EMPTY', message: 'none of the 2 images can be read' });
  });
});

describe('loadImageFile', () => {
  it('gives planes in [0,1]', async () => {
    const root = folderOf([['x.png', png(3)]]);
    const plane = (value: number) => new Array<number>(16).fill(value / 255);
    expect(await loadImageFile(join(root, 'x.png'), 4)).toEqual(Float32Array.from([...plane(60), ...plane(1), ...plane(2)]));
    expect((await errorOf(() => loadImageFile(join(root, 'y.png'), 4))).code).toBe('DATA_MISSING');
  });
});

describe.skipIf(!existsSync(bloodCells))('the real blood cells (skipped where ../shared/data/blood-cells is absent)', () => {
  it('decode: the 71 of TEST_SIMPLE', async () => {
    const listing = readListing(bloodCells);
    const items = listing.items.flatMap(({ split }, i) => (split === 'TEST_SIMPLE' ? [i] : []));
    const images = await loadImages(listing, { size: 32, cache: 'none', items });
    expect(items.filter((item) => images.has(item))).toHaveLength(71);
    // Smears are bright and pink: red above green on average, both well above black.
    let [red, green] = [0, 0];
    for (const item of items) {
      const pixels = await images.pixels(item);
      for (let i = 0; i < pixels.length; i += 3) {
        red += pixels[i] / (71 * 1024);
        green += pixels[i + 1] / (71 * 1024);
      }
    }
    expect(red).toBeGreaterThan(green);
    expect(green).toBeGreaterThan(100);
  });
});
