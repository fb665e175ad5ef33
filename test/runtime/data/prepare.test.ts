import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { formatCsv, parseCsv } from '../../../runtime/data/csv.ts';
import { readListing } from '../../../runtime/data/layout.ts';
import { prepare } from '../../../runtime/data/prepare.ts';
import { sharedBetween } from '../../../runtime/data/shared.ts';
import { errorOf, folderOf } from './files.ts';

/** 24 files of two classes in twelve groups, with a name that a CSV has to quote. */
function data(): string {
  const files = [...Array(24).keys()].map((i) => [i < 12 ? 'x' : 'y', `${i}, of "${i % 2}".png`] as const);
  const origins = files.map(([name, file], i) => [name, file, `g${Math.floor(i / 2)}`, `o${i}`]);
  return folderOf([
    ...files.map(([name, file], i) => [`images/${name}/${file}`, `content ${i}`] as const),
    ['images/originals.csv', formatCsv([['class', 'file', 'group', 'original'], ...origins])],
  ]);
}

describe('formatCsv', () => {
  it('writes what parseCsv reads', () => {
    const rows = [
      ['a', 'b c', ' d'],
      ['1,2', 'say "so"', 'two\nlines'],
      ['', ' ', 'x'],
    ];
    const { header, rows: read } = parseCsv(formatCsv([['p', 'q', 'r'], ...rows]), 'x.csv');
    expect(header).toEqual(['p', 'q', 'r']);
    expect(read.map(({ cells }) => cells)).toEqual(rows);
  });
});

describe('prepare', () => {
  it('writes a manifest that is read as it was divided, with the hashes of the files', async () => {
    const root = data();
    const out = join(root, 'new', 'out');
    const listing = readListing(join(root, 'images'));
    const prepared = await prepare(listing, { by: 'group', test: 0.25, val: 0.25, seed: 2 }, out);
    expect(readdirSync(out).toSorted()).toEqual(['manifest.csv', 'prepared.json']);
    const read = readListing(join(out, 'manifest.csv'));
    expect(read.classes).toEqual(['x', 'y']);
    expect(read.items.map(({ path, label, group, original }) => ({ path, label, group, original }))).toEqual(
      listing.items.map(({ path, label, group, original }) => ({ path, label, group, original })),
    );
    for (const { path, hash } of read.items) expect(hash).toBe(createHash('sha256').update(readFileSync(path)).digest('hex'));
    const splits = read.items.map(({ split }) => split);
    expect(
      sharedBetween(
        splits,
        read.items.map(({ group }) => group),
      ),
    ).toEqual([]);
    // Three images are a quarter, and groups have two: two groups are as near as one, and are taken.
    const each = (count: number) => ({
      train: { x: count, y: count },
      val: { x: count, y: count },
      test: { x: count, y: count },
    });
    expect(prepared).toEqual({
      preparedBy: 'ddrc data prepare',
      version: 1,
      data: '../../images',
      division: { by: 'group', test: 0.25, val: 0.25, seed: 2 },
      classes: ['x', 'y'],
      images: 24,
      files: {
        'manifest.csv': { images: each(4), groups: { train: 4, val: 4, test: 4 } },
      },
      notes: [],
    });
    expect(Object.keys(prepared.files['manifest.csv'].images)).toEqual(['train', 'val', 'test']);
    expect(JSON.parse(readFileSync(join(out, 'prepared.json'), 'utf8'))).toEqual(prepared);
    expect(readFileSync(join(out, 'manifest.csv'), 'utf8').split('\n')[0]).toBe('path,label,split,group,hash,original');
    expect(readFileSync(join(out, 'manifest.csv'), 'utf8')).not.toContain(root);
  });

  it('writes a manifest for each fold, and takes away what an earlier call wrote', async () => {
    const root = data();
    const out = join(root, 'out');
    const listing = readListing(join(root, 'images'));
    await prepare(listing, { by: 'group', folds: 3, val: 0.3 }, out);
    expect(readdirSync(out).toSorted()).toEqual(['fold-0.csv', 'fold-1.csv', 'fold-2.csv', 'manifest.csv', 'prepared.json']);
    const { header, rows } = parseCsv(readFileSync(join(out, 'manifest.csv'), 'utf8'), 'manifest.csv');
    expect(header).toEqual(['path', 'label', 'fold', 'group', 'hash', 'original']);
    const tested = [0, 1, 2].flatMap((fold) => {
      const { items, splits } = readListing(join(out, `fold-${fold}.csv`));
      expect(splits.toSorted()).toEqual(['test', 'train', 'val']);
      const own = items.filter(({ split }) => split === 'test').map(({ original }) => original);
      expect(own).toEqual(rows.filter(({ cells }) => cells[2] === String(fold)).map(({ cells }) => cells[5]));
      return own;
    });
    expect(tested.toSorted()).toEqual(listing.items.map(({ original }) => original).toSorted());
    await prepare(listing, { by: 'image', test: 0.5 }, out);
    expect(readdirSync(out).toSorted()).toEqual(['manifest.csv', 'prepared.json']);
  });

  it('refuses a folder that holds something else, a place among the images, a file, and the place of its own CSV', async () => {
    const root = data();
    const listing = readListing(join(root, 'images'));
    mkdirSync(join(root, 'full'));
    writeFileSync(join(root, 'full', 'manifest.csv'), 'path,label\n');
    const refused = async (out: string, from = listing) => errorOf(() => prepare(from, { by: 'group', test: 0.3 }, out));
    expect((await refused(join(root, 'full'))).message).toMatch(
      /is not empty and was not written by ddrc data prepare: it holds manifest\.csv$/,
    );
    expect((await refused(join(root, 'images', 'new'))).message).toMatch(/lies in the folder of the data/);
    expect((await refused(join(root, 'full', 'manifest.csv'))).message).toMatch(/is a file/);
    expect(existsSync(join(root, 'images', 'new'))).toBe(false);
    const out = join(root, 'out');
    await prepare(listing, { by: 'group', test: 0.3 }, out);
    const before = readFileSync(join(out, 'manifest.csv'), 'utf8');
    expect((await refused(out, readListing(join(out, 'manifest.csv')))).message).toMatch(/holds the CSV that is to be divided/);
    expect(readFileSync(join(out, 'manifest.csv'), 'utf8')).toBe(before);
  });

  it('writes nothing where the division is refused or an image cannot be read', async () => {
    const root = data();
    const listing = readListing(join(root, 'images'));
    const out = join(root, 'out');
    await errorOf(() => prepare(listing, { by: 'given' }, out));
    const gone = { ...listing, items: [...listing.items, { ...listing.items[0], path: join(root, 'images', 'x', 'gone.png') }] };
    expect(await errorOf(() => prepare(gone, { by: 'image', test: 0.3 }, out))).toMatchObject({
      code: 'DATA_MISSING',
      where: join(root, 'images', 'x', 'gone.png'),
    });
    expect(existsSync(out)).toBe(false);
  });
});
