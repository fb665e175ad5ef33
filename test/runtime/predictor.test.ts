import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { random } from '../../numeric/random.ts';
import { readArtifacts } from '../../runtime/build-folder.ts';
import type { Dataset } from '../../runtime/data/dataset.ts';
import { testFiguresOf } from '../../runtime/evaluator.ts';
import { parseManifest } from '../../runtime/manifest.ts';
import { readOnnxMetadata } from '../../runtime/onnx-metadata.ts';
import { describeModel, openModel } from '../../runtime/predictor.ts';
import { manifest } from './softmax-regression.ts';
import { type TinyModel, tinyModel } from './tiny-onnx.ts';

const folder = mkdtempSync(join(tmpdir(), 'ddrc-predictor-'));
afterAll(() => rmSync(folder, { recursive: true }));

const metadata = {
  'ddrc.model': 'colours',
  'ddrc.options': '{"size":4}',
  'ddrc.classes': '["red","green","blue"]',
  'ddrc.scores': '{"output":"logits","activation":"softmax"}',
  'ddrc.label': '"label"',
  'ddrc.block': '0',
  'ddrc.preprocessing': '[{"input":"image","layout":"NCHW","size":[3,4,4],"range":[0,1],"resize":"bilinear, whole image"}]',
  'ddrc.modelHash': 'abc',
};

/** The logits are the channels' means. */
const colours: TinyModel = {
  nodes: [
    ['ReduceMean', ['image'], ['logits'], { axes: [2, 3], keepdims: 0 }],
    ['Softmax', ['logits'], ['probabilities'], { axis: 1 }],
  ],
  inputs: [['image', 'float32', ['N', 3, 4, 4]]],
  outputs: [
    ['logits', 'float32', ['N', 3]],
    ['probabilities', 'float32', ['N', 3]],
  ],
  metadata,
};

/** The same on a decoder's bytes. */
const bytesColours: TinyModel = {
  ...colours,
  nodes: [
    ['Cast', ['image'], ['numbers'], { to: 1 }],
    ['Mul', ['numbers', 'scale'], ['scaled']],
    ['ReduceMean', ['scaled'], ['logits'], { axes: [1, 2], keepdims: 0 }],
    ['Softmax', ['logits'], ['probabilities'], { axis: 1 }],
  ],
  inputs: [['image', 'uint8', ['N', 4, 4, 3]]],
  floats: { scale: 1 / 255 },
};

const write = (name: string, bytes: Uint8Array | string) => {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
};

/** softmax of the channels of a colour, 0 to 255. */
const expected = (...rgb: number[]) => {
  const powers = rgb.map((value) => Math.exp(value / 255));
  const total = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / total);
};

/** Images of one colour, a value for each channel, with their labels. */
function channels(values: readonly (readonly number[])[], labels: Int32Array): Dataset {
  return {
    size: values.length,
    classes: null,
    labels,
    batch: async (indices) => ({
      image: {
        dtype: 'float32',
        shape: [indices.length, 3, 4, 4],
        data: Float32Array.from(indices.flatMap((n) => values[n].flatMap((value) => Array<number>(16).fill(value)))),
      },
    }),
  };
}

describe('openModel', () => {
  const images: string[] = [];
  const colour = [
    [200, 10, 20],
    [10, 30, 220],
    [0, 255, 0],
  ];
  beforeAll(async () => {
    for (const [i, [r, g, b]] of colour.entries()) {
      const image = sharp({ create: { width: 9, height: 6, channels: 3, background: { r, g, b } } }).png();
      images.push(write(`${i}.png`, await image.toBuffer()));
    }
    write('model.onnx', tinyModel(colours));
    write('bytes.onnx', tinyModel(bytesColours));
  });

  it.each(['', 'model.onnx', 'bytes.onnx'])('classifies images (%s)', async (name) => {
    const model = await openModel(join(folder, name), { threads: 1 });
    const predictions = await model.predict(images, { batch: 2 });
    await model.close();
    expect(predictions.map(({ file, class: of }) => [file, of])).toEqual([
      [images[0], 'red'],
      [images[1], 'blue'],
      [images[2], 'green'],
    ]);
    predictions.forEach(({ probabilities }, i) => {
      expect(Object.keys(probabilities)).toEqual(['red', 'green', 'blue']);
      const values = expected(...colour[i]);
      // float32.
      Object.values(probabilities).forEach((value, k) => {
        expect(value).toBeCloseTo(values[k], 6);
      });
    });
  });

  it('stops at an image that does not decode, or leaves it out and tells', async () => {
    const broken = write('broken.png', 'no image');
    const model = await openModel(folder, { threads: 1 });
    await expect(model.predict([images[0], broken])).rejects.toMatchObject({ code: 'IMAGE_FORMAT' });
    const bad: string[] = [];
    const predictions = await model.predict([broken, ...images], { batch: 2, onBadImage: (file) => bad.push(file) });
    await model.close();
    expect(bad).toEqual([broken]);
    expect(predictions.map(({ class: of }) => of)).toEqual(['red', 'blue', 'green']);
  });

  it.each(['model.onnx', 'bytes.onnx'])('evaluates a data set, the last incomplete batch included (%s)', async (name) => {
    // Labels 0, 0, 1, 2, 2; the brightest channels 0, 1, 1, 2, 0.
    const brightest = [0, 1, 1, 2, 0];
    const dataset: Dataset = {
      size: 5,
      classes: ['red', 'green', 'blue'],
      labels: Int32Array.of(0, 0, 1, 2, 2),
      batch: async (indices) => {
        const data = new Float32Array(indices.length * 48);
        indices.forEach((index, i) => {
          data.fill(200 / 255, i * 48 + brightest[index] * 16, i * 48 + brightest[index] * 16 + 16);
        });
        return { image: { dtype: 'float32', shape: [indices.length, 3, 4, 4], data } };
      },
    };
    const model = await openModel(join(folder, name), { threads: 1 });
    const done: number[] = [];
    const evaluation = await model.evaluate(dataset, { batch: 2, onBatch: (count) => done.push(count) });
    await model.close();
    expect(done).toEqual([2, 4, 5]);
    expect(evaluation).toMatchObject({ images: 5, loss: null });
    expect(evaluation!.confusion!.counts).toEqual([
      [1, 1, 0],
      [0, 1, 0],
      [1, 0, 1],
    ]);
    const figures = testFiguresOf(evaluation!, dataset.classes);
    expect(figures).toMatchObject({
      images: 5,
      accuracy: 3 / 5,
      classes: { red: { precision: 1 / 2, recall: 1 / 2, support: 2 } },
    });
    expect(figures).not.toHaveProperty('loss');
  });

  it('carries the probabilities of each example', async () => {
    const values = [
      [0.1, 0.9, 0.4],
      [0.8, 0.2, 0.8],
    ];
    for (const activation of ['softmax', 'sigmoid'] as const) {
      const scores = JSON.stringify({ output: 'logits', activation });
      const path = write(`${activation}.onnx`, tinyModel({ ...colours, metadata: { ...metadata, 'ddrc.scores': scores } }));
      const model = await openModel(path, { threads: 1 });
      const evaluation = await model.evaluate(channels(values, Int32Array.of(2, 0)), { batch: 1 });
      await model.close();
      const { labels, predicted, probabilities } = evaluation!.scored!;
      expect([[...labels], [...predicted]]).toEqual([
        [2, 0],
        [1, 0],
      ]);
      values.forEach((row, n) => {
        const powers = row.map(Math.exp);
        const total = powers.reduce((a, b) => a + b);
        row.forEach((value, k) => {
          const expected = activation === 'softmax' ? powers[k] / total : 1 / (1 + Math.exp(-value));
          expect(probabilities[3 * n + k]).toBeCloseTo(expected, 6);
        });
      });
    }
  });

  it.each(['model.onnx', 'bytes.onnx'])(
    'gives the very same numbers for images that look alike from everywhere (%s)',
    async (name) => {
      const model = await openModel(join(folder, name), { threads: 1 });
      const plain = await model.predict(images);
      const dataset = channels([[0.1, 0.9, 0.4]], Int32Array.of(1));
      const evaluation = await model.evaluate(dataset);
      for (const tta of ['none', 'flips', 'turns'] as const) {
        expect(await model.predict(images, { tta, batch: 2 })).toEqual(plain);
        expect(await model.evaluate(dataset, { tta })).toEqual(evaluation);
      }
      await model.close();
    },
  );

  it('takes the mean of the probabilities over mirror images and turns', async () => {
    // Each value of the image is the score of a class of its own.
    const classes = Array.from({ length: 48 }, (_, k) => `c${k}`);
    const pixels: TinyModel = {
      ...colours,
      nodes: [
        ['Flatten', ['image'], ['logits'], { axis: 1 }],
        ['Softmax', ['logits'], ['probabilities'], { axis: 1 }],
      ],
      outputs: [
        ['logits', 'float32', ['N', 48]],
        ['probabilities', 'float32', ['N', 48]],
      ],
      metadata: { ...metadata, 'ddrc.classes': JSON.stringify(classes) },
    };
    const file = write('pixels.onnx', tinyModel(pixels));
    const next = random('pixels');
    const bytes = Uint8Array.from({ length: 48 }, () => 256 * next());
    const picture = write(
      'pixels.png',
      await sharp(bytes, { raw: { width: 4, height: 4, channels: 3 } })
        .png()
        .toBuffer(),
    );
    const planes = Array.from({ length: 48 }, (_, i) => bytes[(i % 16) * 3 + Math.floor(i / 16)] / 255);
    const total = planes.reduce((sum, value) => sum + Math.exp(value), 0);
    const at = (c: number, y: number, x: number) => Math.exp(planes[16 * c + 4 * y + x]) / total;
    const mean = (values: number[]) => values.reduce((a, b) => a + b) / values.length;
    const flips = (c: number, y: number, x: number) => [at(c, y, x), at(c, y, 3 - x), at(c, 3 - y, x), at(c, 3 - y, 3 - x)];
    const expected = {
      none: at,
      flips: (c: number, y: number, x: number) => mean(flips(c, y, x)),
      turns: (c: number, y: number, x: number) => mean([...flips(c, y, x), ...flips(c, x, y)]),
    };
    const dataset: Dataset = {
      size: 1,
      classes: null,
      labels: Int32Array.of(47),
      batch: async () => ({ image: { dtype: 'float32', shape: [1, 3, 4, 4], data: Float32Array.from(planes) } }),
    };
    const model = await openModel(file, { threads: 1 });
    for (const tta of ['none', 'flips', 'turns'] as const) {
      const done: [number, number][] = [];
      const [{ class: predicted, probabilities }] = await model.predict([picture], { tta });
      const evaluation = await model.evaluate(dataset, { tta, onBatch: (...count) => done.push(count) });
      const views = { none: 1, flips: 4, turns: 8 }[tta];
      expect(done).toEqual(Array.from({ length: views }, (_, i) => [i + 1, views]));
      for (let k = 0; k < 48; k++) {
        const value = expected[tta](Math.floor(k / 16), Math.floor(k / 4) % 4, k % 4);
        expect(probabilities[`c${k}`]).toBeCloseTo(value, 6);
        expect(evaluation!.scored!.probabilities[k]).toBeCloseTo(value, 6);
      }
      const { scored, confusion } = evaluation!;
      expect(predicted).toBe(`c${scored!.predicted[0]}`);
      expect(scored!.probabilities[scored!.predicted[0]]).toBe(Math.max(...scored!.probabilities));
      expect(confusion!.counts[47][scored!.predicted[0]]).toBe(1);
    }
    await model.close();
  });

  it('refuses a model whose scores are no numbers', async () => {
    const nodes: TinyModel['nodes'] = [
      ['ReduceMean', ['image'], ['means'], { axes: [2, 3], keepdims: 0 }],
      ['Log', ['minus'], ['nan']],
      ['Add', ['means', 'nan'], ['logits']],
      ['Softmax', ['logits'], ['probabilities'], { axis: 1 }],
    ];
    const model = await openModel(write('nan.onnx', tinyModel({ ...colours, nodes, floats: { minus: -1 } })), { threads: 1 });
    await expect(model.predict(images)).rejects.toMatchObject({
      code: 'MODEL_DAMAGED',
      message: 'colours gives scores that are no numbers',
    });
    await model.close();
  });

  it('refuses what is no model of ddrc in one sentence', async () => {
    const foreign = write('foreign.onnx', tinyModel({ ...colours, metadata: {} }));
    await expect(openModel(foreign)).rejects.toMatchObject({
      code: 'MODEL_FOREIGN',
      message: expect.stringContaining('does not say its classes and how images are prepared'),
    });
    const text = write('text.onnx', 'this is not a model');
    await expect(openModel(text)).rejects.toMatchObject({ code: 'ONNX_INVALID', message: `${text} is not an ONNX model` });
    await expect(openModel(join(folder, 'none.onnx'))).rejects.toMatchObject({ code: 'FILE_MISSING' });
    const round = join(folder, 'round.onnx');
    symlinkSync(round, round);
    await expect(openModel(round)).rejects.toMatchObject({ code: 'FILE_UNREADABLE' });
    const scoreless = write('scoreless.onnx', tinyModel({ ...colours, metadata: { ...metadata, 'ddrc.scores': 'null' } }));
    const model = await openModel(scoreless, { threads: 1 });
    await expect(model.predict(images)).rejects.toMatchObject({ code: 'MODEL_SCORELESS' });
    await model.close();
    const preprocessing = metadata['ddrc.preprocessing'].replace('[3,4,4]', '[1,4,4]');
    const inputs: TinyModel['inputs'] = [['image', 'float32', ['N', 1, 4, 4]]];
    write('grey.onnx', tinyModel({ ...colours, inputs, metadata: { ...metadata, 'ddrc.preprocessing': preprocessing } }));
    const grey = await openModel(join(folder, 'grey.onnx'), { threads: 1 });
    await expect(grey.predict(images)).rejects.toMatchObject({
      code: 'MODEL_SCORELESS',
      message: expect.stringContaining('does not take just one square colour image'),
    });
    await grey.close();
  });
});

describe('readOnnxMetadata', () => {
  it('reads the texts and nothing else', () => {
    const bytes = tinyModel({ ...colours, metadata: { ...metadata, note: 'ä → 中' }, floats: { unused: [1, 2, 3] } });
    expect(Object.fromEntries(readOnnxMetadata(bytes, 'x'))).toEqual({ ...metadata, note: 'ä → 中' });
    expect(describeModel(bytes, 'x')).toMatchObject({
      model: 'colours',
      options: { size: 4 },
      classes: ['red', 'green', 'blue'],
      modelHash: 'abc',
    });
  });

  it('refuses a file that was cut off, is empty, or is another kind of file', () => {
    const bytes = tinyModel(colours);
    const png = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d);
    for (const broken of [
      new Uint8Array(0),
      bytes.subarray(0, 60),
      bytes.subarray(0, bytes.length - 3),
      png,
      new TextEncoder().encode('{"a": 1}'),
    ]) {
      expect(() => readOnnxMetadata(broken, 'model.onnx')).toThrow('model.onnx is not an ONNX model');
    }
  });
});

describe('readArtifacts', () => {
  it('reads what was built and checks the hashes', () => {
    const bytes = tinyModel(colours);
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    write('eval.onnx', bytes);
    write('manifest.json', JSON.stringify({ ...manifest, files: { 'eval.onnx': { sha256, inputs: [], outputs: [] } } }));
    expect(readArtifacts(folder).files).toEqual(new Map([['eval.onnx', Buffer.from(bytes)]]));
    expect(() => readArtifacts(folder, ['step.onnx'])).toThrow('the model was built without step.onnx');
    bytes[30] ^= 1;
    write('eval.onnx', bytes);
    expect(() => readArtifacts(folder)).toThrow(expect.objectContaining({ code: 'MANIFEST_FILE' }));
  });

  it('refuses manifests that are damaged or of another version', () => {
    const parse = (value: unknown) => () =>
      parseManifest(typeof value === 'string' ? value : JSON.stringify(value), 'manifest.json');
    expect(parse('{"ddrc": 1')).toThrow('manifest.json is not JSON');
    expect(parse({ name: 'other' })).toThrow('manifest.json is not a manifest of ddrc');
    expect(parse({ ...manifest, ddrc: 2 })).toThrow('manifest.json has version 2, this ddrc reads version 1');
    expect(parse({ ...manifest, slots: null })).toThrow('manifest.json has no valid "slots"');
    expect(parse(manifest)()).toEqual(manifest);
  });
});
