import { log1pExp } from './stable.ts';
import { add, cast, logSoftmax, mean, mul, oneHot, sub, sum } from './operators.ts';
import type { Tensor } from './tensor.ts';

/**
 * Softmax cross-entropy of logits [N,K] with class indices `label` int64 [N], mean over the batch:
 * −Σ_k t_k · logSoftmax(logits)_k with t = (1 − smoothing) · onehot + smoothing / K.
 */
export function softmaxCrossEntropy(logits: Tensor, label: Tensor, { smoothing = 0 } = {}): Tensor {
  const classes = logits.shape[1] as number;
  const hot = oneHot(label, classes);
  const target = smoothing === 0 ? hot : add(mul(hot, 1 - smoothing), smoothing / classes);
  return mul(mean(sum(mul(target, logSoftmax(logits)), [1]), [0]), -1);
}

/** Sigmoid cross-entropy of logits [N,K] with class indices [N]: a binary cross-entropy for each class, mean over batch and classes. */
export function sigmoidCrossEntropy(logits: Tensor, label: Tensor): Tensor {
  const target = oneHot(label, logits.shape[1] as number);
  return mean(sub(log1pExp(logits), mul(logits, target)), [0, 1]);
}

/** Mean squared error over all elements. */
export function meanSquaredError(prediction: Tensor, target: Tensor): Tensor {
  const difference = sub(prediction, target.dtype === 'float32' ? target : cast(target, 'float32'));
  return mean(mul(difference, difference), difference.shape.map((_, axis) => axis));
}
