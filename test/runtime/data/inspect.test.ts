import { cpSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { random } from '../../../numeric/random.ts';
import { contactSheet, sheetFormat } from '../../../runtime/data/contact-sheet.ts';
import { inspect } from '../../../runtime/data/inspect.ts';
import { readListing } from '../../../runtime/data/layout.ts';
import { bloodCells, folderOf, temporaryFolder } from './files.ts';

/** A picture of 48 x 32 pixels of coloured spots. */
function spots(seed: string) {
  const next = random('spots', seed);
  const blob = () =>
    `<circle cx="${next() * 48}" cy="${next() * 32}" r="${4 + next() * 8}" fill="hsl(${next() * 360},80%,${20 + next() * 60}%)"/>`;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="48" height="32"><rect width="48" height="32" fill="#ccc"/>${Array.from({ length: 6 }, blob).join('')}</svg>`;
  return sharp(Buffer.from(svg)).flatten();
}

async function write(path: string, image: ReturnType<typeof sharp>): Promise<void> {
  mkdirSync(dirname(path), { recursive: true });
  await image.toFile(path);
}

/** Two splits of two classes with everything that can be wrong. */
async function faulty(): Promise<string> {
  const root = temporaryFolder();
  const at = (...names: string[]) => join(root, ...names);
  for (const split of ['train', 'test']) {
    for (const name of ['x', 'y'])
      for (const i of [1, 2, 3]) await write(at(split, name, `${i}.png`), spots(split + name + i).png());
  }
  // A copy under another label; a mirrored one in another split and format; one that is cut off; an empty one; one of one colour.
  cpSync(at('train', 'x', '1.png'), at('train', 'y', 'copy.png'));
  await write(at('test', 'x', 'mirror.jpg'), spots('trainx2').flop().jpeg());
  const whole = await spots('cut').jpeg().toBuffer();
  writeFileSync(at('train', 'y', 'cut.jpg'), whole.subarray(0, whole.length / 2));
  writeFileSync(at('test', 'y', 'empty.png'), '');
  await write(
    at('test', 'y', 'plain.png'),
    sharp({ create: { width: 20, height: 20, channels: 3, background: '#345' } })

      .toColourspace('b-w')
      .png(),
  );
  const rows = ['train,x,1.png,g1,o1', 'train,x,2.png,g2,o2', 'train,y,1.png,g3,o3', 'test,x,1.png,g1,o9', 'test,y,1.png,g1,o8'];
  writeFileSync(at('originals.csv'), `split,class,file,group,original\n${rows.join('\n')}\n`);
  return root;
}

describe('inspect', () => {
  it('finds what is wrong', async () => {
    const found = await inspect(readListing(await faulty()));
    expect(found).toMatchObject({
      images: 17,
      classes: ['x', 'y'],
      splits: { train: { x: 3, y: 5 }, test: { x: 4, y: 5 } },
      groups: { train: { x: 2, y: 1 }, test: { x: 1, y: 1 } },
      originals: { train: { x: 2, y: 1 }, test: { x: 1, y: 1 } },
      unreadable: [
        { path: 'train/y/cut.jpg', code: 'IMAGE_DAMAGED' },
        { path: 'test/y/empty.png', code: 'IMAGE_EMPTY' },
      ],
      changed: [],
      duplicates: [['train/x/1.png', 'train/y/copy.png']],
      duplicatesShared: [],
      groupsShared: [{ splits: ['train', 'test'], count: 1, names: ['g1'], images: { train: 1, test: 2 } }],
      originalsShared: [],
      nearDuplicates: [
        { splits: ['train', 'test'], count: 1, images: { train: 1, test: 1 }, pairs: [['train/x/2.png', 'test/x/mirror.jpg']] },
      ],
      nearDuplicatesWithin: [],
      sizes: { '48x32': 14, '20x20': 1 },
      modes: { 'PNG RGB': 13, 'JPEG RGB': 1, 'PNG grey': 1 },
    });
    expect(found.labelConflicts).toEqual([
      {
        by: 'bytes',
        name: expect.stringMatching(/^[0-9a-f]{64}$/),
        classes: { x: 1, y: 1 },
        originals: { x: ['o1'], y: [] },
        paths: ['train/x/1.png', 'train/y/copy.png'],
      },
      { by: 'group', name: 'g1', classes: { x: 2, y: 1 }, originals: { x: ['o1', 'o9'], y: ['o8'] } },
    ]);
  });

  it('pairs each copy of one of two that look alike, and tells labels apart', async () => {
    const root = temporaryFolder();
    await write(join(root, 'a', '1.png'), spots('one').png());
    cpSync(join(root, 'a', '1.png'), join(root, 'a', '2.png'));
    await write(join(root, 'b', 'small.png'), spots('one').resize(24, 16).png());
    const { splits, nearDuplicates, nearDuplicatesWithin, labelConflicts } = await inspect(readListing(root));
    expect(splits).toEqual({ all: { a: 2, b: 1 } });
    expect(nearDuplicates).toEqual([]);
    expect(nearDuplicatesWithin).toEqual([
      {
        splits: ['all', 'all'],
        count: 2,
        images: { all: 3 },
        pairs: [
          ['a/1.png', 'b/small.png'],
          ['a/2.png', 'b/small.png'],
        ],
      },
    ]);
    expect(labelConflicts.map(({ by, classes }) => [by, classes])).toEqual([
      ['look', { a: 1, b: 1 }],
      ['look', { a: 1, b: 1 }],
    ]);
  });

  it('names files whose bytes are not those that a CSV states', async () => {
    const root = folderOf([['list.csv', `path,label,hash\na.png,a,${'0'.repeat(64)}\nb.png,b,\n`]]);
    await write(join(root, 'a.png'), spots('a').png());
    await write(join(root, 'b.png'), spots('b').png());
    expect((await inspect(readListing(join(root, 'list.csv')))).changed).toEqual(['a.png']);
  });
});

describe('contactSheet', () => {
  it.each(['png', 'jpeg', 'webp'] as const)(
    'is a %s with a row for each split and class, and a cross for a damaged image',
    async (format) => {
      const { bytes, notes } = await contactSheet(readListing(await faulty()), format);
      const { data, info } = await sharp(bytes).raw().toBuffer({ resolveWithObject: true });
      // Four rows of 96 pixels and 4 between; labels of 220 and ten pictures.
      expect([(await sharp(bytes).metadata()).format, info.width, info.height, notes]).toEqual([format, 1220, 404, []]);
      const pixel = (x: number, y: number) => [...data.subarray((y * info.width + x) * info.channels).subarray(0, 3)];
      const dark = (x0: number, y0: number, x1: number, y1: number) => {
        let count = 0;
        for (let y = y0; y < y1; y++) for (let x = x0; x < x1; x++) if (pixel(x, y)[1] < 128) count++;
        return count;
      };
      // There is text beside each row.
      for (let row = 0; row < 4; row++) expect(dark(0, 4 + row * 100, 200, 100 + row * 100)).toBeGreaterThan(100);
      // train y has five images, ordered by group: four of them can be drawn, the sixth place is empty.
      expect(dark(220 + 5 * 100, 104, 1220, 200)).toBe(0);
      expect(pixel(1219, 403)).toEqual([255, 255, 255]);
    },
  );

  it('takes the format from the name', () => {
    expect(['a.png', 'a.JPG', 'a.jpeg', 'b.webp', 'png', 'a.gif', 'constructor'].map(sheetFormat)).toEqual([
      'png',
      'jpeg',
      'jpeg',
      'webp',
      'png',
      null,
      null,
    ]);
  });
});

describe.skipIf(!existsSync(bloodCells))('the real blood cells (skipped where ../shared/data/blood-cells is absent)', () => {
  it('have two pairs of the same bytes in TEST_SIMPLE, and the groups with two labels, 206 and 278 among them', async () => {
    const { items, ...listing } = readListing(bloodCells);
    const some = items.filter(({ split, group }) => split === 'TEST_SIMPLE' || group === 'g206');
    const { duplicates, unreadable, labelConflicts, sizes } = await inspect({ ...listing, items: some });
    expect(duplicates).toEqual([
      ['TEST_SIMPLE/EOSINOPHIL/_0_5239.jpeg', 'TEST_SIMPLE/EOSINOPHIL/_4_8814.jpeg'],
      ['TEST_SIMPLE/EOSINOPHIL/_1_5031.jpeg', 'TEST_SIMPLE/EOSINOPHIL/_6_7701.jpeg'],
    ]);
    expect(unreadable).toEqual([]);
    expect(sizes).toEqual({ '320x240': 71 + 93 + 156 });
    expect(labelConflicts).toContainEqual({
      by: 'group',
      name: 'g206',
      classes: { MONOCYTE: 156, LYMPHOCYTE: 93 },
      originals: { LYMPHOCYTE: ['BloodImage_00206.jpg'], MONOCYTE: ['BloodImage_00278.jpg'] },
    });
  });
});
