/**
 * AlexNet: Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural networks", NeurIPS 2012, in the one-tower variant of
 * Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014, which torchvision has too: no response normalization, and an
 * adaptive pooling to 6x6 before the fully connected layers. Parameters have torchvision's names, so its weights can be loaded with `--weights`.
 */
import {
  adaptiveAveragePool,
  classIndex,
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
  relu,
  scope,
  softmaxCrossEntropy,
  type Tensor,
} from 'ddrc';

const conv = (x: Tensor, name: string, filters: number, kernel: number, stride = 1): Tensor => {
  const initializer = heNormal((x.shape[1] as number) * kernel * kernel);
  return relu(conv2d(x, name, { filters, kernel, stride, pad: stride > 1 ? 2 : (kernel - 1) / 2, initializer }));
};

const dense = (x: Tensor, name: string, units: number): Tensor =>
  relu(linear(x, name, { units, initializer: heNormal(x.shape[1] as number) }));

const pool = (x: Tensor): Tensor => maxPool(x, { kernel: 3, stride: 2 });

export default defineModel({
  name: 'alexnet',
  options: {
    /** Filters of the first convolution; the other layers' widths follow. */
    width: int(64, { min: 1 }),
    classes: int(4, { min: 2 }),
    size: int(224, { min: 63, max: 4096 }),
    dropout: float(0.5, { min: 0, below: 1 }),
  },
  inputs: ({ size }) => ({ image: image(3, size, size) }),
  targets: () => ({ label: classIndex() }),
  forward({ image }, { width, classes, dropout: drop }) {
    const features = scope(image, 'features', (image) => {
      const x = conv(pool(conv(image, '0', width, 11, 4)), '3', 3 * width, 5);
      const y = conv(pool(x), '6', 6 * width, 3);
      return pool(conv(conv(y, '8', 4 * width, 3), '10', 4 * width, 3));
    });
    const pooled: Tensor = flatten(adaptiveAveragePool(features, 6));
    const logits = scope(pooled, 'classifier', (x) => {
      const y = dense(dropout(x, drop), '1', 64 * width);
      return linear(dense(dropout(y, drop), '4', 64 * width), '6', { units: classes });
    });
    return { logits };
  },
  loss: ({ logits }, { label }) => softmaxCrossEntropy(logits, label),
  training: { learningRate: 3e-4, schedule: 'one-cycle', batch: 32, epochs: 10 },
});
