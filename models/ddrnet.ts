/**
 * DDRNet, a classifier of white blood cells: Jawahar, Jani Anbarasi, Narayanan, Gandomi, "An attention-based deep learning for acute
 * lymphoblastic leukemia classification", Scientific Reports, 2024 ("the paper"). Comments say which sentence a reading follows
 * where the paper leaves one open.
 */
import {
  add,
  batchNorm,
  bool,
  choice,
  classIndex,
  concat,
  conv2d,
  defineModel,
  div,
  dropout,
  float,
  groupNorm,
  image,
  int,
  linear,
  max,
  maxPool,
  mean,
  mul,
  relu,
  reshape,
  scope,
  shapedLike,
  sharedLinear,
  sigmoid,
  sigmoidCrossEntropy,
  softmaxCrossEntropy,
  sum,
  type Tensor,
  tanh,
} from 'ddrc';

/** "Group normalization": 32 groups, or one for each channel where there are fewer. */
const norm = <X extends Tensor>(x: X, name: string) => groupNorm(x, name, { groups: Math.min(32, x.shape[1] as number) });

/** Convolution block: 3x3 of stride 2, max pool, group norm, ReLU; 224 → 56. */
const stem = <X extends Tensor, C extends number>(x: X, channels: C) =>
  scope(x, 'stem', (x) => {
    const y = conv2d(x, 'conv', { filters: channels, kernel: 3, stride: 2, pad: 1, bias: false });
    return relu(norm(maxPool(y, { kernel: 2 }), 'norm'));
  });

/** A residual block: two 3x3 convolutions of the same dilation, whose result is added to their input. */
const residual = <X extends Tensor, C extends number>(x: X, channels: C, dilation: number, drop: number) => {
  const window = { filters: channels, kernel: 3, pad: 'same', dilation, bias: false } as const;
  const y = relu(norm(conv2d(x, 'conv1', window), 'norm1'));
  return relu(add(x, dropout(norm(conv2d(y, 'conv2', window), 'norm2'), drop)));
};

/**
 * Dilated residual dense block: six blocks in a row, the outputs of all fused by a 1x1 convolution. The paper's figure marks blocks
 * 2, 4 and 6 as dilated, by 1, 2 and 4.
 */
const dilatedResidualDenseBlock = <X extends Tensor, C extends number>(x: X, channels: C, drop: number) =>
  scope(x, 'drdb', (x) => {
    let y: Tensor<X['shape']> = x;
    const outputs = [1, 1, 1, 2, 1, 4].map((dilation, i) => {
      y = shapedLike(
        y,
        scope(y, i, (y) => residual(y, channels, dilation, drop)),
      );
      return y;
    });
    return conv2d(concat(outputs), 'fuse', { filters: channels, kernel: 1 });
  });

/** Convolution, norm, ReLU, as in the local branch. */
const local = <X extends Tensor, F extends number>(x: X, index: number, filters: F) =>
  scope(x, index, (x) => relu(norm(conv2d(x, 'conv', { filters, kernel: 3, pad: 'same', bias: false }), 'norm')));

/** Global and local feature extraction block: the shallow (global) features first, then those of three convolutions, then tanh. */
const globalLocal = <S extends Tensor, D extends Tensor, C extends number>(shallow: S, deep: D, channels: C) =>
  scope(deep, 'glfeb', (deep) => tanh(concat([shallow, local(local(local(deep, 0, 64), 1, 128), 2, channels)])));

/** Channel attention: average- and max-pooled features through one shared layer, both together through a second, sigmoid. */
const channelAttention = <X extends Tensor>(x: X) =>
  scope(x, 'channel', (x) => {
    const channels = x.shape[1] as number;
    const average = mean(x, [2, 3]);
    const fc1 = sharedLinear(average, 'fc1', { units: Math.floor(channels / 4) });
    const pooled = concat([relu(fc1(average)), relu(fc1(max(x, [2, 3])))]);
    return reshape(sigmoid(linear(pooled, 'fc2', { units: channels })), [x.shape[0], channels, 1, 1]);
  });

/** Spatial attention, `pooled`: mean and maximum over the channels, a 5x5 convolution, sigmoid, as the paper's figure shows it. */
const pooledAttention = <X extends Tensor>(x: X) =>
  sigmoid(conv2d(concat([mean(x, [1], true), max(x, [1], true)]), 'conv', { filters: 1, kernel: 5, pad: 2 }));

/** Spatial attention, `equation`: equations 11 and 12 of the paper taken literally. */
const literalAttention = <X extends Tensor>(x: X) => {
  const channels = x.shape[1] as number;
  const q = relu(conv2d(x, 'conv', { filters: channels, kernel: 5, pad: 2, groups: channels }));
  return div(q, add(sum(q, [1], true), 1e-6));
};

/** Channel and spatial attention block, added to its input: "element-wise sum", not the product that the paper's text also names. */
const attention = <X extends Tensor>(x: X, spatial: 'pooled' | 'equation') =>
  scope(x, 'csab', (x) => {
    const y = mul(x, channelAttention(x));
    const q = scope(y, 'spatial', (y) => (spatial === 'pooled' ? pooledAttention(y) : literalAttention(y)));
    return add(x, mul(y, q));
  });

const head = <X extends Tensor, K extends number>(x: X, classes: K, drop: number) =>
  scope(x, 'head', (x) => linear(dropout(mean(batchNorm(x, 'norm'), [2, 3]), drop), 'fc', { units: classes }));

export default defineModel({
  name: 'ddrnet',
  options: {
    classes: int(4, { min: 2 }),
    channels: int(32, {
      min: 1,
      check: (c) =>
        c <= 32 || c % 32 === 0 ? null : 'must be at most 32 or a multiple of 32, since group norm divides it into 32 groups',
    }),
    size: int(224, { min: 32, max: 4096, multipleOf: 4 }),
    drdb: bool(true),
    glfeb: bool(true),
    csab: bool(true),
    spatial: choice('pooled', ['pooled', 'equation']),
    dropout: float(0.2, { min: 0, below: 1 }),
    residualDropout: float(0, { min: 0, below: 1 }),
    scores: choice('softmax', ['softmax', 'sigmoid']),
  },
  inputs: ({ size }) => ({ image: image(3, size, size) }),
  targets: () => ({ label: classIndex() }),
  forward({ image }, o) {
    const shallow = stem(image, o.channels);
    const deep = o.drdb ? dilatedResidualDenseBlock(shallow, o.channels, o.residualDropout) : shallow;
    const features = o.glfeb ? globalLocal(shallow, deep, o.channels) : deep;
    return { logits: head(o.csab ? attention(features, o.spatial) : features, o.classes, o.dropout) };
  },
  loss: ({ logits }, { label }, { scores }) =>
    scores === 'softmax' ? softmaxCrossEntropy(logits, label) : sigmoidCrossEntropy(logits, label),
  scores: ({ scores }) => scores,
  training: { learningRate: 3e-3, schedule: 'one-cycle', batch: 64, epochs: 6 },
});
