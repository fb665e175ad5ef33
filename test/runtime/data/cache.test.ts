import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cacheFolder, Pack, PackWriter, packKey } from '../../../runtime/data/cache.ts';
import { temporaryFolder } from './files.ts';

const identity = { key: 'k'.repeat(64), count: 3, imageBytes: 5 };
const image = (i: number) => Uint8Array.from([i, i + 1, i + 2, 250, 7]);

async function write(folder: string, of = identity): Promise<string> {
  const writer = await PackWriter.open(folder, of);
  for (const i of [2, 0]) await writer.write(i, image(i));
  await writer.finish([{ index: 1, code: 'IMAGE_EMPTY', message: 'empty' }]);
  return join(folder, readdirSync(folder)[0]);
}

describe('Pack', () => {
  it('gives back what was written in any order, and the bad images', async () => {
    const folder = join(temporaryFolder(), 'made', 'on', 'demand');
    await write(folder);
    expect(readdirSync(folder)).toHaveLength(1);
    const pack = (await Pack.open(folder, identity))!;
    expect(await pack.read(2)).toEqual(image(2));
    expect(await pack.read(0)).toEqual(image(0));
    expect(pack.bad).toEqual([{ index: 1, code: 'IMAGE_EMPTY', message: 'empty' }]);
    const all = new Uint8Array(15);
    expect(await pack.readAll(all)).toBe(true);
    expect(all).toEqual(Uint8Array.from([...image(0), 0, 0, 0, 0, 0, ...image(2)]));
    await pack.close();
  });

  it('is null where there is nothing, another key, another number, another size', async () => {
    const folder = temporaryFolder();
    expect(await Pack.open(folder, identity)).toBeNull();
    await write(folder);
    expect(await Pack.open(folder, { ...identity, count: 4 })).toBeNull();
    expect(await Pack.open(folder, { ...identity, imageBytes: 4 })).toBeNull();
    // The name of the file has half of the key only.
    expect(await Pack.open(folder, { ...identity, key: `${'k'.repeat(63)}l` })).toBeNull();
  });

  it('is null for every truncation and for whatever else has its name', async () => {
    const folder = temporaryFolder();
    const file = await write(folder);
    const bytes = readFileSync(file);
    for (let length = 0; length < bytes.length; length++) {
      writeFileSync(file, bytes.subarray(0, length));
      expect(await Pack.open(folder, identity)).toBeNull();
    }
    for (const foreign of [Buffer.alloc(5000), Buffer.concat([bytes, bytes]), Buffer.concat([bytes, Buffer.from('x')])]) {
      writeFileSync(file, foreign);
      expect(await Pack.open(folder, identity)).toBeNull();
    }
  });

  it('finds every flipped byte: no pack, or the image that it is in', async () => {
    const folder = temporaryFolder();
    const file = await write(folder);
    const bytes = readFileSync(file);
    for (let at = 0; at < bytes.length; at++) {
      const damaged = Buffer.from(bytes);
      damaged[at] ^= 0x20;
      writeFileSync(file, damaged);
      const pack = await Pack.open(folder, identity);
      if (pack === null) continue;
      const reads = [await pack.read(0), await pack.read(2)];
      await pack.close();
      const inImage0 = at >= 8 && at < 13;
      const inImage2 = at >= 18 && at < 23;
      const checksum = at >= 23 && at < 35 ? Math.floor((at - 23) / 4) : -1;
      expect([at, reads[0] === null, reads[1] === null]).toEqual([at, inImage0 || checksum === 0, inImage2 || checksum === 2]);
      for (const [i, read] of [
        [0, reads[0]],
        [2, reads[1]],
      ] as const)
        if (read !== null) expect(read).toEqual(image(i));
    }
  });

  it('leaves nothing when it is discarded, and the old file until the new one is complete', async () => {
    const folder = temporaryFolder();
    const file = await write(folder);
    const before = readFileSync(file);
    const writer = await PackWriter.open(folder, identity);
    await writer.write(0, image(9));
    expect(readFileSync(file)).toEqual(before);
    await writer.discard();
    expect(readdirSync(folder)).toHaveLength(1);
  });

  it('survives two writers at once', async () => {
    const folder = temporaryFolder();
    await Promise.all(Array.from({ length: 8 }, () => write(folder)));
    expect(readdirSync(folder)).toHaveLength(1);
    const pack = (await Pack.open(folder, identity))!;
    expect(await pack.readAll(new Uint8Array(15))).toBe(true);
    await pack.close();
  });

  it('removes packs not used for a month and partial files of a day ago, nothing else', async () => {
    const folder = temporaryFolder();
    const age = (name: string, days: number) => {
      writeFileSync(join(folder, name), 'x');
      const then = Date.now() / 1000 - days * 24 * 3600;
      utimesSync(join(folder, name), then, then);
    };
    const hex = (digit: string) => digit.repeat(32);
    age(`images-${hex('a')}.pack`, 31);
    age(`images-${hex('b')}.pack`, 29);
    age(`images-${hex('c')}.pack.0123.partial`, 2);
    age(`images-${hex('d')}.pack.0123.partial`, 0.5);
    // Of a process that is gone, and of this one.
    const gone = spawnSync(process.execPath, ['-e', '']).pid;
    age(`images-${hex('e')}.pack.${gone}-0123.partial`, 0.1);
    age(`images-${hex('f')}.pack.${process.pid}-0123.partial`, 0.1);
    age('images-of-mine.pack', 400);
    age('other', 400);
    const writer = await PackWriter.open(folder, identity);
    await writer.discard();
    expect(readdirSync(folder).sort()).toEqual(
      [
        `images-${hex('b')}.pack`,
        `images-${hex('d')}.pack.0123.partial`,
        `images-${hex('f')}.pack.${process.pid}-0123.partial`,
        'images-of-mine.pack',
        'other',
      ].sort(),
    );
  });
});

describe('packKey', () => {
  it('changes with a path, a length, a time, a stated hash, the order and the size', async () => {
    const folder = temporaryFolder();
    const [a, b] = ['a', 'b'].map((name) => ({ path: join(folder, name) }));
    for (const { path } of [a, b]) {
      writeFileSync(path, 'same');
      utimesSync(path, 1000, 1000);
    }
    const keys = [await packKey([a, b], 32), await packKey([b, a], 32), await packKey([a], 32), await packKey([a, b], 33)];
    utimesSync(b.path, 1000, 1001);
    keys.push(await packKey([a, b], 32));
    writeFileSync(b.path, 'longer');
    utimesSync(b.path, 1000, 1000);
    keys.push(await packKey([a, b], 32));
    truncateSync(b.path, 4);
    utimesSync(b.path, 1000, 1000);
    keys.push(await packKey([a, { ...b, hash: 'ab' }], 32), await packKey([a, { ...b, hash: 'cd' }], 32));
    expect(new Set(keys).size).toBe(8);
    expect(await packKey([a, b], 32)).toBe(keys[0]);
  });
});

describe('cacheFolder', () => {
  it('is where each system keeps caches', () => {
    expect(cacheFolder({ XDG_CACHE_HOME: '/x' }, 'linux', '/h')).toBe(join('/x', 'ddrc'));
    expect(cacheFolder({ XDG_CACHE_HOME: 'relative' }, 'linux', '/h')).toBe(join('/h', '.cache', 'ddrc'));
    expect(cacheFolder({}, 'darwin', '/h')).toBe(join('/h', 'Library', 'Caches', 'ddrc'));
    expect(cacheFolder({ LOCALAPPDATA: '/l' }, 'win32', '/h')).toBe(join('/l', 'ddrc', 'Cache'));
    expect(cacheFolder({}, 'win32', '/h')).toBe(join('/h', 'AppData', 'Local', 'ddrc', 'Cache'));
  });
});
