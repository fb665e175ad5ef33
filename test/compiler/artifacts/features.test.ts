import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it, vi } from 'vitest';
import { initialWeights } from '../../../compiler/artifacts/initial.ts';
import { compile } from '../../../compiler/compile.ts';
import { ndarray } from '../../../compiler/ir/ndarray.ts';
import type { Program } from '../../../compiler/ir/program.ts';
import { interpret } from '../../../compiler/passes/interpret.ts';
import {
  array,
  classIndex,
  conv2d,
  defineModel,
  image,
  linear,
  mean,
  relu,
  scope,
  softmaxCrossEntropy,
} from '../../../dsl/index.ts';
import { random } from '../../../numeric/random.ts';

vi.mock('ddrc', () => import('../../../dsl/index.ts'));
const { default: ddrnet } = await import('../../../models/ddrnet.ts');
const { default: alexnet } = await import('../../../models/alexnet.ts');
const { default: mobilenetv2 } = await import('../../../models/mobilenetv2.ts');
const { default: resnet } = await import('../../../models/resnet.ts');

const noise = (length: number, name: string) => Float32Array.from({ length }, random(name));

/** What features.onnx gives for one picture, beside the double-precision values of the same places of the graph. */
async function compare(program: Program, side: number) {
  const { files, manifest } = compile(program, { artifacts: ['features'] });
  const names = manifest.files['features.onnx'].outputs.map(({ name }) => name);
  const pixels = noise(3 * side * side, 'pixels');
  const session = await InferenceSession.create(files.get('features.onnx')!, { intraOpNumThreads: 1 });
  const results = await session.run({ image: new Tensor('float32', pixels, [1, 3, side, side]) });
  await session.release();
  const { graph } = program.build({ mode: 'inference', batch: 1, loss: false, weights: initialWeights(program, 0) });
  const values = graph.nodes.flatMap(({ outputs }) => outputs);
  const expected = interpret(
    graph,
    new Map([[graph.inputs[0], ndarray([1, 3, side, side], pixels)]]),
    // What a block returns is the last value that it makes.
    names.map((name) => values.findLast(({ producer }) => `${producer!.scope}.`.startsWith(`${name}.`))!),
  );
  return names.map((name, i) => ({
    name,
    shape: results[name].dims,
    given: results[name].data as Float32Array,
    expected: expected[i],
  }));
}

describe('features.onnx', () => {
  it.each([
    ['DDRNet', ddrnet.instantiate({ size: 32, channels: 8 }), { stem: 8, drdb: 8, glfeb: 16, csab: 16 }],
    ['DDRNet without its attention', ddrnet.instantiate({ size: 32, channels: 8, csab: false }), { stem: 8, drdb: 8, glfeb: 16 }],
  ])('of %s gives what each block hands on, as double precision has it', async (_, program, channels) => {
    const maps = await compare(program, 32);
    expect(Object.fromEntries(maps.map(({ name, shape }) => [name, shape[1]]))).toEqual(channels);
    for (const { shape, given, expected } of maps) {
      expect(shape).toEqual(expected.shape);
      expect(Math.max(...given) - Math.min(...given)).toBeGreaterThan(0.1);
      given.forEach((value, i) => {
        expect(Math.abs(value - expected.data[i])).toBeLessThan(1e-4);
      });
    }
  });

  it('of ResNet-18 has its stages', () => {
    const program = resnet.instantiate({ depth: 18, width: 4, size: 64 });
    const { inputs, outputs } = compile(program, { artifacts: ['features'] }).manifest.files['features.onnx'];
    expect(inputs.map(({ name }) => name)).toEqual(['image']);
    expect(outputs.map(({ name, shape }) => [name, ...shape])).toEqual([
      ['conv1', 'N', 4, 32, 32],
      ['bn1', 'N', 4, 32, 32],
      ['layer1', 'N', 4, 16, 16],
      ['layer2', 'N', 8, 8, 8],
      ['layer3', 'N', 16, 4, 4],
      ['layer4', 'N', 32, 2, 2],
    ]);
  });

  it.each([
    [
      'AlexNet, whose last map has one place',
      alexnet.instantiate({ size: 63, width: 8 }),
      ['features.0: 8 15', 'features.3: 24 7', 'features.6: 48 3', 'features.8: 32 3', 'features.10: 32 3'],
    ],
    [
      'MobileNetV2, evenly spaced',
      mobilenetv2.instantiate({ size: 224, width: 0.25 }),
      [
        ['0: 8 112', '3: 8 56', '5: 8 28', '8: 16 14'].map((map) => `features.${map}`),
        ['10: 16 14', '13: 24 14', '15: 40 7', '18: 1280 7'].map((map) => `features.${map}`),
      ].flat(),
    ],
    [
      'MobileNetV2 at its smallest size, whose later maps have one place',
      mobilenetv2.instantiate({ size: 32, width: 0.25 }),
      [
        ['0: 8 16', '2: 8 8', '4: 8 4', '6: 8 4'].map((map) => `features.${map}`),
        ['7: 16 2', '9: 16 2', '11: 24 2', '13: 24 2'].map((map) => `features.${map}`),
      ].flat(),
    ],
  ])('has inner scopes of %s', (_, program, maps) => {
    const { outputs } = compile(program, { artifacts: ['features'] }).manifest.files['features.onnx'];
    expect(outputs.map(({ name, shape: [, channels, height] }) => `${name}: ${channels} ${height}`)).toEqual(maps);
  });

  it('of inner scopes gives what these hand on', async () => {
    const maps = await compare(alexnet.instantiate({ size: 63, width: 8 }), 63);
    for (const { given, expected } of maps) {
      expect(Math.max(...given) - Math.min(...given)).toBeGreaterThan(0.1);
      given.forEach((value, i) => {
        expect(Math.abs(value - expected.data[i])).toBeLessThan(1e-4);
      });
    }
  });

  const vectors = defineModel({
    name: 'vectors',
    options: {},
    inputs: () => ({ x: array([4]) }),
    targets: () => ({ label: classIndex() }),
    forward: ({ x }) => ({ logits: linear(x, 'fc', { units: 3 }) }),
    loss: ({ logits }, { label }) => softmaxCrossEntropy(logits, label),
  });
  const twins = defineModel({
    name: 'twins',
    options: {},
    inputs: () => ({ image: image(3, 4, 4) }),
    targets: () => ({ label: classIndex() }),
    forward: ({ image }) => {
      const maps = scope(image, 'image', (x) => relu(conv2d(x, 'conv', { filters: 2, kernel: 1 })));
      return { logits: linear(mean(maps, [2, 3]), 'fc', { units: 3 }) };
    },
    loss: ({ logits }, { label }) => softmaxCrossEntropy(logits, label),
  });

  const places = defineModel({
    name: 'places',
    options: {},
    inputs: () => ({ image: image(3, 4, 4) }),
    targets: () => ({ label: classIndex() }),
    forward: ({ image }) => {
      const maps = scope(image, 'body', (x) => relu(conv2d(x, 'conv', { filters: 2, kernel: 4 })));
      return { logits: linear(mean(maps, [2, 3]), 'fc', { units: 3 }) };
    },
    loss: ({ logits }, { label }) => softmaxCrossEntropy(logits, label),
  });

  it.each([
    [
      'has no map',
      vectors.instantiate(),
      'MODEL_MAPLESS',
      'vectors: no scope of it hands on a feature map [N,C,H,W], so there is none to show',
    ],
    [
      'has maps of one place',
      places.instantiate(),
      'MODEL_MAPLESS',
      'places: its feature maps have 1×1 places at this size, so there is none to show',
    ],
    [
      'has a scope called as its input',
      twins.instantiate(),
      'MODEL_INVALID',
      'twins: the scope image is called as one of its inputs or parameters',
    ],
  ])('is refused where a model %s', (_, program, code, message) => {
    expect(() => compile(program, { artifacts: ['features'] })).toThrow(expect.objectContaining({ code, message }));
  });
});
