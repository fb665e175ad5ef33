import type { Site } from '../compiler/ir/op.ts';
import { formatShape, type TensorType } from '../compiler/ir/types.ts';
import { requireKnown, requireRank, requireSameShape, shapeError } from '../compiler/ops/shapes.ts';
import { logSoftmax, relu } from './activations.ts';
import { constantLike } from './constants.ts';
import { abs, add, cast, div, exp, greater, log, mul, neg, sub, where } from './elementwise.ts';
import { mean, sum } from './reductions.ts';
import { gather, oneHot } from './shaping.ts';
import { type AnyTensor, check, contextOf, type Shape, type Tensor } from './tensor.ts';
import type { fits, sameShape } from './types/index.ts';

/** Scores [N,K] and class indices int64 [N]. */
type Logits = Tensor;
type Label = Tensor<Shape, 'int64'>;

export interface CrossEntropyOptions {
  /** Share of the target that is spread evenly over all classes, from 0 to 1; 0 by default. */
  readonly smoothing?: number;
  /**
   * A weight for each class: an example counts with its label's, and the mean over examples is weighted (PyTorch's `weight`). By default those that a training asks for
   * (`ddrc train --class-weights`), in training only; otherwise none.
   */
  readonly classWeights?: readonly number[];
}

/** Refuses what broadcasting would take silently: logits that are not [N,K], labels that are not [N], another number of weights than K. */
function requireScores(
  [logits, label]: readonly TensorType[],
  site: Site,
  { smoothing = 0, classWeights }: CrossEntropyOptions,
): void {
  const types = [logits, label];
  requireRank(logits, [2], site, 'logits [N,K]', 'reshape them to one row of scores for each example');
  requireKnown(logits, 1, types, site);
  const [examples, classes] = logits.shape;
  if (label.shape.length !== 1 || label.shape[0] !== examples) {
    const labels = formatShape(label.shape);
    const sentence = `labels ${labels} are not one class index for each example of ${formatShape(logits.shape)}`;
    throw shapeError(site, 'SHAPE_MISMATCH', sentence, types, `labels [${examples}] fit`);
  }
  if (classWeights && classWeights.length !== classes) {
    const sentence = `${classWeights.length} class weights for ${classes} classes`;
    throw shapeError(site, 'SHAPE_ATTRIBUTE', sentence, types, 'give a weight for each class');
  }
  const unfit = classWeights?.find((weight) => !(weight >= 0 && weight < Number.POSITIVE_INFINITY));
  if (unfit !== undefined) {
    throw shapeError(site, 'SHAPE_ATTRIBUTE', `class weight ${unfit} is not a number of 0 or more`, types);
  }
  if (classWeights?.every((weight) => weight === 0)) {
    throw shapeError(site, 'SHAPE_ATTRIBUTE', 'all class weights are 0', types, 'give a class that counts a weight above 0');
  }
  if (!(smoothing >= 0 && smoothing <= 1)) {
    throw shapeError(site, 'SHAPE_ATTRIBUTE', `smoothing ${smoothing} is not from 0 to 1`, types, 'the usual one is 0.1');
  }
}

/** The options with the class weights that hold, once all was found to fit. */
function resolve(op: string, logits: Logits, label: Label, options: CrossEntropyOptions): CrossEntropyOptions {
  return check(op, [logits, label], (types, site) => {
    const resolved = { ...options, classWeights: contextOf(logits).lossWeights(options.classWeights) };
    requireScores(types, site, resolved);
    return resolved;
  });
}

/** Target distribution [N,K] of a label: (1 − smoothing) · onehot + smoothing / K. */
function targetOf(label: Label, classes: number, smoothing: number): Tensor {
  const hot: Tensor = oneHot(label, classes);
  return smoothing === 0 ? hot : add(mul(hot, 1 - smoothing), smoothing / classes);
}

/** The weight of each example [N], and their sum []; a sum of 0 is so large a number that a batch of which no example counts gives no loss and no gradient. */
function exampleWeights(
  logits: Logits,
  label: Label,
  classWeights: readonly number[],
): readonly [weights: Tensor, total: Tensor] {
  const weights: Tensor = gather(constantLike(logits, classWeights), label);
  const total: Tensor = sum(weights, [0]);
  return [weights, classWeights.includes(0) ? (where(greater(total, 0), total, 1e30) as Tensor) : total];
}

/**
 * Softmax cross-entropy of logits [N,K] with labels [N], mean over the batch: −Σ_k w_k · t_k · logSoftmax(logits)_k, divided by the sum of the labels'
 * weights, where class weights are given.
 */
export function softmaxCrossEntropy(logits: Logits, label: Label, options: CrossEntropyOptions = {}): Tensor<[], 'float32'> {
  const { smoothing = 0, classWeights } = resolve('softmaxCrossEntropy', logits, label, options);
  const target = targetOf(label, logits.shape[1] as number, smoothing);
  const terms: Tensor = mul(target, logSoftmax(logits) as Tensor);
  if (!classWeights) return neg(mean(sum(terms, [1]), [0])) as Tensor<[], 'float32'>;
  const [, total] = exampleWeights(logits, label, classWeights);
  const weighted = mul(terms, constantLike(logits, classWeights)) as Tensor;
  return neg(div(sum(sum(weighted, [1]), [0]), total)) as Tensor<[], 'float32'>;
}

/**
 * Sigmoid cross-entropy of logits [N,K] with labels [N]: a binary cross-entropy for each class, mean over batch and classes.
 * ln(1 + eˣ) − t·x, the first term as max(x, 0) + ln(1 + e^−|x|). With class weights the mean over the batch is weighted: all terms of an example count with
 * its label's weight, over the sum of the labels' weights.
 */
export function sigmoidCrossEntropy(logits: Logits, label: Label, options: CrossEntropyOptions = {}): Tensor<[], 'float32'> {
  const { smoothing = 0, classWeights } = resolve('sigmoidCrossEntropy', logits, label, options);
  const x: Tensor = logits;
  const target = targetOf(label, x.shape[1] as number, smoothing);
  const softplus = add(relu(x), log(add(exp(neg(abs(x))), 1)));
  const terms: Tensor = sub(softplus, mul(x, target));
  if (!classWeights) return mean(terms, [0, 1]) as Tensor<[], 'float32'>;
  const [weights, total] = exampleWeights(logits, label, classWeights);
  return div(sum(mul(mean(terms, [1]), weights) as Tensor, [0]), total) as Tensor<[], 'float32'>;
}

/** Mean squared error over all elements of two tensors of the same shape. */
export function meanSquaredError<P extends Tensor, T extends AnyTensor>(
  prediction: P,
  target: T & fits<sameShape<'meanSquaredError', P['shape'], T['shape']>>,
): Tensor<[], 'float32'>;
export function meanSquaredError(prediction: Tensor, target: AnyTensor): Tensor {
  const hint = 'reshape one of them: here no size is repeated';
  check('meanSquaredError', [prediction, target], ([p, t], site) => requireSameShape(p, t, [p, t], site, hint));
  const difference: Tensor = sub(prediction, isFloat(target) ? target : cast(target, 'float32'));
  const axes = difference.shape.map((_, axis) => axis);
  return mean(mul(difference, difference) as Tensor, axes);
}

function isFloat(x: AnyTensor): x is Tensor {
  return x.dtype === 'float32';
}
