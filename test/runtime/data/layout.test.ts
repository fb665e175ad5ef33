import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { decodeFile } from '../../../runtime/data/decode.ts';
import { listImages, readListing } from '../../../runtime/data/layout.ts';
import { itemsOfSplit, type Listing } from '../../../runtime/data/listing.ts';
import { bloodCells, errorOf, folderOf } from './files.ts';

const rows = ({ root, items, classes }: Listing) =>
  items.map(({ path, label, split, group }) => [path.slice(root.length + 1).replaceAll('\\', '/'), classes[label], split, group]);

describe('readListing of folders', () => {
  it('reads class folders, in alphabetical order, with images of any extension and case, in folders below too', () => {
    const root = folderOf([
      'dog/b.JPG',
      'dog/deep/a.png',
      'cat/2.webp',
      'cat/10.tiff',
      'cat/.hidden.png',
      '.git/x.png',
      '__MACOSX/dog/b.jpg',
    ]);
    const listing = readListing(root);
    expect(listing.classes).toEqual(['cat', 'dog']);
    expect(rows(listing)).toEqual([
      ['cat/10.tiff', 'cat', null, null],
      ['cat/2.webp', 'cat', null, null],
      ['dog/b.JPG', 'dog', null, null],
      ['dog/deep/a.png', 'dog', null, null],
    ]);
    expect(listing.splits).toEqual([]);
    expect(listing.notes).toEqual([]);
  });

  it('names files that are not counted', () => {
    const root = folderOf(['a/1.png', 'a/readme.txt', 'b/1.png', 'loose.png', 'labels.csv']);
    expect(readListing(root).notes).toEqual([
      `3 files are not counted, not being an image in a class folder: labels.csv, loose.png, ${join('a', 'readme.txt')}.`,
    ]);
  });

  it.each([
    [
      ['TRAIN', 'TEST', 'TEST_SIMPLE'],
      ['TRAIN', 'TEST', 'TEST_SIMPLE'],
    ],
    [
      ['test', 'valid', 'train'],
      ['train', 'valid', 'test'],
    ],
    [
      ['Validation', 'Training'],
      ['Training', 'Validation'],
    ],
  ])('understands splits %j', (folders, splits) => {
    const listing = readListing(folderOf(folders.flatMap((split) => [`${split}/x/1.png`, `${split}/y/1.png`])));
    expect(listing.splits).toEqual(splits);
    expect(rows(listing)).toEqual(
      splits.flatMap((split) => ['x', 'y'].map((name) => [`${split}/${name}/1.png`, name, split, null])),
    );
  });

  it('finds splits by name in any case and by role', () => {
    const listing = readListing(
      folderOf(['Training', 'valid', 'TEST', 'TEST_SIMPLE'].flatMap((s) => [`${s}/x/1.png`, `${s}/y/1.png`])),
    );
    const of = (name: string) => [...new Set(itemsOfSplit(listing, name).map((i) => listing.items[i].split))];
    expect(of('train')).toEqual(['Training']);
    expect(of('val')).toEqual(['valid']);
    expect(of('test')).toEqual(['TEST']);
    expect(of('test_simple')).toEqual(['TEST_SIMPLE']);
    expect(itemsOfSplit(listing, 'all')).toHaveLength(8);
  });

  it('looks inside the folder given', () => {
    const inside = 'dataset2-master/dataset2-master/images';
    const kaggle = folderOf([
      `${inside}/TRAIN/x/1.png`,
      `${inside}/TRAIN/y/1.png`,
      'dataset-master/dataset-master/JPEGImages/1.jpg',
    ]);
    expect(readListing(kaggle).root).toBe(join(kaggle, inside));
    const chain = folderOf(['archive/data/x/1.png', 'archive/data/y/1.png']);
    expect(readListing(chain).classes).toEqual(['x', 'y']);
  });

  it('takes groups from originals.csv by split, class and file', () => {
    const root = folderOf([
      ...['TRAIN/x/1.png', 'TRAIN/y/1.png', 'TEST/x/1.png', 'TEST/y/1.png'],
      ['originals.csv', 'split,class,file,original,group\nTRAIN,x,1.png,o,g1\nTRAIN,y,1.png,o,g2\nTEST,x,1.png,o,g3\n'],
    ]);
    const listing = readListing(root);
    expect(listing.items.map(({ group }) => group)).toEqual(['g1', 'g2', 'g3', null]);
    expect(listing.notes).toEqual([`1 of 4 images is not in ${join(root, 'originals.csv')}.`]);
  });

  it('follows links, also one to a folder above', () => {
    const root = folderOf(['x/1.png', 'elsewhere/2.png']);
    mkdirSync(join(root, 'data', 'y'), { recursive: true });
    symlinkSync(join(root, 'x'), join(root, 'data', 'x'));
    symlinkSync(join(root, 'elsewhere', '2.png'), join(root, 'data', 'y', '2.png'));
    symlinkSync(join(root, 'data', 'y'), join(root, 'data', 'y', 'loop'));
    expect(rows(readListing(join(root, 'data'))).map(([path]) => path)).toEqual(['x/1.png', 'y/2.png']);
  });

  it("keeps a model's classes in their order, absent ones included", () => {
    const root = folderOf(['b/1.png', 'c/1.png']);
    const listing = readListing(root, { classes: ['c', 'a', 'b'] });
    expect(rows(listing)).toEqual([
      ['b/1.png', 'b', null, null],
      ['c/1.png', 'c', null, null],
    ]);
    expect(listing.items.map(({ label }) => label)).toEqual([2, 0]);
  });
});

describe('bad data folders', () => {
  it.each<[string, string, string[], string]>([
    ['an empty folder', 'DATA_EMPTY', [], 'no images'],
    ['a folder without images', 'DATA_EMPTY', ['x/a.txt', 'y/b.txt'], 'no images'],
    ['one class', 'DATA_ONE_CLASS', ['x/1.png'], '"x"'],
    ['a class without images', 'DATA_CLASS_EMPTY', ['x/1.png', 'y/1.txt', 'z/1.png'], 'the class "y" has no images'],
    [
      'a class without images in a split',
      'DATA_CLASS_EMPTY',
      ['train/x/1.png', 'train/y/1.png', 'test/x/1.png', 'test/y/1.txt'],
      'in test',
    ],
    [
      'a class that TEST lacks',
      'DATA_CLASSES_DIFFER',
      ['train/x/1.png', 'train/y/1.png', 'test/x/1.png'],
      '"y" of train is not in test',
    ],
    [
      'a class that TRAIN lacks',
      'DATA_CLASSES_DIFFER',
      ['train/x/1.png', 'test/y/1.png', 'test/x/1.png'],
      '"y" of test is not in train',
    ],
    ['images without class folders', 'DATA_LAYOUT', ['1.png', '2.png'], 'no class folders'],
    [
      'a split of images',
      'DATA_LAYOUT',
      ['train/x/1.png', 'train/y/1.png', 'test/1.png'],
      'test holds images and no class folders',
    ],
    ['two folders for validation', 'DATA_LAYOUT', ['train/x/1.png', 'val/x/1.png', 'valid/x/1.png'], 'val and valid'],
    ['folds', 'DATA_LAYOUT', ['fold_0/x/1.png', 'fold_0/y/1.png', 'fold_1/x/1.png', 'fold_1/y/1.png'], 'not clear'],
  ])('refuses %s', async (_, code, files, sentence) => {
    const root = folderOf(files);
    const error = await errorOf(() => readListing(root));
    expect(error.code).toBe(code);
    expect(error.message).toContain(sentence);
    expect(error.where).toContain(root);
    expect(error.hint).toBeTruthy();
  });

  it('refuses a path that does not exist and a file that is no CSV', async () => {
    const root = folderOf(['data.bin']);
    expect(await errorOf(() => readListing(join(root, 'nowhere')))).toMatchObject({
      code: 'DATA_MISSING',
      where: join(root, 'nowhere'),
    });
    expect(await errorOf(() => readListing(join(root, 'data.bin', 'x')))).toMatchObject({ code: 'DATA_MISSING' });
    expect(await errorOf(() => readListing(join(root, 'data.bin')))).toMatchObject({ code: 'DATA_LAYOUT' });
  });

  it('refuses a link that leads back to itself, in one sentence', async () => {
    const root = folderOf(['a/1.png', 'b/1.png']);
    const link = join(root, 'b', 'round');
    symlinkSync(link, link);
    const refused = { code: 'DATA_UNREADABLE', message: 'the data cannot be read (ELOOP)', where: link };
    expect(await errorOf(() => readListing(root))).toMatchObject({ ...refused, hint: expect.stringContaining('remove it') });
    expect(await errorOf(() => listImages([join(root, 'b')]))).toMatchObject(refused);
    expect(await errorOf(() => listImages([link]))).toMatchObject(refused);
  });

  it('takes a class folder of any name for what it is', () => {
    const listing = readListing(folderOf(['constructor/1.png', 'toString/1.png']));
    expect(listing.classes).toEqual(['constructor', 'toString']);
    expect(listing.splits).toEqual([]);
  });

  it('refuses a class that the model does not know', async () => {
    const error = await errorOf(() => readListing(folderOf(['a/1.png', 'q/1.png']), { classes: ['a', 'b'] }));
    expect(error).toMatchObject({ code: 'DATA_CLASSES_DIFFER', notes: [{ label: "model's classes", text: 'a, b' }] });
    expect(error.message).toContain('"q"');
  });

  it('refuses an unknown split, naming those that are there', async () => {
    const listing = readListing(folderOf(['train/x/1.png', 'train/y/1.png']));
    const error = await errorOf(() => itemsOfSplit(listing, 'test'));
    expect(error).toMatchObject({ code: 'DATA_SPLIT_UNKNOWN', notes: [{ label: 'splits', text: 'train' }] });
  });
});

describe('listImages', () => {
  it('expands folders recursively and keeps files as they are, each once', () => {
    const root = folderOf(['b.png', 'a/z.jpg', 'a/c/y.png', 'a/notes.txt', 'odd.bin']);
    const odd = join(root, 'odd.bin');
    const below = ['z.jpg', 'c/y.png'].map((name) => join(root, 'a', name));
    expect(listImages([odd, join(root, 'a'), join(root, 'a'), join(root, 'b.png')])).toEqual([
      odd,
      ...below,
      join(root, 'b.png'),
    ]);
  });

  it.skipIf(process.platform === 'win32')(
    'leaves pipes out, which would be waited for (skipped on Windows: no mkfifo)',
    async () => {
      const root = folderOf(['a.png']);
      execFileSync('mkfifo', [join(root, 'pipe.png')]);
      expect(listImages([root])).toEqual([join(root, 'a.png')]);
      await expect(decodeFile(join(root, 'pipe.png'), 8)).rejects.toMatchObject({ code: 'IMAGE_FORMAT' });
    },
  );

  it('refuses a path that does not exist and a folder without images', async () => {
    const root = folderOf(['notes.txt']);
    expect((await errorOf(() => listImages([join(root, 'no.png')]))).code).toBe('DATA_MISSING');
    expect((await errorOf(() => listImages([root]))).code).toBe('DATA_EMPTY');
  });
});

describe.skipIf(!existsSync(bloodCells))('the real blood cells (skipped where ../shared/data/blood-cells is absent)', () => {
  it('has the published counts, and a group for every image', () => {
    const listing = readListing(bloodCells);
    expect(listing.classes).toEqual(['EOSINOPHIL', 'LYMPHOCYTE', 'MONOCYTE', 'NEUTROPHIL']);
    const count = (split: string) => {
      const counts = [0, 0, 0, 0];
      for (const i of itemsOfSplit(listing, split)) counts[listing.items[i].label]++;
      return counts;
    };
    expect(count('TRAIN')).toEqual([2497, 2483, 2478, 2499]);
    expect(count('TEST')).toEqual([623, 620, 620, 624]);
    expect(count('TEST_SIMPLE')).toEqual([13, 6, 4, 48]);
    expect(listing.items.filter(({ group }) => group === null)).toEqual([]);
    expect(listing.notes).toEqual([]);
  });
});
