import { InferenceSession, Tensor } from 'onnxruntime-node';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { asTensors } from '../../cli/compile-for-device.ts';
import { compile } from '../../compiler/index.ts';
import type { NDArray } from '../../compiler/ir/ndarray.ts';
import { elementCount } from '../../compiler/ir/types.ts';
import { interpret } from '../../compiler/passes/interpret.ts';
import { Engine, trainingSession } from '../../runtime/engine.ts';
import { packState } from '../../runtime/flat-state.ts';
import { engineState, stepScalars } from '../../runtime/step-inputs.ts';
import { noise } from '../compiler/ops/run-graph.ts';
import { refusal } from '../dsl/graph-of.ts';

// The model files import the package by its name, which would be the compiled one.
vi.mock('ddrc', () => import('../../dsl/index.ts'));
const models = {
  mobilenetv2: (await import('../../models/mobilenetv2.ts')).default,
  alexnet: (await import('../../models/alexnet.ts')).default,
  'vgg16-eca': (await import('../../models/vgg16-eca.ts')).default,
  vit: (await import('../../models/vit.ts')).default,
};
type Name = keyof typeof models;
type Options = Readonly<Record<string, unknown>>;

/** Elements of each parameter, by name. */
function parameterSizes(name: Name, options: Options): Map<string, number> {
  const built = models[name].instantiate(options).build({ mode: 'inference', batch: 'N', loss: false });
  return new Map(built.parameters.map(({ name, shape }) => [name, elementCount(shape)]));
}

const countOf = (name: Name, options: Options) => [...parameterSizes(name, options).values()].reduce((sum, size) => sum + size);

describe('the number of parameters is the published one', () => {
  const deit = { stem: 'patchify', depth: 12, size: 224 };
  it.each<[string, number, Name, Options]>([
    ['MobileNetV2', 3_504_872, 'mobilenetv2', {}],
    ['MobileNetV2, half as wide', 1_968_680, 'mobilenetv2', { width: 0.5 }],
    ['AlexNet', 61_100_840, 'alexnet', {}],
    ['VGG16', 138_357_544, 'vgg16-eca', { attention: false }],
    ['VGG16 and kernels of 3, 5, 5, 5 and 5', 138_357_544 + 23, 'vgg16-eca', {}],
    ['DeiT-Ti', 5_717_416, 'vit', deit],
    ['ViT-B/16', 86_567_656, 'vit', { ...deit, dim: 768, heads: 12 }],
    // Xiao et al., Table 2: ViT_P-1GF has 4.8 million, ViT_C-1GF 4.6.
    ['ViT_P-1GF', 4_830_376, 'vit', { ...deit, mlp: 3 }],
    ['ViT_C-1GF', 4_567_936, 'vit', { mlp: 3, size: 224 }],
  ])('%s has %i', (_, count, name, options) => {
    expect(countOf(name, { ...options, classes: 1000 })).toBe(count);
  });

  it('of a vision transformer follows the formula in its file', () => {
    for (const [stem, D, L, M, K, size] of [
      ['convolutional', 192, 11, 4, 4, 96],
      ['patchify', 64, 3, 2, 7, 64],
      ['convolutional', 32, 2, 3, 5, 48],
    ] as const) {
      const places = (size / 16) ** 2;
      const ofStem = stem === 'patchify' ? 769 * D : (221 * D * D + 260 * D) / 32;
      const count = L * ((4 + 2 * M) * D * D + (9 + M) * D) + (places + 4 + K) * D + K + ofStem;
      const heads = D === 192 ? 3 : 2;
      expect(countOf('vit', { stem, dim: D, depth: L, heads, mlp: M, classes: K, size })).toBe(count);
    }
  });
});

it('parameters have torchvision’s names', () => {
  const mobile = parameterSizes('mobilenetv2', { classes: 1000 });
  expect(mobile.get('features.0.0.weight')).toBe(32 * 27);
  expect(mobile.get('features.2.conv.1.0.weight')).toBe(96 * 9);
  expect(mobile.get('features.17.conv.2.weight')).toBe(960 * 320);
  expect(mobile.get('features.18.1.bias')).toBe(1280);
  expect(mobile.get('classifier.1.weight')).toBe(1_280_000);
  expect([...parameterSizes('alexnet', {}).keys()].filter((name) => name.endsWith('weight'))).toEqual(
    ['features.0', 'features.3', 'features.6', 'features.8', 'features.10', 'classifier.1', 'classifier.4', 'classifier.6'].map(
      (layer) => `${layer}.weight`,
    ),
  );
  const vgg = [...parameterSizes('vgg16-eca', {}).keys()].filter((name) => name.endsWith('weight'));
  const convolutions = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28].map((i) => `features.${i}.weight`);
  const attention = [0, 1, 2, 3, 4].map((i) => `eca.${i}.weight`);
  expect(vgg.toSorted()).toEqual([...convolutions, ...attention, ...[0, 3, 6].map((i) => `classifier.${i}.weight`)].toSorted());
  const vit = parameterSizes('vit', { depth: 1 });
  expect(vit.get('encoder.layers.encoder_layer_0.self_attention.in_proj_weight')).toBe(3 * 192 * 192);
  expect(vit.get('conv_proj.conv_bn_relu_3.0.weight')).toBe(192 * 96 * 9);
});

it('heads that do not share the width evenly are refused', () => {
  expect(refusal(() => models.vit.instantiate({ heads: 5 }))).toContain(
    'OPTION_INVALID  vit: 5 heads cannot share dim 192 evenly',
  );
});

it('Grad-CAM of a vision transformer looks at the map of its stem, not at the heads', () => {
  const { manifest } = compile(models.vit.instantiate({ dim: 24, depth: 2, size: 48 }), { artifacts: ['explain'] });
  const { outputs } = manifest.files['explain.onnx'];
  expect(outputs.map(({ name, shape }) => [name, shape])).toEqual([['attention', ['N', 3, 3]]]);
});

/** Options that keep a network small; AlexNet's and VGG16's last maps have sizes that 6 and 7 do not divide. */
const small: Readonly<Record<Name, Options>> = {
  mobilenetv2: { width: 0.25, size: 32, dropout: 0 },
  alexnet: { width: 4, size: 96, dropout: 0 },
  'vgg16-eca': { width: 4, size: 32, dropout: 0 },
  vit: { dim: 24, depth: 2, size: 48 },
};

const flat = (weights: ReadonlyMap<string, NDArray>, table: Parameters<typeof packState>[0]) =>
  packState(table, asTensors(weights));

describe.each(Object.keys(small) as Name[])('%s, made small', (name) => {
  const program = models[name].instantiate({ ...small[name], classes: 3 });
  const size = small[name].size as number;

  it('gives the scores of double precision, which differ between images', async () => {
    const { initial } = compile(program, { artifacts: [] });
    const { files } = compile(program, { artifacts: ['model'], weights: initial });
    const { graph, outputs } = program.build({ mode: 'inference', batch: 2, loss: false, weights: initial });
    const image = noise([2, 3, size, size], 0.5, 0.25, 9);
    const [exact] = interpret(graph, new Map([[graph.inputs.find(({ name }) => name === 'image')!, image]]), [
      outputs.get('logits')!,
    ]);
    const session = await InferenceSession.create(files.get('model.onnx')!, { intraOpNumThreads: 1 });
    const { logits } = await session.run({ image: new Tensor('float32', Float32Array.from(image.data), image.shape) });
    await session.release();
    const largest = exact.data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    // Float32 through up to 53 layers: a few roundings of 6e-8 in each.
    const off = exact.data.reduce((most, value, i) => Math.max(most, Math.abs(value - Number(logits.data[i]))), 0);
    expect(off / largest).toBeLessThan(1e-5);
    const apart = [0, 1, 2].map((i) => Math.abs(exact.data[i] - exact.data[3 + i]));
    expect(Math.max(...apart) / largest).toBeGreaterThan(1e-4);
  });

  const engine = new Engine({ threads: 1 });
  afterAll(() => engine.close());

  it('learns one batch by heart', async () => {
    const batch = 6;
    const { manifest, files, initial } = compile(program, { artifacts: ['step'], batch });
    await engine.open('step.onnx', files.get('step.onnx')!, trainingSession);
    const weights = { parameters: flat(initial, manifest.parameters), statistics: flat(initial, manifest.statistics) };
    await engine.load(engineState(manifest, weights));
    const image = noise([batch, 3, size, size], 0.5, 0.25, 5);
    const losses: number[] = [];
    for (let step = 0; step < 60 && !(losses[step - 1] < 0.5 * losses[0]); step++) {
      const { loss } = await engine.step('step.onnx', {
        image: { dtype: 'float32', shape: image.shape, data: Float32Array.from(image.data) },
        label: { dtype: 'int64', shape: [batch], data: BigInt64Array.from([0, 1, 2, 0, 1, 2], BigInt) },
        ...stepScalars(manifest, step, { learningRate: 1e-3 }, 0),
      });
      losses.push(Number(loss.data[0]));
    }
    expect(losses[0]).toBeGreaterThan(0.9);
    expect(losses[0]).toBeLessThan(1.6);
    expect(losses.at(-1)).toBeLessThan(0.5 * losses[0]);
  });
});
