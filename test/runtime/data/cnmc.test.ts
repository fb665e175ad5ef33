import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parseCnmcName } from '../../../runtime/data/cnmc.ts';
import { parseCsv } from '../../../runtime/data/csv.ts';
import { divide, divideIntoFolds } from '../../../runtime/data/division.ts';
import { inspect } from '../../../runtime/data/inspect.ts';
import { readListing } from '../../../runtime/data/layout.ts';
import type { Listing } from '../../../runtime/data/listing.ts';
import { bitmap } from './bitmap.ts';
import { errorOf, folderOf } from './files.ts';

/** The real list of files, which is not in the repository. */
const list = fileURLToPath(new URL('../../../../shared/data/c-nmc-manifest/training_files.csv', import.meta.url));

describe('C-NMC names', () => {
  it.each([
    ['UID_11_1_1_all.bmp', { subject: '11', image: 1, cell: 1, className: 'all' }],
    ['fold_0/hem/UID_H10_3_12_hem.bmp', { subject: 'H10', image: 3, cell: 12, className: 'hem' }],
    ['hem/UID_h3_1_1_hem.png', { subject: 'H3', image: 1, cell: 1, className: 'hem' }],
  ])('%s', (path, name) => {
    expect(parseCnmcName(path)).toEqual(name);
  });

  it.each([
    ['UID_11_1_all.bmp', 'no name of a C-NMC image'],
    ['UID_11_1_1_blast.bmp', 'no name of a C-NMC image'],
    ['UID_X11_1_1_all.bmp', 'no name of a C-NMC image'],
    ['1.bmp', 'no name of a C-NMC image'],
    ['fold_0/hem/UID_11_1_1_all.bmp', 'in the folder hem, and its name says all'],
  ])('refuses %s', async (path, sentence) => {
    const error = await errorOf(() => parseCnmcName(path));
    expect(error).toMatchObject({ code: 'DATA_FILE_NAME', where: path });
    expect(error.message).toContain(`"${path.split('/').at(-1)}"`);
    expect(error.message).toContain(sentence);
  });
});

describe('a folder of C-NMC', () => {
  const names = [
    'fold_0/all/UID_11_1_1_all.bmp',
    'fold_0/hem/UID_H1_1_1_hem.bmp',
    'fold_1/all/UID_12_1_1_all.bmp',
    'fold_1/hem/UID_h2_1_1_hem.bmp',
  ];
  const rows = ({ items, classes }: Listing) => items.map(({ label, split, group }) => [classes[label], split, group]);
  const found = [
    ['all', null, '11'],
    ['hem', null, 'H1'],
    ['all', null, '12'],
    ['hem', null, 'H2'],
  ];

  it('is read from folds, from folders of classes, and flat, by subject', () => {
    const listing = readListing(folderOf(names.map((name) => `C-NMC_training_data/${name}`)));
    expect(listing.classes).toEqual(['all', 'hem']);
    expect(rows(listing)).toEqual(found);
    expect(listing.notes).toEqual(['Not splits, put together: fold_0/, fold_1/ of C-NMC 2019.']);
    const inClasses = readListing(folderOf(names.map((name) => name.slice('fold_0/'.length))));
    expect(rows(inClasses).toSorted()).toEqual(found.toSorted());
    const flat = readListing(folderOf(names.map((name) => name.slice('fold_0/all/'.length))));
    expect(rows(flat).toSorted()).toEqual(found.toSorted());
    expect(flat.notes).toEqual([]);
  });

  it('keeps splits', () => {
    const listing = readListing(
      folderOf(['train/all/UID_1_1_1_all.bmp', 'train/hem/UID_H1_1_1_hem.bmp', 'test/UID_2_1_1_all.bmp']),
    );
    expect(listing.splits).toEqual(['train', 'test']);
    expect(rows(listing)).toEqual([
      ['all', 'train', '1'],
      ['hem', 'train', 'H1'],
      ['all', 'test', '2'],
    ]);
  });

  it('refuses a name that does not parse, naming it', async () => {
    const root = folderOf([...names, 'fold_1/hem/UID_H2_1_hem.bmp']);
    expect(await errorOf(() => readListing(root))).toMatchObject({
      code: 'DATA_FILE_NAME',
      message: expect.stringContaining('"UID_H2_1_hem.bmp"'),
      where: join(root, 'fold_1', 'hem', 'UID_H2_1_hem.bmp'),
    });
  });

  it('has bitmaps that are read', async () => {
    const root = folderOf(names.map((name, i) => [name, bitmap(20 + i, 16, 24)] as const));
    const { images, unreadable, sizes, modes, splits, groups } = await inspect(readListing(root));
    expect({ images, unreadable, modes, splits, groups }).toEqual({
      images: 4,
      unreadable: [],
      modes: { 'BMP 24 bit': 4 },
      splits: { all: { all: 2, hem: 2 } },
      groups: { all: { all: 2, hem: 2 } },
    });
    expect(Object.keys(sizes)).toEqual(['20x16', '21x16', '22x16', '23x16']);
  });
});

describe.skipIf(!existsSync(list))('the real list of C-NMC (skipped where ../shared/data/c-nmc-manifest is absent)', () => {
  const files = () => {
    const { header, rows } = parseCsv(readFileSync(list, 'utf8'), list);
    return rows.map(({ cells }) => Object.fromEntries(header.map((name, i) => [name, cells[i]])));
  };
  const listing = (): Listing => {
    const items = files().map(({ fold, class: folder, file }) => {
      const path = `${fold}/${folder}/${file}`;
      const { subject, className } = parseCnmcName(path);
      return { path, label: className === 'all' ? 0 : 1, split: null, group: subject };
    });
    return { root: list, items, classes: ['all', 'hem'], splits: [], notes: [] };
  };

  it('has names that all parse, to the published counts: 47 and 26 subjects', () => {
    const all = files();
    for (const { file, class: className, subject } of all) expect(parseCnmcName(file)).toMatchObject({ className, subject });
    const { items } = listing();
    const of = (label: number) => items.filter((item) => item.label === label);
    expect([of(0).length, of(1).length]).toEqual([7272, 3389]);
    expect([0, 1].map((label) => new Set(of(label).map(({ group }) => group)).size)).toEqual([47, 26]);
    expect(of(0).filter(({ group }) => group!.startsWith('H'))).toEqual([]);
    expect(of(1).filter(({ group }) => !group!.startsWith('H'))).toEqual([]);
  });

  it('is divided by subject: none of the 73 in two splits, classes in proportion', () => {
    const data = listing();
    for (const seed of [0, 1, 2]) {
      const { splits, notes } = divide(data, { by: 'group', test: 0.2, val: 0.1, seed });
      expect(notes).toEqual([]);
      const places = new Map<string, Set<string | null>>();
      data.items.forEach(({ group }, i) => {
        places.set(group!, (places.get(group!) ?? new Set()).add(splits[i]));
      });
      expect(places.size).toBe(73);
      expect([...places.values()].filter((set) => set.size > 1)).toEqual([]);
      for (const [label, total] of [7272, 3389].entries()) {
        const share = (split: string) =>
          data.items.filter((item, i) => item.label === label && splits[i] === split).length / total;
        // The largest subjects have 7 % of their class's images; the last one taken may miss by half of that.
        expect(Math.abs(share('test') - 0.2)).toBeLessThan(0.05);
        expect(Math.abs(share('val') - 0.1)).toBeLessThan(0.05);
      }
    }
  });

  it('makes five folds by subject, nearly equal in both classes', () => {
    const data = listing();
    const { folds } = divideIntoFolds(data, { by: 'group', folds: 5 });
    const ofSubject = new Map<string, Set<unknown>>();
    data.items.forEach(({ group }, i) => {
      ofSubject.set(group!, (ofSubject.get(group!) ?? new Set()).add(folds[i]));
    });
    expect([...ofSubject.values()].filter((set) => set.size > 1)).toEqual([]);
    for (const [label, total] of [7272, 3389].entries()) {
      for (let fold = 0; fold < 5; fold++) {
        const count = data.items.filter((item, i) => item.label === label && folds[i] === fold).length;
        expect(Math.abs(count / total - 0.2)).toBeLessThan(0.01);
      }
    }
  });
});
