import type { Scored } from './scored.ts';

/**
 * The area under the ROC curve of one class against the rest, by its probability: the share of pairs of an example of the class and another one in which
 * the first has the higher probability, equal ones counting half. As `sklearn.metrics.roc_auc_score` has it for `labels == index`.
 * @returns null where no example, or every one, is of the class
 */
export function rocAuc({ labels, probabilities }: Scored, index: number): number | null {
  const classes = probabilities.length / labels.length;
  const scores = Float32Array.from(labels, (_, n) => probabilities[n * classes + index]);
  const order = Uint32Array.from(labels, (_, n) => n).sort((a, b) => scores[a] - scores[b]);
  const positives = labels.reduce((count, label) => count + Number(label === index), 0);
  const negatives = labels.length - positives;
  if (positives === 0 || negatives === 0) return null;
  // Mann and Whitney: from the sum of the positives' ranks, ties having the mean of their ranks. All are halves of whole numbers, so exact.
  let ranks = 0;
  for (let start = 0, end = 0; start < order.length; start = end) {
    let tied = 0;
    for (end = start; end < order.length && scores[order[end]] === scores[order[start]]; end++)
      tied += Number(labels[order[end]] === index);
    ranks += (tied * (start + 1 + end)) / 2;
  }
  return (ranks - (positives * (positives + 1)) / 2) / (positives * negatives);
}
