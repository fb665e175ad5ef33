/**
 * ResNet-18, 34, 50 and 101: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016, in the variant called v1.5
 * (a bottleneck's stride is on its 3x3 convolution). Parameters have torchvision's names, so its weights can be loaded with `--weights`.
 */
import {
  add,
  batchNorm,
  classIndex,
  conv2d,
  defineModel,
  heNormal,
  image,
  int,
  linear,
  maxPool,
  mean,
  relu,
  scope,
  softmaxCrossEntropy,
  type Tensor,
} from 'ddrc';

/** Blocks of each stage. */
const depths: Readonly<Record<number, readonly number[]>> = {
  18: [2, 2, 2, 2],
  34: [3, 4, 6, 3],
  50: [3, 4, 6, 3],
  101: [3, 4, 23, 3],
};

/** Convolution that keeps the map's size at stride 1, without bias; initialised for the ReLU behind it. */
const conv = <X extends Tensor>(x: X, name: string, filters: number, kernel: number, stride = 1) =>
  conv2d(x, name, {
    filters,
    kernel,
    stride,
    pad: (kernel - 1) / 2,
    bias: false,
    initializer: heNormal(filters * kernel * kernel),
  });

/** What is added to the block's result: its input, or where the size differs a 1x1 convolution of it. */
const shortcut = (x: Tensor, filters: number, stride: number): Tensor => {
  if (stride === 1 && x.shape[1] === filters) return x;
  return scope(x, 'downsample', (x) => batchNorm(conv(x, '0', filters, 1, stride), '1'));
};

/** Two 3x3 convolutions. */
const basic = (x: Tensor, width: number, stride: number): Tensor => {
  const y = relu(batchNorm(conv(x, 'conv1', width, 3, stride), 'bn1'));
  return relu(add(batchNorm(conv(y, 'conv2', width, 3), 'bn2'), shortcut(x, width, stride)));
};

/** 1x1 to `width` channels, 3x3, 1x1 to four times as many. */
const bottleneck = (x: Tensor, width: number, stride: number): Tensor => {
  const y = relu(batchNorm(conv(x, 'conv1', width, 1), 'bn1'));
  const z = relu(batchNorm(conv(y, 'conv2', width, 3, stride), 'bn2'));
  return relu(add(batchNorm(conv(z, 'conv3', 4 * width, 1), 'bn3'), shortcut(x, 4 * width, stride)));
};

export default defineModel({
  name: 'resnet',
  options: {
    depth: int(18, { check: (depth) => (depth in depths ? null : `must be one of ${Object.keys(depths).join(', ')}`) }),
    width: int(64, { min: 1 }),
    classes: int(4, { min: 2 }),
    size: int(224, { min: 32, max: 4096 }),
  },
  inputs: ({ size }) => ({ image: image(3, size, size) }),
  targets: () => ({ label: classIndex() }),
  forward({ image }, { depth, width, classes }) {
    const block = depth >= 50 ? bottleneck : basic;
    const stem = relu(batchNorm(conv(image, 'conv1', width, 7, 2), 'bn1'));
    let x: Tensor = maxPool(stem, { kernel: 3, stride: 2, pad: 1 });
    depths[depth].forEach((count, stage) => {
      x = scope(x, `layer${stage + 1}`, (x) => {
        let y: Tensor = x;
        for (let i = 0; i < count; i++) y = scope(y, i, (y) => block(y, width << stage, stage > 0 && i === 0 ? 2 : 1));
        return y;
      });
    });
    return { logits: linear(mean(x, [2, 3]), 'fc', { units: classes }) };
  },
  loss: ({ logits }, { label }) => softmaxCrossEntropy(logits, label),
  training: { learningRate: 1e-3, schedule: 'one-cycle', batch: 32, epochs: 10 },
});
