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
  maxPool2d,
  mean,
  mul,
  relu,
  reshape,
  scope,
  sharedLinear,
  sigmoid,
  sigmoidCrossEntropy,
  softmaxCrossEntropy,
  sum,
  type Tensor,
  tanh,
} from 'ddrc';

/** "Group normalization": 32 groups, or one for each channel where there are fewer. */
const norm = (x: Tensor, name: string) => groupNorm(x, name, { groups: Math.min(32, x.shape[1] as number) });

/** Convolution block: 3x3 of stride 2, max pool, group norm, ReLU; 224 → 56. */
const stem = (x: Tensor, channels: number) =>
  scope(x, 'stem', (x) => {
    const y = conv2d(x, 'conv', { filters: channels, kernel: 3, stride: 2, pad: 1, bias: false });
    return relu(norm(maxPool2d(y, { kernel: 2 }), 'norm'));
  });

/** A residual block whose two 3x3 convolutions have the same dilation. */
const residual = (x: Tensor, channels: number, dilation: number, drop: number) => {
  const conv = (x: Tensor, name: string) => conv2d(x, name, { filters: channels, kernel: 3, pad: dilation, dilation, bias: false });
  const y = relu(norm(conv(x, 'conv1'), 'norm1'));
  return relu(add(x, dropout(norm(conv(y, 'conv2'), 'norm2'), drop)));
};

/** Deep dilated residual dense block: six blocks in a row, the outputs of all fused by a 1x1 convolution. */
const dilatedResidualDenseBlock = (x: Tensor, channels: number, drop: number) =>
  scope(x, 'drdb', (x) => {
    const outputs: Tensor[] = [];
    let y = x;
    [1, 1, 1, 2, 1, 4].forEach((dilation, i) => {
      y = scope(y, i, (y) => residual(y, channels, dilation, drop));
      outputs.push(y);
    });
    return conv2d(concat(outputs), 'fuse', { filters: channels, kernel: 1 });
  });

/** Global and local feature extraction block: the shallow features beside three more convolutions of the deep ones, then tanh. */
const globalLocal = (shallow: Tensor, deep: Tensor, channels: number) =>
  scope(deep, 'glfeb', (deep) => {
    let y = deep;
    [64, 128, channels].forEach((filters, i) => {
      y = scope(y, i, (y) => relu(norm(conv2d(y, 'conv', { filters, kernel: 3, pad: 1, bias: false }), 'norm')));
    });
    return tanh(concat([shallow, y]));
  });

/** Channel attention: average- and max-pooled features through one shared layer, both through a second, sigmoid. */
const channelAttention = (x: Tensor) =>
  scope(x, 'channel', (x) => {
    const channels = x.shape[1] as number;
    const fc1 = sharedLinear(mean(x, [2, 3]), 'fc1', { units: Math.floor(channels / 4) });
    const reduced = [relu(fc1(mean(x, [2, 3]))), relu(fc1(max(x, [2, 3])))];
    return reshape(sigmoid(linear(concat(reduced), 'fc2', { units: channels })), [x.shape[0], channels, 1, 1]);
  });

/** Spatial attention, `pooled`: as in CBAM; `equation`: equations 11 and 12 of the paper taken literally. */
const spatialAttention = (x: Tensor, kind: 'pooled' | 'equation') =>
  scope(x, 'spatial', (x) => {
    if (kind === 'pooled') {
      const pooled = concat([mean(x, [1], true), max(x, [1], true)]);
      return sigmoid(conv2d(pooled, 'conv', { filters: 1, kernel: 5, pad: 2 }));
    }
    const channels = x.shape[1] as number;
    const q = relu(conv2d(x, 'conv', { filters: channels, kernel: 5, pad: 2, groups: channels }));
    return div(q, add(sum(q, [1], true), 1e-6));
  });

/** Channel and spatial attention block, added to its input. */
const attention = (x: Tensor, kind: 'pooled' | 'equation') =>
  scope(x, 'csab', (x) => {
    const y = mul(x, channelAttention(x));
    return add(x, mul(y, spatialAttention(y, kind)));
  });

const head = (x: Tensor, classes: number, p: number) =>
  scope(x, 'head', (x) => linear(dropout(mean(batchNorm(x, 'norm'), [2, 3]), p), 'fc', { units: classes }));

export default defineModel({
  name: 'ddrnet',
  options: {
    classes: int(4, { min: 2 }),
    channels: int(32, { min: 1, check: (c) => (c <= 32 || c % 32 === 0 ? null : 'must be at most 32 or a multiple of 32, since group norm divides it into 32 groups') }),
    size: int(224, { min: 32, multipleOf: 4 }),
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
