/**
 * VGG16 (Simonyan, Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015) with Efficient Channel Attention (Wang, Wu,
 * Zhu, Li, Zuo, Hu, "ECA-Net: efficient channel attention for deep convolutional neural networks", CVPR 2020), as Zakir Ullah et al., "An attention-based
 * convolutional neural network for acute lymphoblastic leukemia classification", Applied Sciences 11(22), 2021, put the two together.
 *
 * A reading: only the abstract of Zakir Ullah et al. was to be had, which names VGG16 and ECA but not where the modules stand. Here one stands after each of
 * the five stages, before its max pool, and the classifier is VGG16's. VGG16's parameters have torchvision's names. Its weights have no `eca.0.weight` to
 * `eca.4.weight`: `--weights` takes them where `attention` is false, which leaves a plain VGG16, or with those five arrays added to the file.
 */
import {
  adaptiveAveragePool,
  bool,
  classIndex,
  conv1d,
  conv2d,
  defineModel,
  dropout,
  flatten,
  float,
  heNormal,
  image,
  int,
  linear,
  maxPool,
  mean,
  mul,
  relu,
  reshape,
  scope,
  sigmoid,
  softmaxCrossEntropy,
  type Tensor,
} from 'ddrc';

/** Of each stage: channels as multiples of the first one's, and convolutions. */
const stages = [
  [1, 2],
  [2, 2],
  [4, 3],
  [8, 3],
  [8, 3],
] as const;

/** Kernel size for C channels: the odd number nearest to |log₂(C)/γ + b/γ| with γ = 2 and b = 1, as the authors' code rounds it. */
const kernelSize = (channels: number) => {
  const size = Math.floor(Math.abs((Math.log2(channels) + 1) / 2));
  return size % 2 === 1 ? size : size + 1;
};

/** x scaled by channel: by the sigmoid of a convolution along the channels of its means. */
const channelAttention = (x: Tensor, name: string): Tensor => {
  const [n, channels] = x.shape;
  const means = reshape(mean(x, [2, 3]), [n, 1, channels]);
  const mixed = conv1d(means, name, { filters: 1, kernel: kernelSize(channels as number), pad: 'same', bias: false });
  return mul(x, reshape(sigmoid(mixed), [n, channels, 1, 1]));
};

/** `halved` says that channel attention precedes, whose sigmoid is about ½ at first: weights twice as large keep the signal's size. */
const initializer = (inputs: number, halved: boolean) => heNormal(halved ? inputs / 4 : inputs);

const conv = (x: Tensor, name: number, filters: number, halved: boolean): Tensor =>
  relu(
    conv2d(x, `features.${name}`, { filters, kernel: 3, pad: 1, initializer: initializer(9 * (x.shape[1] as number), halved) }),
  );

const dense = (x: Tensor, name: string, units: number, halved = false): Tensor =>
  relu(linear(x, name, { units, initializer: initializer(x.shape[1] as number, halved) }));

export default defineModel({
  name: 'vgg16-eca',
  options: {
    /** Whether there is channel attention; without it, a plain VGG16. */
    attention: bool(true),
    /** Filters of the first stage; the other layers' widths follow. */
    width: int(64, { min: 1 }),
    classes: int(4, { min: 2 }),
    size: int(224, { min: 32, max: 4096 }),
    dropout: float(0.5, { min: 0, below: 1 }),
  },
  inputs: ({ size }) => ({ image: image(3, size, size) }),
  targets: () => ({ label: classIndex() }),
  forward({ image }, { attention, width, classes, dropout: drop }) {
    let x: Tensor = image;
    let layer = 0;
    for (const [stage, [factor, count]] of stages.entries()) {
      // In torchvision's list of layers each convolution is followed by a ReLU, and each stage by a max pool.
      for (let i = 0; i < count; i++, layer += 2) x = conv(x, layer, factor * width, attention && stage > 0 && i === 0);
      if (attention) x = channelAttention(x, `eca.${stage}`);
      x = maxPool(x, { kernel: 2 });
      layer++;
    }
    const pooled: Tensor = flatten(adaptiveAveragePool(x, 7));
    const logits = scope(pooled, 'classifier', (x) => {
      const y = dropout(dense(x, '0', 64 * width, attention), drop);
      return linear(dropout(dense(y, '3', 64 * width), drop), '6', { units: classes });
    });
    return { logits };
  },
  loss: ({ logits }, { label }) => softmaxCrossEntropy(logits, label),
  training: { learningRate: 1e-4, schedule: 'one-cycle', batch: 32, epochs: 10 },
});
