/**
 * MobileNetV2: Sandler, Howard, Zhu, Zhmoginov, Chen, "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018. Parameters have
 * torchvision's names, so its weights can be loaded with `--weights`.
 */
import {
  add,
  batchNorm,
  classIndex,
  clip,
  conv2d,
  defineModel,
  dropout,
  float,
  heNormal,
  image,
  int,
  linear,
  mean,
  normal,
  scope,
  softmaxCrossEntropy,
  type Tensor,
} from 'ddrc';

/** The paper's Table 2: expansion factor, channels, blocks, stride of the first of them. */
const stages = [
  [1, 16, 1, 1],
  [6, 24, 2, 2],
  [6, 32, 3, 2],
  [6, 64, 4, 2],
  [6, 96, 3, 1],
  [6, 160, 3, 2],
  [6, 320, 1, 1],
] as const;

/** The multiple of 8 that is nearest to `channels`, but not less than nine tenths of it. */
const roundChannels = (channels: number) => {
  const nearest = Math.max(8, Math.floor((channels + 4) / 8) * 8);
  return nearest < 0.9 * channels ? nearest + 8 : nearest;
};

const relu6 = (x: Tensor) => clip(x, { min: 0, max: 6 });

/** Convolution `name` that keeps the map's size at stride 1; with as many groups as channels it is depthwise. */
const conv = (x: Tensor, name: string, filters: number, kernel: number, stride = 1, groups = 1): Tensor => {
  const initializer = heNormal((filters * kernel * kernel) / groups);
  return conv2d(x, name, { filters, kernel, stride, pad: (kernel - 1) / 2, groups, bias: false, initializer });
};

/** Convolution, batch norm, ReLU6. */
const convNorm = (x: Tensor, name: string | number, filters: number, kernel: number, stride = 1, groups = 1) =>
  scope(x, name, (x) => relu6(batchNorm(conv(x, '0', filters, kernel, stride, groups), '1')));

/** Inverted residual: 1x1 to `expansion` times the channels (none where it is 1), 3x3 depthwise, 1x1 without activation; added to its input where it has its shape. */
const invertedResidual = (x: Tensor, expansion: number, filters: number, stride: number): Tensor =>
  scope(x, 'conv', (x) => {
    const channels = x.shape[1] as number;
    const wide = expansion * channels;
    let y = x;
    let layer = 0;
    if (expansion > 1) y = convNorm(y, layer++, wide, 1);
    y = convNorm(y, layer++, wide, 3, stride, wide);
    y = batchNorm(conv(y, String(layer), filters, 1), String(layer + 1));
    return stride === 1 && filters === channels ? add(x, y) : y;
  });

export default defineModel({
  name: 'mobilenetv2',
  options: {
    /** Of the channels of each layer; the last layer's 1280 do not get fewer. */
    width: float(1, { min: 0.05, below: 10 }),
    classes: int(4, { min: 2 }),
    size: int(224, { min: 32, max: 4096 }),
    dropout: float(0.2, { min: 0, below: 1 }),
  },
  inputs: ({ size }) => ({ image: image(3, size, size) }),
  targets: () => ({ label: classIndex() }),
  forward({ image }, { width, classes, dropout: drop }) {
    const features = scope(image, 'features', (image) => {
      let index = 0;
      let x = convNorm(image, index++, roundChannels(32 * width), 3, 2);
      for (const [expansion, channels, count, stride] of stages) {
        for (let i = 0; i < count; i++) {
          const step = i === 0 ? stride : 1;
          x = scope(x, index++, (x) => invertedResidual(x, expansion, roundChannels(channels * width), step));
        }
      }
      return convNorm(x, index, roundChannels(1280 * Math.max(1, width)), 1);
    });
    const pooled = dropout(mean(features, [2, 3]), drop);
    return { logits: linear(pooled, 'classifier.1', { units: classes, initializer: normal(0.01) }) };
  },
  loss: ({ logits }, { label }) => softmaxCrossEntropy(logits, label),
  training: { learningRate: 1e-3, schedule: 'one-cycle', batch: 32, epochs: 10 },
});
