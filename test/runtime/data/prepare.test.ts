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
        'manifest.csv': {
          images: each(4),
          groups: { train: 4, val: 4, test: 4 },
          originals: { train: 8, val: 8, test: 8 },
        },
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

  it('notes bytes that two parts share, and those under two labels', async () => {
    // y/2 has the bytes of two files of x, and x/0 those of one of x.
    const contents = { 'x/0': 'a', 'x/1': 'b', 'x/2': 'c', 'x/3': 'a', 'x/4': 'b', 'y/0': 'd', 'y/1': 'e', 'y/2': 'b' };
    const splits = ['train', 'train', 'train', 'test', 'test', 'train', 'train', 'test'];
    const rows = Object.keys(contents).map((name, i) => `${name}.png,${name[0]},${splits[i]},g${i}`);
    const files = Object.entries(contents).map(([name, content]) => [`${name}.png`, content] as const);
    const root = folderOf([...files, ['all.csv', `path,label,split,group\n${rows.join('\n')}\n`]]);
    const listing = readListing(join(root, 'all.csv'));
    const { notes } = await prepare(listing, { by: 'given' }, join(root, 'out'));
    expect(notes).toEqual([
      'train and test share 2 contents (same bytes): 2 images of train and 3 of test.',
      '1 content (same bytes) has several labels, such as x/1.png (x) and y/2.png (y); ddrc data inspect lists them.',
    ]);
    expect(JSON.parse(readFileSync(join(root, 'out', 'prepared.json'), 'utf8')).notes).toEqual(notes);
  });

  it('notes for each fold what its parts share by bytes', async () => {
    // Each two images of x are copies of each other; all 14 of y are one content, so the folds have 4, 5 and 5 of it.
    const files = [...Array(26).keys()].map((i) => [`${i < 12 ? 'x' : 'y'}/${i}.png`, i < 12 ? `x${i >> 1}` : 'y'] as const);
    const rows = files.map(([path], i) => `${path},${path[0]},g${i}`);
    const root = folderOf([...files, ['all.csv', `path,label,group\n${rows.join('\n')}\n`]]);
    const listing = readListing(join(root, 'all.csv'));
    const { notes } = await prepare(listing, { by: 'group', folds: 3, seed: 1 }, join(root, 'folds'));
    const expected = [0, 1, 2].map((fold) => {
      const { items } = readListing(join(root, 'folds', `fold-${fold}.csv`));
      const hashes = (split: string) => items.filter((item) => item.split === split).map(({ hash }) => hash);
      const [train, test] = ['train', 'test'].map(hashes);
      const both = [...new Set(train)].filter((hash) => test.includes(hash));
      const count = (of: typeof train) => of.filter((hash) => both.includes(hash)).length;
      return `Fold ${fold}: train and test share ${both.length} contents (same bytes): ${count(train)} images of train and ${count(test)} of test.`;
    });
    expect(notes).toEqual(expected);
  });

  it('divides by original where no groups are known, and says how many a division by image shares', async () => {
    const files = [...Array(24).keys()].map((i) => [`${i < 12 ? 'x' : 'y'}/${i}.png`, `content ${i}`] as const);
    const rows = files.map(([path], i) => `${path},${path[0]},o${i >> 1}`);
    const root = folderOf([...files, ['all.csv', `path,label,original\n${rows.join('\n')}\n`]]);
    const listing = readListing(join(root, 'all.csv'));
    const byGroup = await prepare(listing, { by: 'group', test: 0.25 }, join(root, 'grouped'));
    expect(byGroup.notes).toEqual(['No groups are known, so originals serve as groups.']);
    expect(byGroup.files['manifest.csv']).toMatchObject({ groups: null, originals: { train: 8, test: 4 } });
    const { items } = readListing(join(root, 'grouped', 'manifest.csv'));
    const of = (split: string) => new Set(items.filter((item) => item.split === split).map(({ original }) => original));
    expect([...of('test')].filter((original) => of('train').has(original))).toEqual([]);
    const byImage = await prepare(listing, { by: 'image', test: 0.25 }, join(root, 'images'));
    expect(byImage.notes).toEqual([
      expect.stringMatching(/^train and test share [1-6] originals?: \d images? of train and \d of test\.$/),
    ]);
    const folds = await prepare(listing, { by: 'image', folds: 2 }, join(root, 'folds'));
    // A shared original has one image on each side, so the counts of the two folds are the same.
    expect(folds.notes).toEqual([
      expect.stringMatching(/^Every fold: train and test share ([1-6]) originals?: \1 images? of train and \1 of test\.$/),
    ]);
  });

  it('refuses files whose bytes are not those of the hashes that the CSV states, and writes nothing', async () => {
    const root = data();
    await prepare(readListing(join(root, 'images')), { by: 'group', test: 0.25 }, join(root, 'first'));
    const manifest = readListing(join(root, 'first', 'manifest.csv'));
    const again = () => prepare(manifest, { by: 'given' }, join(root, 'second'));
    await again();
    const before = readFileSync(join(root, 'second', 'manifest.csv'), 'utf8');
    for (const i of [3, 20]) writeFileSync(manifest.items[i].path, 'something else');
    expect(await errorOf(again)).toMatchObject({
      code: 'DATA_CHANGED',
      where: manifest.items[3].path,
      notes: [
        { label: 'stated in', text: `${join(root, 'first', 'manifest.csv')}:5` },
        { label: '2 of 24 differ', text: '../images/y/20, of "0".png' },
      ],
    });
    expect(readFileSync(join(root, 'second', 'manifest.csv'), 'utf8')).toBe(before);
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
