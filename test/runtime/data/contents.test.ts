import { appendFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { random } from '../../../numeric/random.ts';
import { contentsHash } from '../../../runtime/data/contents.ts';

const folder = mkdtempSync(join(tmpdir(), 'ddrc-contents-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let made = 0;

/** Writes files of so many bytes, and gives their paths. */
function files(lengths: readonly number[]): string[] {
  const place = join(folder, String(made++));
  mkdirSync(place);
  return lengths.map((length, i) => {
    const next = random('contents', i);
    const path = join(place, String(i));
    writeFileSync(
      path,
      Uint8Array.from({ length }, () => 256 * next()),
    );
    return path;
  });
}

describe('the hash of contents', () => {
  it('is the same for a copy of other names and times', () => {
    const paths = files([10, 5000, 20_000]);
    cpSync(join(paths[0], '..'), join(folder, 'copy'), { recursive: true });
    const copies = paths.map((_, i) => join(folder, 'copy', String(i)));
    for (const path of copies) utimesSync(path, 1, 1);
    expect(contentsHash(copies)).toBe(contentsHash(paths));
  });

  it('is another one for other bytes in the middle, another length, another order, a file that is gone', () => {
    const lengths = [10, 5000, 20_000];
    const paths = files(lengths);
    const seen = [contentsHash(paths), contentsHash(paths.toReversed())];
    for (const [i, length] of lengths.entries()) {
      const bytes = readFileSync(paths[i]);
      bytes[length / 2] ^= 1;
      writeFileSync(paths[i], bytes);
      seen.push(contentsHash(paths));
      appendFileSync(paths[i], 'x');
      seen.push(contentsHash(paths));
    }
    rmSync(paths[1]);
    seen.push(contentsHash(paths));
    expect(new Set(seen).size).toBe(9);
  });

  it('looks into 1000 files of 2000, and at the length of all', () => {
    // Two files in turns: the first is always looked into, the second never.
    const [first, second] = files([8, 8]);
    const paths = Array.from({ length: 2000 }, (_, i) => (i % 2 === 0 ? first : second));
    const before = contentsHash(paths);
    writeFileSync(second, new Uint8Array(8));
    expect(contentsHash(paths)).toBe(before);
    writeFileSync(second, new Uint8Array(9));
    const longer = contentsHash(paths);
    expect(longer).not.toBe(before);
    writeFileSync(first, new Uint8Array(8));
    expect(contentsHash(paths)).not.toBe(longer);
  });
});
