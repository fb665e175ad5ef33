/*
 * Every measure beside scikit-learn's own, on drawn probabilities with ties, absent classes, one-sided predictions.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { random } from '../../numeric/random.ts';
import { studentT } from '../../runtime/metrics/runs.ts';
import { argmax, type Scored } from '../../runtime/metrics/scored.ts';
import { addPrediction, createConfusion, report } from '../../runtime/metrics.ts';

const python = '/usr/bin/python3';
const hasSklearn = spawnSync(python, ['-c', 'import sklearn']).status === 0;

const program = `
import json, sys, warnings
import numpy as np
from scipy.special import betainc
from sklearn import metrics as m
from sklearn.calibration import calibration_curve
warnings.filterwarnings('ignore')
def judge(case):
    k = case['classes']
    y, z = np.array(case['labels']), np.array(case['predicted'])
    p = np.array(case['probabilities'], dtype=np.float64).reshape(len(y), k)
    names = list(range(k))
    precision, recall, f1, support = m.precision_recall_fscore_support(y, z, labels=names, zero_division=0)
    rows = []
    for i in names:
        one, guess = y == i, z == i
        rows.append({
            'precision': precision[i], 'recall': recall[i], 'f1': f1[i], 'support': int(support[i]),
            'specificity': m.recall_score(~one, ~guess, zero_division=0),
            'mcc': m.matthews_corrcoef(one, guess),
            'auc': m.roc_auc_score(one, p[:, i]) if 0 < one.sum() < len(y) else None,
        })
    right, confidence = y == z, p[np.arange(len(y)), z]
    curve = calibration_curve(right, confidence, n_bins=15)
    edges = np.linspace(0, 1, 16)
    weight = np.histogram(np.searchsorted(edges[1:-1], confidence), bins=np.arange(16))[0]
    ece = float(np.sum(weight[weight > 0] / len(y) * np.abs(curve[0] - curve[1])))
    full = len(set(case['labels'])) == k
    return {
        'accuracy': m.accuracy_score(y, z), 'mcc': m.matthews_corrcoef(y, z), 'classes': rows,
        'macroF1': m.f1_score(y, z, average='macro', zero_division=0),
        'macroAuc': m.roc_auc_score(y, p, multi_class='ovr') if full and k > 2 and case['softmax'] else None,
        'confusion': m.confusion_matrix(y, z, labels=names).tolist(),
        'logLoss': m.log_loss(y, p / p.sum(axis=1, keepdims=True), labels=names),
        'curve': [curve[0].tolist(), curve[1].tolist()], 'ece': ece,
    }
asked = json.load(sys.stdin)
json.dump({'cases': [judge(case) for case in asked['cases']], 'student': [1 - betainc(f / 2, 0.5, f / (f + t * t)) for t, f in asked['student']]}, sys.stdout)
`;

interface Case extends Scored {
  readonly name: string;
  readonly classes: number;
  readonly softmax: boolean;
}

/**
 * @param steps probabilities are whole multiples of one over this before they are normalised, so that many are equal
 * @param absent classes that no example has
 */
function drawn(
  name: string,
  count: number,
  classes: number,
  steps: number,
  softmax: boolean,
  absent: readonly number[] = [],
): Case {
  const next = random(name);
  const present = Array.from({ length: classes }, (_, k) => k).filter((k) => !absent.includes(k));
  const labels = Int32Array.from({ length: count }, () => present[Math.floor(present.length * next() ** 1.5)]);
  const probabilities = new Float32Array(count * classes);
  labels.forEach((label, n) => {
    const raw = Array.from(
      { length: classes },
      (_, k) => (1 + Math.floor(steps * next()) + (k === label ? steps / 2 : 0)) / (2 * steps),
    );
    const total = softmax ? raw.reduce((a, b) => a + b) : 1;
    probabilities.set(
      raw.map((value) => value / total),
      n * classes,
    );
  });
  const predicted = labels.map((_, n) => argmax(probabilities, n * classes, classes));
  return { name, classes, softmax, labels, predicted, probabilities };
}

const cases: readonly Case[] = [
  drawn('four classes', 2487, 4, 1000, true),
  drawn('many ties', 500, 3, 4, true),
  drawn('two classes', 301, 2, 16, true),
  drawn('absent classes', 200, 5, 8, true, [0, 3]),
  drawn('one class only', 40, 3, 8, true, [1, 2]),
  drawn('twelve classes', 700, 12, 100, true),
  drawn('a sigmoid', 400, 4, 64, false),
  {
    ...drawn('absent', 200, 5, 8, true, [2]),
    name: 'a class that does not occur',
    predicted: drawn('absent', 200, 5, 8, true, [2]).labels,
  },
  { ...drawn('one prediction', 90, 3, 8, true), name: 'one prediction', predicted: new Int32Array(90).fill(1) },
];
const student = [0.9, 0.95, 0.99].flatMap((level) => [1, 2, 3, 4, 5, 9, 29, 100].map((freedom) => [level, freedom] as const));

describe.skipIf(!hasSklearn)(
  'measures beside scikit-learn (skipped where /usr/bin/python3 has no sklearn; Debian: python3-sklearn)',
  () => {
    const asked = cases.map(({ labels, predicted, probabilities, ...rest }) => ({
      ...rest,
      labels: [...labels],
      predicted: [...predicted],
      probabilities: [...probabilities],
    }));
    const answered = hasSklearn
      ? JSON.parse(
          execFileSync(python, ['-c', program], {
            input: JSON.stringify({
              cases: asked,
              student: student.map(([level, freedom]) => [studentT(level, freedom), freedom]),
            }),
            maxBuffer: 2 ** 26,
          }).toString(),
        )
      : null;

    it.each(cases.map((one, i) => [one.name, one, i] as const))('%s', (_, scored, i) => {
      const expected = answered.cases[i];
      const confusion = createConfusion(scored.classes);
      scored.labels.forEach((label, n) => {
        addPrediction(confusion, label, scored.predicted[n]);
      });
      const names = confusion.counts.map((_, k) => `class ${k}`);
      const result = report(confusion, names, scored);
      expect(result.confusion).toEqual(expected.confusion);
      // Both count in double precision, in another order.
      expect(result.accuracy).toBeCloseTo(expected.accuracy, 13);
      expect(result.mcc).toBeCloseTo(expected.mcc, 12);
      expect(result.macro.f1).toBeCloseTo(expected.macroF1, 12);
      if (expected.macroAuc !== null) expect(result.macro.auc).toBeCloseTo(expected.macroAuc, 12);
      names.forEach((name, k) => {
        for (const [key, value] of Object.entries(expected.classes[k])) {
          const found = result.classes[name][key as 'auc'];
          if (value === null) expect(found).toBe(null);
          else expect(found).toBeCloseTo(value as number, 12);
        }
      });
      expect(result.logLoss).toBeCloseTo(expected.logLoss, 12);
      const filled = result.calibration!.bins.filter(({ count }) => count > 0);
      expect(filled).toHaveLength(expected.curve[0].length);
      filled.forEach(({ accuracy, confidence }, bin) => {
        expect(accuracy).toBeCloseTo(expected.curve[0][bin], 12);
        expect(confidence).toBeCloseTo(expected.curve[1][bin], 12);
      });
      expect(result.calibration!.ece).toBeCloseTo(expected.ece, 12);
    });

    // Not scipy's own quantiles, which are off by up to 2e-9, but the share that its incomplete beta function has between −t and t.
    it("Student's quantiles hold the share that they should", () => {
      student.forEach(([level], i) => {
        expect(answered.student[i]).toBeCloseTo(level, 13);
      });
    });
  },
);
