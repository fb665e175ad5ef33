import { describe, expect, it } from 'vitest';
import { calibration, logLoss } from '../../runtime/metrics/calibration.ts';
import { rocAuc } from '../../runtime/metrics/ranking.ts';
import { probabilitiesOf, type Scored } from '../../runtime/metrics/scored.ts';
import {
  addPrediction,
  argmax,
  type Confusion,
  classMetrics,
  createConfusion,
  formatReport,
  type Report,
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
    const { precision, recall, specificity, f1, mcc, auc, support } = result.classes.neutrophil;
    expect(support).toBe(624);
    expect(specificity).toBeCloseTo(1587 / 1863, 14);
    // There are counts only.
    expect(auc).toBe(null);
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
      specificity: expect.closeTo(1822 / 1864, 14),
      f1: expect.closeTo(1004 / 1167, 14),
      mcc: expect.closeTo((502 * 1822 - 42 * 121) / Math.sqrt(544 * 623 * 1864 * 1943), 14),
      auc: null,
      support: 623,
    });
    const right = { precision: 1, recall: 1, specificity: 1, f1: 1, mcc: expect.closeTo(1, 14), auc: null, support: 620 };
    expect(result.classes.lymphocyte).toEqual(right);
  });

  it('has macro means over the classes', () => {
    expect(result.macro.recall).toBeCloseTo((502 / 623 + 1 + 0.75 + 582 / 624) / 4, 14);
    expect(result.macro.specificity).toBeCloseTo((1822 / 1864 + 1 + 1 + 1587 / 1863) / 4, 14);
    expect(result.macro.precision).toBeCloseTo((502 / 544 + 1 + 1 + 582 / 858) / 4, 14);
    expect(result.macro.f1).toBeCloseTo((1004 / 1167 + 1 + 930 / 1085 + 1164 / 1482) / 4, 14);
  });

  it('has the correlation of all classes together', () => {
    // Gorodkin: truths 623, 620, 620, 624; predictions 544, 620, 465, 858; 2169 of 2487 right.
    const [tt, pp] = [623 ** 2 + 2 * 620 ** 2 + 624 ** 2, 544 ** 2 + 620 ** 2 + 465 ** 2 + 858 ** 2];
    const tp = 623 * 544 + 620 * 620 + 620 * 465 + 624 * 858;
    expect(result.mcc).toBeCloseTo((2169 * 2487 - tp) / Math.sqrt((2487 ** 2 - pp) * (2487 ** 2 - tt)), 14);
  });

  it('is printed as tables', () => {
    expect(formatReport(result)).toBe(
      [
        'class       precision  recall  specificity     f1    mcc  auc  images',
        'eosinophil      0.923   0.806        0.977  0.860  0.821    -     623',
        'lymphocyte      1.000   1.000        1.000  1.000  1.000    -     620',
        'monocyte        1.000   0.750        1.000  0.857  0.832    -     620',
        'neutrophil      0.678   0.933        0.852  0.785  0.716    -     624',
        'macro mean      0.900   0.872        0.957  0.876  0.842    -    2487',
        '',
        'truth \\ predicted  eosinophil  lymphocyte  monocyte  neutrophil',
        'eosinophil                502           0         0         121',
        'lymphocyte                  0         620         0           0',
        'monocyte                    0           0       465         155',
        'neutrophil                 42           0         0         582',
        '',
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
    expect(lines).toHaveLength(1 + 21 + 5);
    expect(lines[0]).toBe('class       precision  recall  specificity     f1    mcc  auc  images');
    expect(lines[1]).toBe('cell\ufffd0          1.000   1.000        1.000  1.000  1.000    -       3');
    expect(lines[24]).toBe('the confusion matrix of 21 classes is in --json and in metrics.jsonl');
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
    expect(lines.slice(1, 4).map((line) => line.split(/ +/).filter((_, i) => i === 0 || i > 6))).toEqual([
      ['10', '9'],
      ['other', '4'],
      ['2', '10'],
    ]);
    expect(lines.slice(6, 10).map((line) => line.split(/ {2,}/))).toEqual([
      ['truth \\ predicted', '10', 'other', '2'],
      ['10', '7', '2', '0'],
      ['other', '0', '4', '0'],
      ['2', '1', '0', '9'],
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
    const zero = { precision: 0, recall: 0, specificity: 0, f1: 0, mcc: 0, auc: null };
    const empty = report(createConfusion(2), ['a', 'b']);
    expect(empty).toEqual({
      images: 0,
      accuracy: 0,
      mcc: 0,
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
    const { classes, macro, mcc } = report(confusion, ['a', 'b', 'c']);
    expect(mcc).toBe(0);
    expect(classes.a).toMatchObject({
      precision: 0.8,
      recall: 1,
      specificity: 0,
      f1: expect.closeTo(16 / 18, 15),
      mcc: 0,
      support: 8,
    });
    expect(classes.c).toMatchObject({ precision: 0, recall: 0, specificity: 1, f1: 0, mcc: 0, support: 0 });
    // Class c occurs neither as truth nor as prediction.
    expect(macro).toMatchObject({ recall: 0.5, precision: 0.4, specificity: 0.5, f1: expect.closeTo(8 / 18, 15) });
  });
});

describe('predictions', () => {
  it('are the first of equal scores', () => {
    expect(argmax([1, 3, 3, 2])).toBe(1);
    expect(argmax([-Infinity, -5, -5])).toBe(1);
    expect(argmax(Float32Array.of(9, 0, 1, 2, 9), 1, 3)).toBe(2);
    expect(argmax([0, Number.NaN, 1])).toBe(2);
  });

  it('outside of the classes are refused', () => {
    expect(() => addPrediction(createConfusion(2), 2, 0)).toThrow(RangeError);
    expect(() => addPrediction(createConfusion(2), 0, -1)).toThrow(RangeError);
  });
});

describe('the report of an older version', () => {
  it('is printed with dashes for what it did not measure', () => {
    const { specificity, auc, ...macro } = report(clean, names).macro;
    const older = { ...report(clean, names), macro } as Report;
    expect(formatReport(older)).toContain('macro mean      0.900   0.872            -  0.876  0.842    -    2487');
  });
});

/** Six examples of three classes, the last of which none is of; ties in the scores of the first class, and one example on an edge of the bins. */
const scored: Scored = {
  labels: Int32Array.of(0, 0, 1, 1, 0, 1),
  predicted: Int32Array.of(0, 1, 1, 0, 0, 1),
  probabilities: Float32Array.of(0.75, 0.25, 0, 0.25, 0.5, 0.25, 0.25, 0.75, 0, 0.75, 0.125, 0.125, 1, 0, 0, 0, 1, 0),
};

describe('measures of probabilities', () => {
  const confusion: Confusion = {
    classes: 3,
    counts: [
      [2, 1, 0],
      [1, 2, 0],
      [0, 0, 0],
    ],
  };
  const result = report(confusion, ['a', 'b', 'c'], scored);

  it('AUC: pairs in the right order, equal scores counting half', () => {
    // Of class a 0.75, 0.25, 1; others 0.25, 0.75, 0: pairs 1 + ½ + 1, ½ + 0 + 1, 1 + 1 + 1.
    expect(result.classes.a.auc).toBe(7 / 9);
    // Of class b 0.75, 0.125, 1; others 0.25, 0.5, 0: pairs 3, 0 + 0 + 1, 3.
    expect(result.classes.b.auc).toBe(7 / 9);
    expect(result.classes.c.auc).toBe(null);
    expect(result.macro.auc).toBe(7 / 9);
    expect(rocAuc({ ...scored, labels: new Int32Array(6) }, 0)).toBe(null);
    expect(report(confusion, ['a', 'b', 'c'], { ...scored, labels: new Int32Array(6).fill(2) }).macro.auc).toBe(null);
  });

  it('AUC: 1, 0 and ½ for scores in order, in reverse, and all equal', () => {
    const auc = (...scores: number[]) =>
      rocAuc({ labels: Int32Array.of(0, 0, 1, 1), predicted: new Int32Array(4), probabilities: pairs(scores) }, 1);
    const pairs = (scores: number[]) => Float32Array.from(scores.flatMap((score) => [1 - score, score]));
    expect([auc(0.1, 0.2, 0.3, 0.4), auc(0.4, 0.3, 0.2, 0.1), auc(0.3, 0.3, 0.3, 0.3)]).toEqual([1, 0, 0.5]);
  });

  it('calibration: bins of the confidence, their edges belonging to the bin below', () => {
    // Confidences 0.75 right, 0.5 wrong, 0.75 right, 0.75 wrong, 1 right, 1 right; 0.75 · 15 = 11.25, 0.5 · 15 = 7.5.
    const { ece, bins } = result.calibration!;
    expect(bins).toHaveLength(15);
    expect(bins[11]).toEqual({ low: 11 / 15, high: 12 / 15, count: 3, confidence: 0.75, accuracy: 2 / 3 });
    expect(bins[7]).toMatchObject({ count: 1, confidence: 0.5, accuracy: 0 });
    expect(bins[14]).toEqual({ low: 14 / 15, high: 1, count: 2, confidence: 1, accuracy: 1 });
    expect(bins[0]).toEqual({ low: 0, high: 1 / 15, count: 0, confidence: null, accuracy: null });
    expect(ece).toBeCloseTo((3 * (0.75 - 2 / 3) + 0.5) / 6, 15);
    // 0 stands in the first bin; 0.2 in float32 is a little above 3 / 15.
    const two = { labels: Int32Array.of(0, 0), predicted: Int32Array.of(0, 0), probabilities: Float32Array.of(0, 0, 0.2, 0) };
    expect(calibration(two).bins.map(({ count }) => count)).toEqual([1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  });

  it('calibration of a sigmoid: the probability as it is; log loss: its share of the row', () => {
    const sigmoid = { labels: Int32Array.of(1), predicted: Int32Array.of(1), probabilities: Float32Array.of(0.5, 0.75) };
    expect(calibration(sigmoid).bins[11]).toMatchObject({ confidence: 0.75, accuracy: 1 });
    expect(logLoss(sigmoid)).toBeCloseTo(-Math.log(0.6), 15);
  });

  it('log loss: the mean of −ln of the right probability, at most 52 ln 2', () => {
    const right = [0.75, 0.25, 0.75, 0.125, 1, 1].reduce((sum, p) => sum - Math.log(p), 0) / 6;
    expect(result.logLoss).toBeCloseTo(right, 14);
    const none = { labels: Int32Array.of(0, 1), predicted: Int32Array.of(1, 0), probabilities: Float32Array.of(0, 1, 0, 0) };
    expect(logLoss(none)).toBeCloseTo(52 * Math.LN2, 12);
  });

  it('are 0 without examples', () => {
    const none = { labels: new Int32Array(0), predicted: new Int32Array(0), probabilities: new Float32Array(0) };
    expect(report(createConfusion(2), ['a', 'b'], none)).toMatchObject({
      logLoss: 0,
      macro: { auc: null },
      calibration: { ece: 0 },
    });
  });

  it('are printed below the tables, with the intervals', () => {
    const interval = { estimate: 0.5, low: 0.25, high: 0.875 };
    const intervals = { groups: 4, resamples: 2000, level: 0.95, accuracy: interval, macroF1: interval };
    expect(
      formatReport({ ...result, intervals })
        .split('\n')
        .slice(-3),
    ).toEqual([
      'accuracy 66.7 % (4 of 6)',
      '95 % interval by bootstrap over 4 groups: accuracy 25.0 to 87.5 %, macro F1 0.250 to 0.875',
      'calibration error (ECE) 0.125, log loss 0.674, MCC of all classes 0.333',
    ]);
  });
});

describe('probabilities', () => {
  it('are those of a softmax, or of a sigmoid, at any size of the scores', () => {
    const softmax = probabilitiesOf(Float32Array.of(0, Math.log(3), 1000, 1000), 2, 'softmax');
    // float32.
    [0.25, 0.75, 0.5, 0.5].forEach((value, i) => {
      expect(softmax[i]).toBeCloseTo(value, 7);
    });
    const sigmoid = probabilitiesOf(Float32Array.of(0, Math.log(3), -1000, 1000), 2, 'sigmoid');
    [0.5, 0.75, 0, 1].forEach((value, i) => {
      expect(sigmoid[i]).toBeCloseTo(value, 7);
    });
  });
});
