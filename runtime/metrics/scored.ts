/** What a model makes of N labelled examples that it puts into one of K classes. */
export interface Scored {
  /** The true class of each example [N]. */
  readonly labels: Int32Array;
  /** The predicted class of each example [N], the one with the highest probability. */
  readonly predicted: Int32Array;
  /** [N,K], row by row. Those of a softmax add up to 1 in each row, those of a sigmoid need not. */
  readonly probabilities: Float32Array;
}

/**
 * The index of the largest of `count` values from `start` on, counted from `start`; of equal ones the first. NaN is never the largest
 * unless it stands first.
 */
export function argmax(values: ArrayLike<number>, start = 0, count = values.length - start): number {
  let best = 0;
  for (let index = 1; index < count; index++) if (values[start + index] > values[start + best]) best = index;
  return best;
}

/** The probabilities [N,K] that scores [N,K] stand for, computed in double precision. */
export function probabilitiesOf(scores: Float32Array, classes: number, activation: 'softmax' | 'sigmoid'): Float32Array {
  if (activation === 'sigmoid') return scores.map((score) => 1 / (1 + Math.exp(-score)));
  const probabilities = new Float32Array(scores.length);
  for (let start = 0; start < scores.length; start += classes) {
    const row = scores.subarray(start, start + classes);
    const largest = row[argmax(row)];
    const powers = Array.from(row, (score) => Math.exp(score - largest));
    const sum = powers.reduce((a, b) => a + b, 0);
    probabilities.set(
      powers.map((power) => power / sum),
      start,
    );
  }
  return probabilities;
}
