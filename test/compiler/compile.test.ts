import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import onnxProto from 'onnx-proto';
import * as ort from 'onnxruntime-node';
import sharp from 'sharp';
import { afterAll, describe, expect, it } from 'vitest';
import { type CompileRequest, compile } from '../../compiler/compile.ts';
import { ndarray } from '../../compiler/ir/ndarray.ts';
import { add, batchNorm, conv2d, defineModel, image, linear, mean, relu } from '../../dsl/index.ts';
import { describeModel, openModel } from '../../runtime/predictor.ts';
import { tinyModel } from '../runtime/tiny-onnx.ts';
import { noise } from './ops/run-graph.ts';

const folder = mkdtempSync(join(tmpdir(), 'ddrc-compile-'));
afterAll(() => rmSync(folder, { recursive: true }));

const size = 6;
/** A residual block, with a batch norm behind each convolution. */
const program = defineModel({
  name: 'residual',
  options: {},
  inputs: () => ({ image: image(3, size, size) }),
  forward: ({ image }) => {
    const window = { filters: 4, kernel: 3, pad: 1, bias: false } as const;
    const stem = relu(batchNorm(conv2d(image, 'stem', window), 'norm1'));
    const body = batchNorm(conv2d(stem, 'body', window), 'norm2');
    const y = relu(add(body, batchNorm(conv2d(stem, 'shortcut', { ...window, kernel: 1, pad: 0 }), 'norm3')));
    return { logits: linear(mean(y, [2, 3]), 'head', { units: 3 }) };
  },
  loss: ({ logits }) => mean(logits, [0, 1]),
}).instantiate();

const { parameters, statistics } = program.build({ mode: 'inference', batch: 1, loss: false });
/** Values that training may have left: statistics away from 0 and 1, variances positive. */
const weights = new Map(
  [...parameters, ...statistics].map(({ name, shape }, i) => [
    name,
    name.endsWith('running_var') ? noise(shape, 1.5, 0.5, i) : noise(shape, 0.1, 0.3, i),
  ]),
);
const model = (request: CompileRequest) => compile(program, { artifacts: ['model'], ...request });

describe('model.onnx', () => {
  it('has no batch norm left, and computes what the evaluation graph computes', async () => {
    const { files, manifest } = compile(program, { artifacts: ['model', 'eval'], weights });
    const nodes = onnxProto.onnx.ModelProto.decode(files.get('model.onnx')!).graph!.node!.map(({ opType }) => opType);
    expect(nodes.filter((op) => op === 'Conv')).toHaveLength(3);
    expect(nodes).not.toContain('BatchNormalization');
    const flat = (table: typeof manifest.parameters) =>
      Float32Array.from(table.flatMap(({ name }) => [...weights.get(name)!.data]));
    const vector = (data: Float32Array) => new ort.Tensor('float32', data, [data.length]);
    const pixels = new ort.Tensor('float32', Float32Array.from(noise([2, 3, size, size], 0.5, 0.2, 5).data), [2, 3, size, size]);
    const run = async (name: string, feeds: Record<string, ort.Tensor>) => {
      const session = await ort.InferenceSession.create(files.get(name)!, { intraOpNumThreads: 1, logSeverityLevel: 3 });
      const { logits } = await session.run(feeds);
      await session.release();
      return [...(logits.data as Float32Array)];
    };
    const evaluated = await run('eval.onnx', {
      image: pixels,
      parameters: vector(flat(manifest.parameters)),
      statistics: vector(flat(manifest.statistics)),
    });
    const deployed = await run('model.onnx', { image: pixels });
    const largest = Math.max(...evaluated.map(Math.abs));
    expect(largest).toBeGreaterThan(0.1);
    // float32, sums of up to 36 products, three layers deep.
    for (const [i, value] of evaluated.entries()) expect(Math.abs(deployed[i] - value)).toBeLessThan(2e-6 * largest);
  });

  it('says what its images are, as does the manifest, and predicts the same from planes and from bytes', async () => {
    const common = { input: 'image', size: [3, size, size], resize: 'bilinear, whole image' };
    const forms = {
      float32: { ...common, layout: 'NCHW', range: [0, 1] },
      uint8: { ...common, layout: 'NHWC', range: [0, 255] },
    };
    const picture = join(folder, 'picture.png');
    await sharp(
      Uint8Array.from({ length: 3 * 81 }, (_, i) => (i * 37) % 256),
      { raw: { width: 9, height: 9, channels: 3 } },
    ).toFile(picture);
    const predictions = [];
    for (const input of ['float32', 'uint8'] as const) {
      const { files, manifest } = model({ weights, input, classes: ['a', 'b', 'c'] });
      const bytes = files.get('model.onnx')!;
      expect(manifest.preprocessing).toEqual([forms[input]]);
      expect(describeModel(bytes, 'model.onnx').preprocessing).toEqual([forms[input]]);
      const path = join(folder, `${input}.onnx`);
      writeFileSync(path, bytes);
      const opened = await openModel(path, { threads: 1 });
      predictions.push(...(await opened.predict([picture])));
      await opened.close();
    }
    const [planes, bytes] = predictions.map(({ probabilities }) => Object.values(probabilities));
    expect(planes).toHaveLength(3);
    // A pixel of the resized picture is rounded to one of 256 values where it is given as a byte.
    for (const [i, value] of planes.entries()) expect(Math.abs(bytes[i] - value)).toBeLessThan(2e-3);
  });
});

describe('compile refuses', () => {
  const refused = (request: CompileRequest, error: { code: string; message: unknown }) =>
    expect(() => model(request)).toThrow(expect.objectContaining(error));
  const without = new Map([...weights].filter(([name]) => name !== 'head.bias'));

  it.each<[string, CompileRequest['weights'], string]>([
    ['weights that lack a name', without, 'the weights do not belong to residual: missing: head.bias'],
    ['an unknown name', new Map(weights).set('tail.bias', noise([3], 0, 1, 1)), 'unknown: tail.bias'],
    [
      'another shape',
      new Map(weights).set('head.bias', noise([4], 0, 1, 1)),
      'different: head.bias (4 values as [4] in place of [3])',
    ],
    [
      'fewer values than the shape says',
      new Map(weights).set('head.bias', ndarray([3], [1, 2])),
      'head.bias (2 values as [3] in place of [3])',
    ],
    ['nothing at all', new Map(), 'missing: stem.weight, norm1.weight, norm1.bias and 14 more'],
  ])('%s', (_, given, sentence) => {
    refused({ weights: given }, { code: 'CHECKPOINT_MODEL', message: expect.stringContaining(sentence) });
  });

  it.each([[['a', 'b']], [['a', 'b', 'c', 'd']], [[]]])('%j as names of three classes', (classes) => {
    const message = `residual gives 3 scores, but ${classes.length} classes are named`;
    refused({ classes }, { code: 'DATA_CLASSES_DIFFER', message });
  });
});

it.each<[object, string]>([
  [
    { artifacts: ['modle'] },
    'artifacts must be model, step, loop, grad, update, eval, explain, features, tunable, training_model, eval_model or optimizer_model, got ["modle"]',
  ],
  [{ target: { provider: 'portable', opset: 12, block: 0 } }, 'target.opset must be a whole number from 13 to 25, got 12'],
  [{ target: { provider: 'portable', opset: 30, block: 0 } }, 'target.opset must be a whole number from 13 to 25, got 30'],
  [{ target: { provider: 'portable', opset: 17.5, block: 0 } }, 'target.opset must be a whole number from 13 to 25, got 17.5'],
  [{ target: {} }, 'target.provider must be portable, cpu, webgpu or cuda, got undefined'],
  [{ batch: '' }, 'batch must be a name of letters and digits where it is no number, got ""'],
  [{ inferenceBatch: 0 }, 'inferenceBatch must be a whole number of at least 1, got 0'],
  [{ seed: 1.5 }, 'seed must be a whole number of at least 0, got 1.5'],
  [{ input: 'float16' }, 'input must be float32 or uint8, got "float16"'],
  [{ classes: ['a', 'b', 'a'] }, 'classes must be different names, got ["a","b","a"]'],
  [{ classes: 'abc' }, 'classes must be a list of names, got "abc"'],
  [{ clipNorm: -1 }, 'clipNorm must be a number of 0 or more, got -1'],
  [{ optimizer: { kind: 'lion' } }, 'optimizer must be sgd, adam, adamw or rmsprop, got {"kind":"lion"}'],
  [{ weights: {} }, 'weights must be a Map of arrays by name, got {}'],
  [{ artefacts: [] }, 'there is no artefacts, did you mean "artifacts"?'],
])('compile refuses %j', (request, sentence) => {
  const error = { code: 'COMPILE_REQUEST', message: `compile: ${sentence}` };
  expect(() => compile(program, request as CompileRequest)).toThrow(expect.objectContaining(error));
});

it('compile refuses weights that are not finite', () => {
  const broken = new Map(weights).set('head.bias', ndarray([3], [0, Number.NaN, 1]));
  const error = { code: 'CHECKPOINT_NOT_FINITE', message: 'the weights of residual contain NaN in head.bias' };
  expect(() => model({ weights: broken })).toThrow(expect.objectContaining(error));
});

it('a model that names another number of classes than it gives scores is refused when it is asked for classes', async () => {
  const path = join(folder, 'misnamed.onnx');
  writeFileSync(
    path,
    tinyModel({
      nodes: [['ReduceMean', ['image'], ['logits'], { axes: [2, 3], keepdims: 0 }]],
      inputs: [['image', 'float32', ['N', 3, 4, 4]]],
      outputs: [['logits', 'float32', ['N', 3]]],
      metadata: {
        'ddrc.model': 'misnamed',
        'ddrc.options': '{}',
        'ddrc.classes': '["a","b"]',
        'ddrc.scores': '{"output":"logits","activation":"softmax"}',
        'ddrc.label': '"label"',
        'ddrc.block': '0',
        'ddrc.preprocessing': '[]',
      },
    }),
  );
  const opened = await openModel(path, { threads: 1 });
  expect(() => opened.classes).toThrow(
    expect.objectContaining({ code: 'MODEL_FOREIGN', message: `${path} names 2 classes, but gives 3 scores` }),
  );
  await opened.close();
});

it('a flipped bit anywhere in model.onnx is found', () => {
  const bytes = model({ classes: ['a', 'b', 'c'] }).files.get('model.onnx')!;
  expect(describeModel(bytes, 'model.onnx').classes).toEqual(['a', 'b', 'c']);
  // Without the name of the checksum there is none, and nothing else is damaged.
  const name = Buffer.from(bytes).indexOf('ddrc.sha256');
  for (let at = 0; at < name - 4; at += 7) {
    const damaged = Uint8Array.from(bytes);
    damaged[at] ^= 64;
    expect(() => describeModel(damaged, 'model.onnx'), `byte ${at}`).toThrow(/damaged|not an ONNX model|not made by ddrc/);
  }
});

it('a model with more parameters than a file can hold is refused before they are drawn', () => {
  const wide = defineModel({
    name: 'wide',
    options: {},
    inputs: () => ({ image: image(3, 8, 8) }),
    forward: ({ image }) => ({ y: conv2d(image, 'conv', { filters: 100_000_000, kernel: 3 }) }),
  }).instantiate();
  const error = { code: 'MODEL_INVALID', message: expect.stringContaining('wide has 2800000000 parameters') };
  expect(() => compile(wide, { artifacts: ['model'] })).toThrow(expect.objectContaining(error));
});
