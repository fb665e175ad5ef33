import { describe, expect, it } from 'vitest';
import {
  accuracy,
  addPrediction,
  addScores,
  argmax,
  type Confusion,
  classMetrics,
  createConfusion,
  formatReport,
  report,
} from '../../runtime/metrics.ts';

const names = ['eosinophil', 'lymphocyte', 'monocyte', 'neutrophil'];
/** The clean protocol's result after 16 epochs (rows: truth). */
const clean: Confusion = {
  classes: 4,
  counts: [
    [502, 0, 0, 121],
    [0, 620, 0, 0],
    [0, 0, 465, 155],
    [42, 0, 0, 582],
  ],
};

describe('the confusion matrix of the clean protocol', () => {
  const result = report(clean, names);

  it('has the accuracy and the monocyte recall that were reported', () => {
    expect(result.images).toBe(2487);
    expect(result.accuracy).toBe((502 + 620 + 465 + 582) / 2487);
    expect((100 * result.accuracy).toFixed(1)).toBe('87.2');
    expect(result.classes.monocyte.recall).toBe(0.75);
    expect(result.confusion).toEqual(clean.counts);
  });

  it('has the measures of the neutrophils, worked out by hand', () => {
    // TP 582, FN 42, FP 121 + 155 = 276, TN 2487 − 900 = 1587.
    const { precision, recall, f1, mcc, support } = result.classes.neutrophil;
    expect(support).toBe(624);
    expect(precision).toBeCloseTo(582 / 858, 14);
    expect(recall).toBeCloseTo(582 / 624, 14);
    expect(f1).toBeCloseTo(1164 / 1482, 14);
    expect(mcc).toBeCloseTo((582 * 1587 - 276 * 42) / Math.sqrt(858 * 624 * 1863 * 1629), 14);
  });

  it('has the measures of the eosinophils and of a class without a mistake', () => {
    // TP 502, FN 121, FP 42, TN 1822.
    expect(result.classes.eosinophil).toEqual({
      precision: expect.closeTo(502 / 544, 14),
      recall: expect.closeTo(502 / 623, 14),
      f1: expect.closeTo(1004 / 1167, 14),
      mcc: expect.closeTo((502 * 1822 - 42 * 121) / Math.sqrt(544 * 623 * 1864 * 1943), 14),
      support: 623,
    });
    expect(result.classes.lymphocyte).toEqual({ precision: 1, recall: 1, f1: 1, mcc: expect.closeTo(1, 14), support: 620 });
  });

  it('has macro means over the classes', () => {
    expect(result.macro.recall).toBeCloseTo((502 / 623 + 1 + 0.75 + 582 / 624) / 4, 14);
    expect(result.macro.precision).toBeCloseTo((502 / 544 + 1 + 1 + 582 / 858) / 4, 14);
    expect(result.macro.f1).toBeCloseTo((1004 / 1167 + 1 + 930 / 1085 + 1164 / 1482) / 4, 14);
  });

  it('is printed as a table', () => {
    expect(formatReport(result)).toBe(
      [
        'class       precision  recall     f1    mcc  images  → eosinophil  → lymphocyte  → monocyte  → neutrophil',
        'eosinophil      0.923   0.806  0.860  0.821     623           502             0           0           121',
        'lymphocyte      1.000   1.000  1.000  1.000     620             0           620           0             0',
        'monocyte        1.000   0.750  0.857  0.832     620             0             0         465           155',
        'neutrophil      0.678   0.933  0.785  0.716     624            42             0           0           582',
        'macro mean      0.900   0.872  0.876  0.842    2487',
        'accuracy 87.2 % (2169 of 2487)',
      ].join('\n'),
    );
  });
});

describe('a report that a terminal has no room for', () => {
  const counts = Array.from({ length: 21 }, (_, i) => Array.from({ length: 21 }, (_, j) => (i === j ? 3 : 0)));
  const names = counts.map((_, i) => `cell\n${i}`);

  it('leaves the confusion matrix out, and keeps every name on its line', () => {
    const lines = formatReport(report({ classes: 21, counts }, names)).split('\n');
    expect(lines).toHaveLength(1 + 21 + 3);
    expect(lines[0]).toBe('class       precision  recall     f1    mcc  images');
    expect(lines[1]).toBe('cell\ufffd0          1.000   1.000  1.000  1.000       3');
    expect(lines[23]).toBe('the confusion matrix of 21 classes is in --json and in metrics.jsonl');
  });
});

describe('classes whose names are whole numbers', () => {
  // JavaScript puts such keys of an object first, in numerical order.
  const counts = [
    [7, 2, 0],
    [0, 4, 0],
    [1, 0, 9],
  ];
  const result = report({ classes: 3, counts }, ['10', 'other', '2']);

  it('keep their places in the table', () => {
    const lines = formatReport(result).split('\n');
    expect(lines[0]).toMatch(/images +→ 10 +→ other +→ 2$/);
    expect(lines.slice(1, 4).map((line) => line.split(/ +/).filter((_, i) => i === 0 || i > 4))).toEqual([
      ['10', '9', '7', '2', '0'],
      ['other', '4', '0', '4', '0'],
      ['2', '10', '1', '0', '9'],
    ]);
  });

  it('have their order beside the measures in JSON', () => {
    const { names, classes } = JSON.parse(JSON.stringify(result));
    expect(Object.keys(classes)).toEqual(['2', '10', 'other']);
    expect(names).toEqual(['10', 'other', '2']);
    expect(classes['10'].recall).toBeCloseTo(7 / 9, 14);
  });
});

describe('the MCC of a class', () => {
  it('is that of both classes where there are two', () => {
    const counts = [
      [90, 10],
      [30, 70],
    ];
    const expected = (90 * 70 - 10 * 30) / Math.sqrt(100 * 120 * 100 * 80);
    expect(classMetrics({ classes: 2, counts }, 0).mcc).toBeCloseTo(expected, 14);
    expect(classMetrics({ classes: 2, counts }, 1).mcc).toBeCloseTo(expected, 14);
  });

  it('is −1 where two classes are exchanged, and exact for counts whose product passes 2⁵³', () => {
    const mcc = (...counts: number[][]) => classMetrics({ classes: 2, counts }, 0).mcc;
    expect(mcc([0, 5], [5, 0])).toBeCloseTo(-1, 14);
    expect(mcc([1e6, 0], [0, 1e6])).toBeCloseTo(1, 14);
  });
});

describe('divisions by zero', () => {
  it('give 0: no images at all', () => {
    const zero = { precision: 0, recall: 0, f1: 0, mcc: 0 };
    const empty = report(createConfusion(2), ['a', 'b']);
    expect(empty).toEqual({
      images: 0,
      accuracy: 0,
      macro: zero,
      names: ['a', 'b'],
      classes: { a: { ...zero, support: 0 }, b: { ...zero, support: 0 } },
      confusion: [
        [0, 0],
        [0, 0],
      ],
    });
  });

  it('give 0: everything predicted as one class, a class without images', () => {
    const confusion: Confusion = {
      classes: 3,
      counts: [
        [8, 0, 0],
        [2, 0, 0],
        [0, 0, 0],
      ],
    };
    const { classes, macro } = report(confusion, ['a', 'b', 'c']);
    expect(classes.a).toEqual({ precision: 0.8, recall: 1, f1: expect.closeTo(16 / 18, 15), mcc: 0, support: 8 });
    expect(classes.c).toEqual({ precision: 0, recall: 0, f1: 0, mcc: 0, support: 0 });
    expect(macro.recall).toBeCloseTo(1 / 3, 15);
  });
});

describe('predictions', () => {
  it('are the first of equal scores', () => {
    expect(argmax([1, 3, 3, 2])).toBe(1);
    expect(argmax([-Infinity, -5, -5])).toBe(1);
    expect(argmax(Float32Array.of(9, 0, 1, 2, 9), 1, 3)).toBe(2);
    expect(argmax([0, Number.NaN, 1])).toBe(2);
  });

  it('are counted by row of the scores', () => {
    const confusion = createConfusion(3);
    addScores(confusion, BigInt64Array.of(0n, 2n), Float32Array.of(5, 1, 0, 0, 7, 1));
    addScores(confusion, [1, 1], [0, 0, 0, 0, 1, 0]);
    expect(confusion.counts).toEqual([
      [1, 0, 0],
      [1, 1, 0],
      [0, 1, 0],
    ]);
    expect(accuracy(confusion)).toBe(0.5);
  });

  it('outside of the classes are refused', () => {
    expect(() => addPrediction(createConfusion(2), 2, 0)).toThrow(RangeError);
    expect(() => addPrediction(createConfusion(2), 0, -1)).toThrow(RangeError);
  });
});
