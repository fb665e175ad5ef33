import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it, vi } from 'vitest';
import { compile } from '../../../compiler/compile.ts';
import { ndarray } from '../../../compiler/ir/ndarray.ts';
import { array, classIndex, conv2d, defineModel, image, linear, mean, relu, softmaxCrossEntropy } from '../../../dsl/index.ts';
import { random } from '../../../numeric/random.ts';

vi.mock('ddrc', () => import('../../../dsl/index.ts'));
const { default: ddrnet } = await import('../../../models/ddrnet.ts');
const { default: alexnet } = await import('../../../models/alexnet.ts');
const { default: vgg16 } = await import('../../../models/vgg16-eca.ts');
const { default: resnet } = await import('../../../models/resnet.ts');

const size = 5;
const [channels, classes] = [3, 4];
/** A convolution of one place, ReLU, the mean of the map and a linear layer: Grad-CAM of it has a closed form. */
const pooled = defineModel({
  name: 'pooled',
  options: {},
  inputs: () => ({ image: image(3, size, size) }),
  targets: () => ({ label: classIndex() }),
  forward: ({ image }) => {
    const maps = relu(conv2d(image, 'conv', { filters: 3, kernel: 1, bias: false }));
    return { logits: linear(mean(maps, [2, 3]), 'fc', { units: 4 }) };
  },
  loss: ({ logits }, { label }) => softmaxCrossEntropy(logits, label),
}).instantiate();

async function attention(bytes: Uint8Array, pixels: Float32Array, side: number, asked: readonly number[]) {
  const session = await InferenceSession.create(bytes, { intraOpNumThreads: 1 });
  const results = await session.run({
    image: new Tensor('float32', pixels, [asked.length, 3, side, side]),
    class: new Tensor('int64', BigInt64Array.from(asked, BigInt), [asked.length]),
  });
  await session.release();
  return { shape: results.attention.dims, data: results.attention.data as Float32Array };
}

const noise = (length: number, name: string) => Float32Array.from({ length }, random(name));

describe('explain.onnx', () => {
  it('is Grad-CAM: the maps, weighted by what the class makes of them, above zero, over their maximum', async () => {
    const filters = Array.from(noise(channels * 3, 'filters'), (value) => value - 0.4);
    const rows = Array.from(noise(classes * channels, 'rows'), (value) => value - 0.5);
    const weights = new Map([
      ['conv.weight', ndarray([channels, 3, 1, 1], filters.map(Math.fround))],
      ['fc.weight', ndarray([classes, channels], rows.map(Math.fround))],
      ['fc.bias', ndarray([classes], [0.3, 0, -0.2, 0.1].map(Math.fround))],
    ]);
    const { files, manifest } = compile(pooled, { artifacts: ['explain'], weights });
    const asked = [2, 0];
    const pixels = noise(2 * 3 * size * size, 'pixels');
    const { shape, data } = await attention(files.get('explain.onnx')!, pixels, size, asked);
    expect(shape).toEqual([2, size, size]);
    const area = size * size;
    const expected = asked.flatMap((k, n) => {
      const raw = Array.from({ length: area }, (_, place) => {
        const sums = Array.from({ length: channels }, (_, c) => {
          const value = [0, 1, 2].reduce((sum, i) => sum + filters[c * 3 + i] * pixels[(n * 3 + i) * area + place], 0);
          return (rows[k * channels + c] / area) * Math.max(0, value);
        });
        return Math.max(
          0,
          sums.reduce((a, b) => a + b),
        );
      });
      const most = Math.max(...raw);
      return raw.map((value) => value / most);
    });
    data.forEach((value, i) => {
      expect(Math.abs(value - expected[i])).toBeLessThan(1e-5);
    });
    expect(expected.filter((value) => value > 0).length).toBeGreaterThan(area / 2);
    const { inputs, outputs } = manifest.files['explain.onnx'];
    expect(inputs.map(({ name, shape }) => [name, shape])).toEqual([
      ['image', ['N', 3, size, size]],
      ['class', ['N']],
    ]);
    expect(outputs.map(({ name, shape }) => [name, shape])).toEqual([['attention', ['N', size, size]]]);
  });

  it.each([
    ['DDRNet', ddrnet.instantiate({ size: 64, channels: 8 }), 64, 16],
    ['DDRNet of bare blocks', ddrnet.instantiate({ size: 64, channels: 8, csab: false, glfeb: false }), 64, 16],
    // Their adaptive pooling to 6x6 and 7x7 makes more places than there are.
    ['AlexNet', alexnet.instantiate({ size: 96, width: 8 }), 96, 2],
    ['AlexNet whose last pooling leaves one place', alexnet.instantiate({ size: 64, width: 8 }), 64, 3],
    ['VGG16-ECA whose last pooling leaves one place', vgg16.instantiate({ size: 32, width: 4 }), 32, 2],
    ['ResNet-18', resnet.instantiate({ depth: 18, width: 8, size: 64, classes: 4 }), 64, 2],
  ])('of %s is a map in [0,1] that another class or image changes', async (_, program, side, place) => {
    const bytes = compile(program, { artifacts: ['explain'] }).files.get('explain.onnx')!;
    const pixels = noise(3 * side * side, 'pixels');
    const [first, other] = [await attention(bytes, pixels, side, [1]), await attention(bytes, pixels, side, [3])];
    expect(first.shape).toEqual([1, place, place]);
    expect(Math.min(...first.data)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...first.data)).toBeLessThanOrEqual(1);
    expect(other.data).not.toEqual(first.data);
    expect(new Set(first.data).size).toBeGreaterThan(1);
    const both = await attention(bytes, Float32Array.of(...pixels, ...noise(3 * side * side, 'others')), side, [1, 1]);
    both.data.slice(0, place * place).forEach((value, i) => {
      expect(Math.abs(value - first.data[i])).toBeLessThan(1e-4);
    });
  });

  it('is refused where there is no place to show', () => {
    const vectors = defineModel({
      name: 'vectors',
      options: {},
      inputs: () => ({ x: array([4]) }),
      targets: () => ({ label: classIndex() }),
      forward: ({ x }) => ({ logits: linear(x, 'fc', { units: 3 }) }),
      loss: ({ logits }, { label }) => softmaxCrossEntropy(logits, label),
    }).instantiate();
    const message = 'vectors: has no feature map [N,C,H,W] before its scores, so there is no place to show';
    expect(() => compile(vectors, { artifacts: ['explain'] })).toThrow(
      expect.objectContaining({ code: 'MODEL_MAPLESS', message }),
    );
  });
});
