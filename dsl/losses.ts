import { logSoftmax, relu } from './activations.ts';
import { constantLike } from './constants.ts';
import { abs, add, cast, div, exp, log, mul, neg, sub } from './elementwise.ts';
import { mean, sum } from './reductions.ts';
import { gather, oneHot } from './shaping.ts';
import type { Shape, Tensor } from './tensor.ts';

/** Scores [N,K] and class indices int64 [N]. */
type Logits = Tensor;
type Label = Tensor<Shape, 'int64'>;

export interface CrossEntropyOptions {
  /** Share of the target that is spread evenly over all classes; 0 by default. */
  readonly smoothing?: number;
  /** A weight for each class: an example counts with its class's, and the mean is weighted (PyTorch's `weight`). */
  readonly classWeights?: readonly number[];
}

/** Target distribution [N,K] of a label: (1 − smoothing) · onehot + smoothing / K. */
function targetOf(label: Label, classes: number, smoothing: number): Tensor {
  const hot: Tensor = oneHot(label, classes);
  return smoothing === 0 ? hot : add(mul(hot, 1 - smoothing), smoothing / classes);
}

/**
 * Softmax cross-entropy of logits [N,K] with labels [N], mean over the batch: −Σ_k w_k · t_k · logSoftmax(logits)_k, divided by the sum of the labels'
 * weights, where class weights are given.
 */
export function softmaxCrossEntropy(logits: Logits, label: Label, options: CrossEntropyOptions = {}): Tensor<[], 'float32'> {
  const { smoothing = 0, classWeights } = options;
  const target = targetOf(label, logits.shape[1] as number, smoothing);
  const terms: Tensor = mul(target, logSoftmax(logits) as Tensor);
  if (!classWeights) return neg(mean(sum(terms, [1]), [0])) as Tensor<[], 'float32'>;
  const weights = constantLike(logits, classWeights);
  const total = sum(gather(weights, label as Tensor), [0]);
  return neg(div(sum(sum(mul(terms, weights) as Tensor, [1]), [0]), total)) as Tensor<[], 'float32'>;
}

/**
 * Sigmoid cross-entropy of logits [N,K] with labels [N]: a binary cross-entropy for each class, mean over batch and classes.
 * ln(1 + eˣ) − t·x, the first term as max(x, 0) + ln(1 + e^−|x|). Class weights multiply a class's terms.
 */
export function sigmoidCrossEntropy(logits: Logits, label: Label, options: CrossEntropyOptions = {}): Tensor<[], 'float32'> {
  const { smoothing = 0, classWeights } = options;
  const x: Tensor = logits;
  const target = targetOf(label, x.shape[1] as number, smoothing);
  const softplus = add(relu(x), log(add(exp(neg(abs(x))), 1)));
  const terms: Tensor = sub(softplus, mul(x, target));
  return mean(classWeights ? (mul(terms, constantLike(logits, classWeights)) as Tensor) : terms, [0, 1]) as Tensor<[], 'float32'>;
}

/** Mean squared error over all elements of two tensors of the same shape. */
export function meanSquaredError(prediction: Tensor, target: Tensor): Tensor<[], 'float32'> {
  const difference: Tensor = sub(prediction, target.dtype === 'float32' ? target : cast(target, 'float32'));
  const axes = difference.shape.map((_, axis) => axis);
  return mean(mul(difference, difference) as Tensor, axes) as Tensor<[], 'float32'>;
}
