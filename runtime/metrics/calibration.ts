import type { Scored } from './scored.ts';

/** The bins that confidences from 0 to 1 are put into. */
export const calibrationBins = 15;

/** The examples whose confidence is above `low` and at most `high`; the first bin has those of confidence 0, too. */
export interface CalibrationBin {
  readonly low: number;
  readonly high: number;
  readonly count: number;
  /** Mean confidence; null where the bin is empty. */
  readonly confidence: number | null;
  /** The fraction that was predicted right; null where the bin is empty. */
  readonly accuracy: number | null;
}

/** How far a model is as right as it is sure. */
export interface Calibration {
  /** Expected calibration error: Σ count / N · |accuracy − confidence| over the bins (Guo et al. 2017, equation 3); 0 without examples. */
  readonly ece: number;
  /** The reliability curve: {@link calibrationBins} bins of equal width. */
  readonly bins: readonly CalibrationBin[];
}

/**
 * The calibration of the predicted classes. The confidence of a prediction is the probability of the predicted class as the model gives it; that of a sigmoid is not
 * divided by the sum of its row, because each class has a probability of its own there.
 */
export function calibration({ labels, predicted, probabilities }: Scored): Calibration {
  const classes = probabilities.length / labels.length;
  const sums = Array.from({ length: calibrationBins }, () => ({ count: 0, confidence: 0, right: 0 }));
  labels.forEach((label, n) => {
    const confidence = probabilities[n * classes + predicted[n]];
    // A product of a float32 and 15 is exact, so a confidence on an edge goes into the bin below it.
    const bin = sums[Math.min(calibrationBins, Math.max(1, Math.ceil(confidence * calibrationBins))) - 1];
    bin.count++;
    bin.confidence += confidence;
    bin.right += Number(label === predicted[n]);
  });
  const gaps = sums.reduce((sum, { confidence, right }) => sum + Math.abs(right - confidence), 0);
  return {
    ece: labels.length === 0 ? 0 : gaps / labels.length,
    bins: sums.map(({ count, confidence, right }, i) => ({
      low: i / calibrationBins,
      high: (i + 1) / calibrationBins,
      count,
      confidence: count === 0 ? null : confidence / count,
      accuracy: count === 0 ? null : right / count,
    })),
  };
}

/**
 * Mean of −ln of the true class's probability, 0 without examples. Each row is divided by its sum first, which changes rows of a sigmoid only, and a probability is taken to
 * be from 2⁻⁵² to 1 − 2⁻⁵², as `sklearn.metrics.log_loss` does with double precision.
 */
export function logLoss({ labels, probabilities }: Scored): number {
  const classes = probabilities.length / labels.length;
  let sum = 0;
  labels.forEach((label, n) => {
    const total = probabilities.subarray(n * classes, (n + 1) * classes).reduce((a, b) => a + b, 0);
    const share = total === 0 ? 0 : probabilities[n * classes + label] / total;
    sum -= Math.log(Math.min(1 - 2 ** -52, Math.max(2 ** -52, share)));
  });
  return labels.length === 0 ? 0 : sum / labels.length;
}
