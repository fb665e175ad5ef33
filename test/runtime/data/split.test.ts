import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { readListing } from '../../../runtime/data/layout.ts';
import type { Listing } from '../../../runtime/data/listing.ts';
import { partition } from '../../../runtime/data/partition.ts';
import { chooseParts, parseSplit } from '../../../runtime/data/split.ts';
import { bloodCells, errorOf } from './files.ts';

/** A listing of items [class, split, group]. */
function listingOf(items: readonly (readonly [label: number, split: string | null, group: string | null])[]): Listing {
  const classes = [...new Set(items.map(([label]) => label))].sort().map((label) => `class ${label}`);
  return {
    root: 'data',
    classes,
    splits: [...new Set(items.map(([, split]) => split))].filter((split) => split !== null),
    notes: [],
    items: items.map(([label, split, group], i) => ({ path: `data/${i}.png`, label, split, group })),
  };
}

const range = (n: number) => Array.from({ length: n }, (_, i) => i);
const groupsOf = (listing: Listing, part: readonly number[]) => new Set(part.map((i) => listing.items[i].group));
const countsOf = (listing: Listing, part: readonly number[]) =>
  listing.classes.map((_, c) => part.filter((i) => listing.items[i].label === c).length);

describe('chooseParts', () => {
  it('splits off 15 % of TRAIN by group, with each class in proportion', () => {
    // Class 0: 40 groups of 5; class 1: 20 groups of 10; test shares nothing.
    const listing = listingOf([
      ...range(200).map((i) => [0, 'TRAIN', `a${i % 40}`] as const),
      ...range(200).map((i) => [1, 'TRAIN', `b${i % 20}`] as const),
      ...range(10).map((i) => [i % 2, 'TEST', `t${i}`] as const),
    ]);
    const parts = chooseParts(listing);
    expect(countsOf(listing, parts.val)).toEqual([30, 30]);
    expect(countsOf(listing, parts.train)).toEqual([170, 170]);
    expect(parts.test).toEqual(range(10).map((i) => 400 + i));
    expect([...groupsOf(listing, parts.val)].filter((group) => groupsOf(listing, parts.train).has(group))).toEqual([]);
    expect([...parts.train, ...parts.val].sort((a, b) => a - b)).toEqual(range(400));
    expect(parts.sources).toEqual({ train: 'TRAIN', val: '15 % of TRAIN by group', test: 'TEST' });
    expect(parts.notes).toEqual([]);
  });

  it('depends on the seed only', () => {
    const listing = listingOf(range(100).map((i) => [i % 2, 'TRAIN', `g${i}`]));
    expect(chooseParts(listing, { seed: 3 })).toEqual(chooseParts(listing, { seed: 3 }));
    expect(chooseParts(listing, { seed: 3 }).val).not.toEqual(chooseParts(listing, { seed: 4 }).val);
  });

  it('splits by original where no groups are known', () => {
    const listing = listingOf(range(200).map((i) => [i % 2, 'TRAIN', null]));
    const items = listing.items.map((item, i) => ({ ...item, original: `o${i >> 2}` }));
    const { train, val, sources, notes } = chooseParts({ ...listing, items });
    const originals = (part: readonly number[]) => new Set(part.map((i) => items[i].original));
    expect([...originals(val)].filter((original) => originals(train).has(original))).toEqual([]);
    expect(sources.val).toBe('15 % of TRAIN by original');
    expect(notes).toEqual(['No groups are known, so originals serve as groups.']);
  });

  it('keeps a group whole that has images of two classes', () => {
    const listing = listingOf([
      ...range(60).map((i) => [0, 'TRAIN', i < 20 ? 'both' : `a${i % 10}`] as const),
      ...range(60).map((i) => [1, 'TRAIN', i < 10 ? 'both' : `b${i % 10}`] as const),
    ]);
    for (const seed of range(20)) {
      const { train, val } = chooseParts(listing, { seed });
      expect([...groupsOf(listing, val)].filter((group) => groupsOf(listing, train).has(group))).toEqual([]);
      expect(countsOf(listing, val).every((count) => count > 0)).toBe(true);
    }
  });

  it('splits by file, with a warning, where no groups are known', () => {
    const listing = listingOf(range(200).map((i) => [i % 2, 'TRAIN', null]));
    const parts = chooseParts(listing);
    expect(countsOf(listing, parts.val)).toEqual([15, 15]);
    expect(parts.sources.val).toBe('15 % of TRAIN by file');
    expect(parts.notes).toHaveLength(1);
    expect(parts.notes[0]).toMatch(/^Split by file: no groups are known/);
  });

  it('keeps a file on one side that is listed twice', () => {
    const once = listingOf(range(40).map((i) => [i % 2, null, null]));
    const twice = { ...once, items: [...once.items, ...once.items] };
    const { train, val, test } = chooseParts(twice);
    const paths = [train, val, test].map((part) => new Set(part.map((i) => twice.items[i].path)));
    expect(paths.map((set) => set.size).reduce((a, b) => a + b)).toBe(40);
  });

  it('takes 15 % for validation and 15 % for test where the data has no splits', () => {
    const listing = listingOf(range(2000).map((i) => [i % 4, null, `g${i % 400}`]));
    const parts = chooseParts(listing);
    expect([parts.train, parts.val, parts.test].map((part) => part.length)).toEqual([1400, 300, 300]);
    const groups = [parts.train, parts.val, parts.test].map((part) => groupsOf(listing, part));
    expect(groups.map((set) => set.size).reduce((a, b) => a + b)).toBe(400);
    expect(countsOf(listing, parts.test)).toEqual([75, 75, 75, 75]);
    expect(parts.sources).toEqual({
      train: 'all images',
      val: '15 % of all images by group',
      test: '15 % of all images by group',
    });
  });

  it("uses the data's own validation split, a named one, or none", () => {
    const listing = listingOf(
      ['train', 'valid', 'TEST', 'TEST_SIMPLE'].flatMap((split) => range(4).map((i) => [i % 2, split, `${split}${i}`] as const)),
    );
    expect(chooseParts(listing)).toMatchObject({ train: range(4), val: [4, 5, 6, 7], test: [8, 9, 10, 11], notes: [] });
    expect(chooseParts(listing, { val: 'none' })).toMatchObject({ train: range(4), val: [], test: [8, 9, 10, 11] });
    expect(chooseParts(listing, { val: 'test_simple' }).val).toEqual([12, 13, 14, 15]);
    expect(chooseParts(listing, { test: 'TEST_SIMPLE' }).test).toEqual([12, 13, 14, 15]);
    expect(chooseParts(listing, { val: 'none', test: 'none' })).toMatchObject({ train: range(4), val: [], test: [] });
    const onTest = chooseParts(listing, { val: 'TEST' });
    expect(onTest).toMatchObject({ val: [8, 9, 10, 11], test: [], sources: { test: 'none' } });
    expect(onTest.notes).toEqual(['TEST is used for validation, so there is no test.']);
  });

  it("says which groups the data's own splits share", () => {
    const listing = listingOf([
      ...range(8).map((i) => [i % 2, 'train', `g${i}`] as const),
      [0, 'test', 'g0'],
      [1, 'test', 'g1'],
      [1, 'test', 'new'],
    ]);
    expect(chooseParts(listing, { val: 'none' }).notes).toEqual([
      "The data's own splits share 2 groups: 2 of 3 images of test have a relative in train.",
    ]);
  });

  it('says which class has too few groups', () => {
    const listing = listingOf([
      ...range(20).map((i) => [0, 'train', `a${i}`] as const),
      ...range(20).map(() => [1, 'train', 'only'] as const),
    ]);
    const parts = chooseParts(listing);
    expect(countsOf(listing, parts.val)).toEqual([3, 0]);
    expect(parts.notes).toEqual(['Too few groups: class 1 is not in every part.']);
  });

  it.each([
    ['only TEST', [[0, 'TEST', null]], {}, 'DATA_SPLIT', 'no split to train on'],
    ['an unknown name', [[0, 'train', null]], { val: 'dev2' }, 'DATA_SPLIT_UNKNOWN', '"dev2"'],
    ['"all" as a name', [[0, 'train', null]], { val: 'all' }, 'DATA_SPLIT_UNKNOWN', '"all"'],
    ['train as test', [[0, 'train', null]], { test: 'TRAIN', val: 'none' }, 'DATA_SPLIT', 'trains on'],
    [
      'one split twice',
      [
        [0, 'train', null],
        [0, 'test', null],
      ],
      { val: 'test', test: 'test' },
      'DATA_SPLIT',
      'both test',
    ],
    ['fractions of 1', [[0, null, null]], { val: 0.5, test: 0.5 }, 'DATA_SPLIT', 'nothing to train on'],
    [
      'one group',
      [
        [0, 'train', 'g'],
        [1, 'train', 'g'],
      ],
      {},
      'DATA_SPLIT',
      'cannot be divided',
    ],
  ] as const)('refuses %s', async (_, items, options, code, sentence) => {
    const error = await errorOf(() => chooseParts(listingOf(items), options));
    expect(error.code).toBe(code);
    expect(error.message).toContain(sentence);
  });

  it('reads fractions and names', async () => {
    expect(parseSplit('0.2')).toBe(0.2);
    expect(parseSplit('NONE')).toBe('none');
    expect(parseSplit('TEST_SIMPLE')).toBe('TEST_SIMPLE');
    for (const text of ['0', '1', '-0.1', '15']) expect((await errorOf(() => parseSplit(text))).code).toBe('DATA_SPLIT');
  });
});

describe('partition', () => {
  it('is nearer to the fraction than half of a group', () => {
    const labels = range(1000).map((i) => i % 3);
    const groups = labels.map((label, i) => `${label}-${(i * i) % (17 + 10 * label)}`);
    for (const seed of range(10)) {
      const parts = partition({ labels, groups }, [0.2, 0.1], seed);
      for (const label of [0, 1, 2]) {
        const ofLabel = range(1000).filter((i) => labels[i] === label);
        const sizes = new Map<string, number>();
        for (const i of ofLabel) sizes.set(groups[i], (sizes.get(groups[i]) ?? 0) + 1);
        const half = Math.max(...sizes.values()) / 2;
        [0.2, 0.1].forEach((fraction, p) => {
          const got = ofLabel.filter((i) => parts[i] === p + 1).length;
          expect(Math.abs(got - fraction * ofLabel.length)).toBeLessThanOrEqual(half);
        });
      }
    }
  });

  it('leaves nothing to divide in peace', () => {
    expect(partition({ labels: [], groups: [] }, [0.5], 0)).toEqual(new Uint8Array(0));
  });
});

describe.skipIf(!existsSync(bloodCells))('the real blood cells (skipped where ../shared/data/blood-cells is absent)', () => {
  it('leaks no group from TRAIN into validation, and says what TEST shares', () => {
    const listing = readListing(bloodCells);
    const { train, val, test, notes } = chooseParts(listing);
    expect([train.length + val.length, test.length]).toEqual([9957, 2487]);
    expect([...groupsOf(listing, val)].filter((group) => groupsOf(listing, train).has(group))).toEqual([]);
    // Groups of MONOCYTE have up to 310 of its 2,478 images.
    const shares = countsOf(listing, val).map((count, c) => count / countsOf(listing, [...train, ...val])[c]);
    for (const share of shares) expect(Math.abs(share - 0.15)).toBeLessThan(155 / 2478 + 1e-9);
    expect(notes).toEqual([expect.stringMatching(/^The data's own splits share \d groups: \d+ of 2487 images of TEST/)]);
    expect(chooseParts(listing, { val: 'none' }).notes).toEqual([
      "The data's own splits share 6 groups: 228 of 2487 images of TEST have a relative in TRAIN.",
    ]);
  });
});
