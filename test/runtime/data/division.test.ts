import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { divide, divideByFold, divideIntoFolds } from '../../../runtime/data/division.ts';
import { readListing } from '../../../runtime/data/layout.ts';
import type { Listing } from '../../../runtime/data/listing.ts';
import { foldsOf } from '../../../runtime/data/partition.ts';
import { sharedBetween } from '../../../runtime/data/shared.ts';
import { bloodCells, errorOf } from './files.ts';

/** A listing of items [class, split, group]. */
function listingOf(items: readonly (readonly [label: number, split: string | null, group: string | null])[]): Listing {
  return {
    root: 'data',
    classes: [...new Set(items.map(([label]) => label))].sort().map((label) => `class ${label}`),
    splits: [...new Set(items.map(([, split]) => split))].filter((split) => split !== null),
    notes: [],
    items: items.map(([label, split, group], i) => ({ path: `data/${i}.png`, label, split, group })),
  };
}

const range = (n: number) => Array.from({ length: n }, (_, i) => i);
const groupsOf = ({ items }: Listing) => items.map(({ group }) => group);

/** Images of each class in a split. */
function counts({ items, classes }: Listing, splits: readonly (string | null)[], split: string | null): number[] {
  return classes.map((_, label) => items.filter((item, i) => item.label === label && splits[i] === split).length);
}

/** 200 images of class 0 in 40 groups, 200 of class 1 in 20, in two splits; no group is in both. */
const grouped = listingOf(
  range(400).map((i) => {
    const group = i < 200 ? `a${i % 40}` : `b${i % 20}`;
    return [i < 200 ? 0 : 1, i % 2 === 0 ? 'TRAIN' : 'TEST', group] as const;
  }),
);

describe('divide', () => {
  it("takes the data's own splits as they are", () => {
    expect(divide(grouped, { by: 'given' })).toEqual({ splits: grouped.items.map(({ split }) => split), notes: [] });
  });

  it('takes validation off the training split, by group where groups are known', () => {
    const { splits, notes } = divide(grouped, { by: 'given', val: 0.2 });
    expect(notes).toEqual([]);
    expect(['TRAIN', 'val', 'TEST'].map((split) => counts(grouped, splits, split))).toEqual([
      [80, 80],
      [20, 20],
      [100, 100],
    ]);
    expect(sharedBetween(splits, groupsOf(grouped))).toEqual([]);
  });

  it('pools splits and divides them by image, which leaks', () => {
    const { splits, notes } = divide(grouped, { by: 'image', pool: ['train', 'TEST'], test: 0.3 });
    expect(['train', 'test', 'val', null].map((split) => counts(grouped, splits, split))).toEqual([
      [140, 140],
      [60, 60],
      [0, 0],
      [0, 0],
    ]);
    expect(notes).toEqual([expect.stringMatching(/^train and test share \d+ groups: \d+ images of train and \d+ of test\.$/)]);
  });

  it('divides by group: no group in two splits, the same for the same seed', () => {
    const { splits, notes } = divide(grouped, { by: 'group', test: 0.25, val: 0.1, seed: 3 });
    expect(notes).toEqual([]);
    expect(['train', 'test', 'val'].map((split) => counts(grouped, splits, split))).toEqual([
      [130, 130],
      [50, 50],
      [20, 20],
    ]);
    expect(sharedBetween(splits, groupsOf(grouped))).toEqual([]);
    expect(divide(grouped, { by: 'group', test: 0.25, val: 0.1, seed: 3 }).splits).toEqual(splits);
    expect(divide(grouped, { by: 'group', test: 0.25, val: 0.1, seed: 4 }).splits).not.toEqual(splits);
  });

  it('leaves out what is not in the pool', () => {
    const { splits, notes } = divide(grouped, { by: 'group', pool: ['TRAIN'], val: 0.5 });
    expect(counts(grouped, splits, null)).toEqual([100, 100]);
    expect(notes).toEqual(['200 images outside the pool are left out.']);
  });

  it('keeps a class with one group in training, and says so', () => {
    const listing = listingOf([
      ...range(20).map((i) => [0, null, `a${i}`] as const),
      ...range(20).map((i) => [1, null, `b${i}`] as const),
      // The only group with class 2 is mostly of class 0.
      ...range(9).map((i) => [i < 6 ? 0 : 2, null, 'only'] as const),
    ]);
    for (const seed of range(10)) {
      const { splits, notes } = divide(listing, { by: 'group', test: 0.3, val: 0.3, seed });
      expect(counts(listing, splits, 'train')[2]).toBe(3);
      expect(notes).toEqual([
        'The class class 2 has one group only, which stays in training: it is in no validation or test made here.',
      ]);
    }
  });

  it('keeps a file that is listed twice on one side, and refuses it in two of the given splits', async () => {
    const listing: Listing = {
      ...grouped,
      root: 'data/all.csv',
      items: grouped.items.map((item, i) => ({ ...item, group: null, line: i + 2, path: `data/${i < 2 ? 'twice' : i}.png` })),
    };
    const { splits } = divide(listing, { by: 'image', test: 0.5 });
    expect(splits[0]).toBe(splits[1]);
    expect(await errorOf(() => divide(listing, { by: 'given' }))).toMatchObject({
      code: 'DATA_SPLIT',
      message: '"twice.png" is listed twice and would be in TRAIN and in TEST',
      where: 'data/all.csv:3',
      notes: [{ label: 'first listed', text: 'data/all.csv:2' }],
      hint: 'keep one of the two rows',
    });
  });

  it('divides by original where no groups are known, and refuses an original in two of the given splits', async () => {
    const listing: Listing = {
      ...grouped,
      items: grouped.items.map(({ group, ...item }) => ({ ...item, group: null, original: group! })),
    };
    const originals = listing.items.map(({ original }) => original!);
    const { splits, notes } = divide(listing, { by: 'group', test: 0.25, val: 0.1, seed: 3 });
    expect(splits).toEqual(divide(grouped, { by: 'group', test: 0.25, val: 0.1, seed: 3 }).splits);
    expect(notes).toEqual(['No groups are known, so originals serve as groups.']);
    expect(sharedBetween(splits, originals)).toEqual([]);
    const crossing = {
      ...listing,
      items: listing.items.map((item, i) => (i === 0 ? { ...item, original: originals[1] } : item)),
    };
    expect(divide(crossing, { by: 'given' }).notes).toEqual(['TRAIN and TEST share 1 original: 1 image of TRAIN and 5 of TEST.']);
    expect(await errorOf(() => divide(crossing, { by: 'group' }))).toMatchObject({
      code: 'DATA_GROUP_SPLIT',
      message: `the original "${originals[1]}" is in TRAIN and in TEST, so the data are not divided by original`,
      notes: [{ label: '1 such original' }],
    });
  });

  it.each<[string, Listing, Parameters<typeof divide>[1], string, string]>([
    [
      'a group in two splits of a division by group',
      listingOf([
        [0, 'train', 'g1'],
        [1, 'train', 'g2'],
        [0, 'test', 'g3'],
        [1, 'test', 'g2'],
      ]),
      { by: 'group' },
      'DATA_GROUP_SPLIT',
      'the group "g2" is in train and in test',
    ],
    ['given splits that are not there', listingOf([[0, null, 'g']]), { by: 'given' }, 'DATA_SPLIT', 'no splits'],
    ['given splits to be pooled', grouped, { by: 'given', test: 0.5 }, 'DATA_SPLIT', 'cannot be pooled'],
    ['an unknown split', grouped, { by: 'image', pool: ['DEV'], test: 0.5 }, 'DATA_SPLIT_UNKNOWN', '"DEV"'],
    [
      'groups that are not known',
      listingOf(range(9).map(() => [0, null, null])),
      { by: 'group', test: 0.3 },
      'DATA_SPLIT',
      'no groups',
    ],
    ['nothing to train on', grouped, { by: 'group', test: 0.5, val: 0.5 }, 'DATA_SPLIT', 'nothing to train on'],
    ['a part below 0', grouped, { by: 'group', test: -1 }, 'DATA_SPLIT', 'a part of -1'],
    [
      'two groups of which none can go',
      listingOf([
        [0, null, 'a'],
        [1, null, 'b'],
      ]),
      { by: 'group', test: 0.5 },
      'DATA_SPLIT',
      '50 % of the images, by group, is no image',
    ],
  ])('refuses %s', async (_, listing, division, code, sentence) => {
    const error = await errorOf(() => divide(listing, division));
    expect(error.code).toBe(code);
    expect(error.message).toContain(sentence);
    expect(error.hint).toBeTruthy();
  });
});

describe('folds', () => {
  it('have each group once, and each class in proportion', () => {
    const { folds, notes } = divideIntoFolds(grouped, { by: 'group', folds: 5, seed: 1 });
    expect(notes).toEqual([]);
    const names = folds.map(String);
    for (const fold of range(5)) expect(counts(grouped, names, String(fold))).toEqual([40, 40]);
    expect(sharedBetween(names, groupsOf(grouped))).toEqual([]);
  });

  it('balance groups of unequal size better than their largest group', () => {
    const labels = range(1000).map((i) => i % 3);
    const groups = labels.map((label, i) => `${label}-${(i * i) % (37 + 10 * label)}`);
    const folds = foldsOf({ labels, groups }, 4, 0);
    for (const label of [0, 1, 2]) {
      const own = range(1000).filter((i) => labels[i] === label);
      const largest = Math.max(...own.map((i) => own.filter((j) => groups[j] === groups[i]).length));
      const sizes = range(4).map((fold) => own.filter((i) => folds[i] === fold).length);
      expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(largest);
    }
  });

  it('become divisions: one is the test, validation comes from the others', () => {
    const folds = divideIntoFolds(grouped, { by: 'group', folds: 4 });
    const tested = range(4).map((fold) => {
      const { splits } = divideByFold(grouped, folds, fold, { by: 'group', val: 0.2 });
      expect(['train', 'val', 'test'].map((split) => counts(grouped, splits, split))).toEqual([
        [120, 120],
        [30, 30],
        [50, 50],
      ]);
      expect(sharedBetween(splits, groupsOf(grouped))).toEqual([]);
      return range(400).filter((i) => splits[i] === 'test');
    });
    expect(tested.flat().toSorted((a, b) => a - b)).toEqual(range(400));
  });

  it('train always on a class with one group', () => {
    const listing = listingOf([
      ...range(20).map((i) => [0, null, `a${i % 5}`] as const),
      ...range(20).map((i) => [1, null, `b${i % 5}`] as const),
      [2, null, 'only'],
    ]);
    const folds = divideIntoFolds(listing, { by: 'group', folds: 5 });
    expect(folds.folds[40]).toBe('train');
    expect(folds.notes).toEqual([expect.stringContaining('class 2 has one group only')]);
    for (const fold of range(5)) expect(divideByFold(listing, folds, fold, { by: 'group' }).splits[40]).toBe('train');
  });

  it('say which class has fewer groups than folds, and refuse fewer groups than folds in all', async () => {
    const listing = listingOf([...range(20).map((i) => [0, null, `a${i}`] as const), [1, null, 'b0'], [1, null, 'b1']]);
    expect(divideIntoFolds(listing, { by: 'group', folds: 3 }).notes).toEqual(['Too few groups: class 1 is not in every fold.']);
    expect(await errorOf(() => divideIntoFolds(listing, { by: 'group', folds: 23 }))).toMatchObject({
      code: 'DATA_SPLIT',
      message: '23 folds need 23 groups, and there are 22',
    });
  });

  it('say that the group which is missing stays in training', async () => {
    const listing = listingOf([
      [0, null, 'a'],
      [0, null, 'b'],
      [1, null, 'only'],
    ]);
    expect((await errorOf(() => divideIntoFolds(listing, { by: 'group', folds: 3 }))).message).toBe(
      '3 folds need 3 groups, and there are 2 besides the only group of class 1, kept in training',
    );
  });

  it('note groups that a fold by image has in training and in the test', () => {
    const folds = divideIntoFolds(grouped, { by: 'image', folds: 4 });
    const { splits, notes } = divideByFold(grouped, folds, 0, { by: 'image' });
    const [{ count, images }] = sharedBetween(splits, groupsOf(grouped));
    expect(notes).toEqual([`train and test share ${count} groups: ${images.train} images of train and ${images.test} of test.`]);
  });
});

describe.skipIf(!existsSync(bloodCells))('the real blood cells (skipped where ../shared/data/blood-cells is absent)', () => {
  const listing = existsSync(bloodCells) ? readListing(bloodCells) : grouped;

  it('share 6 groups between TRAIN and TEST, with 228 images of TEST, and no original', () => {
    const splits = listing.items.map(({ split }) => split);
    const between = (names: readonly (string | null)[]) =>
      sharedBetween(splits, names).find(({ splits: [a, b] }) => a === 'TRAIN' && b === 'TEST');
    const shared = between(groupsOf(listing));
    expect(shared).toMatchObject({ count: 6, images: { TRAIN: 216, TEST: 228 } });
    expect(shared!.names.toSorted()).toEqual(['g204', 'g223', 'g230', 'g364', 'g365', 'g377']);
    const originals = listing.items.map(({ original }) => original ?? null);
    expect(originals.filter((name) => name === null)).toEqual([]);
    expect(new Set(originals).size).toBe(348);
    expect(between(originals)).toBeUndefined();
  });

  it('are refused as a division by group, and named', async () => {
    expect(await errorOf(() => divide(listing, { by: 'group' }))).toMatchObject({
      code: 'DATA_GROUP_SPLIT',
      message: expect.stringMatching(/^the group "g\d+" is in TRAIN and in TEST/),
    });
  });

  it("pool to the paper's 70:30 of 12,515, in which nearly every group leaks", () => {
    const { splits, notes } = divide(listing, { by: 'image', pool: ['TRAIN', 'TEST', 'TEST_SIMPLE'], test: 0.3 });
    // Of each class 30 %, to the image.
    const total = [3133, 3109, 3102, 3171];
    counts(listing, splits, 'test').forEach((count, label) => {
      expect(Math.abs(count - 0.3 * total[label])).toBeLessThanOrEqual(0.5);
    });
    expect(notes).toEqual([
      expect.stringMatching(/^train and test share 3\d\d groups: /),
      expect.stringMatching(/^train and test share 3\d\d originals: /),
    ]);
    const [shared] = sharedBetween(splits, groupsOf(listing));
    expect(shared.count).toBeGreaterThan(300);
  });

  it('divide into 5 folds by group, of MONOCYTE with its 18 groups too', () => {
    const { folds, notes } = divideIntoFolds(listing, { by: 'group', folds: 5 });
    expect(notes).toEqual([]);
    const names = folds.map(String);
    expect(sharedBetween(names, groupsOf(listing))).toEqual([]);
    const shares = range(5).flatMap((fold) =>
      counts(listing, names, String(fold)).map((count, c) => count / [3133, 3109, 3102, 3171][c]),
    );
    // The largest group of MONOCYTE has 310 of 3,102 images.
    for (const share of shares) expect(Math.abs(share - 0.2)).toBeLessThan(0.07);
  });
});
