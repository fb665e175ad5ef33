import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Manifest } from '../../contract/manifest.ts';
import { serializeSafetensors } from '../../runtime/safetensors.ts';
import { readSafetensors } from '../../runtime/safetensors-file.ts';
import { machineBlock } from '../compiler/lowering-check.ts';
import { checkout, ddrc, type Outcome, smallModel, temporaryFolder } from './ddrc.ts';
import { violations } from './json-schema.ts';
import { ddrcInOneProcess } from './one-process.ts';

const folder = temporaryFolder();
const at = (...parts: string[]) => join(folder, ...parts);
const read = (...parts: string[]) => readFileSync(at(...parts));
const manifestOf = (name: string): Manifest => JSON.parse(read(name, 'manifest.json').toString());
const schema = JSON.parse(readFileSync(join(checkout, 'docs', 'manifest.schema.json'), 'utf8'));

writeFileSync(at('small.ts'), smallModel);
writeFileSync(at('lossless.ts'), smallModel.replace(/ {2}loss:.*\n/, ''));
writeFileSync(at('broken.ts'), smallModel.replace('units: classes', 'units: classes + 0.5'));

const ddrnet = ['build', join(checkout, 'models', 'ddrnet.ts'), '--size', '32', '--classes', 'a,b,c'];

const wide = [...ddrnet, '--option', 'channels=16', '--batch', '2'];

/** All builds but the first, in one process; a process of its own for each would take most of the time. */
const calls = {
  again: ['build', 'small.ts', '--out', 'again'],
  ddrnet: [...ddrnet, '--out', 'ddrnet', '--option', 'channels=4'],
  bytes: [...ddrnet, '--out', 'bytes', '--option', 'channels=4', '--input', 'uint8', '--opset', '13', '--batch', '2'],
  ones: ['build', 'small.ts', '--out', 'ones', '--weights', 'ones.safetensors'],
  seeded: ['build', 'small.ts', '--out', 'seeded', '--seed', '1'],
  shared: ['build', 'small.ts', '--out', 'shared'],
  lossless: ['build', 'lossless.ts', '--out', 'shared'],
  printed: ['build', 'small.ts', '--out', 'printed', '--print-ir', '--explain'],
  printedStep: ['build', 'small.ts', '--out', 'printed', '--print-ir', 'step'],
  portable: [...wide, '--out', 'portable'],
  cpu: [...wide, '--out', 'cpu', '--target', 'cpu', '--explain'],
  webgpu: [...wide, '--out', 'webgpu', '--target', 'webgpu'],
  cuda: [...wide, '--out', 'cuda', '--target', 'cuda'],
  blocked: ['build', 'small.ts', '--out', 'blocked', '--seed', '1'],
} as const satisfies Record<string, readonly string[]>;
const refusals: Record<string, [args: readonly string[], code: 1 | 2, sentence: string]> = {
  'a mistake in the model': [['broken.ts', '--out', 'never'], 1, 'broken.ts:'],
  'another number of classes': [
    ['small.ts', '--out', 'never', '--classes', 'a,b', '--option', 'classes=3'],
    2,
    '--classes names 2 classes, but small gives 3 scores',
  ],
  'weights that are not there': [['small.ts', '--out', 'never', '--weights', 'no.safetensors'], 1, 'FILE_MISSING'],
  'weights of another model': [
    ['small.ts', '--out', 'never', '--option', 'width=8', '--weights', 'ones.safetensors'],
    1,
    'CHECKPOINT_MODEL',
  ],
  'bytes for a model without images': [
    ['small.ts', '--out', 'never', '--input', 'uint8'],
    2,
    '--input uint8 is for images, but small takes none',
  ],
  'an output that is a file': [['small.ts', '--out', 'small.ts'], 1, 'OUTPUT_UNWRITABLE'],
};
let outcomes: Readonly<Record<keyof typeof calls | (string & {}), Outcome>>;

beforeAll(async () => {
  expect(await ddrc(['build', 'small.ts', '--out', 'small'], { cwd: folder })).toMatchObject({ code: 0, stderr: '' });
  const { tensors } = readSafetensors(at('small', 'initial.safetensors'));
  const ones = [...tensors].map(
    ([name, tensor]) => [name, { ...tensor, data: new Float32Array(tensor.data.length).fill(1) }] as const,
  );
  writeFileSync(at('ones.safetensors'), serializeSafetensors(new Map(ones)));
  mkdirSync(at('shared'));
  writeFileSync(at('shared', 'notes.txt'), 'mine');
  cpSync(at('small'), at('blocked'), { recursive: true });
  // A folder of the name of the first file that is put into its place.
  rmSync(at('blocked', 'model.onnx'));
  mkdirSync(at('blocked', 'model.onnx', 'inside'), { recursive: true });
  const all = { ...calls, ...Object.fromEntries(Object.entries(refusals).map(([name, [args]]) => [name, ['build', ...args]])) };
  const results = await ddrcInOneProcess(Object.values(all), folder);
  outcomes = Object.fromEntries(Object.keys(all).map((name, i) => [name, results[i]])) as typeof outcomes;
  for (const name of Object.keys(calls)) {
    if (name !== 'blocked') expect(outcomes[name], name).toMatchObject({ code: 0, stderr: '' });
  }
});

describe('ddrc build', () => {
  it('writes the files and says so', () => {
    expect(readdirSync(at('small')).sort()).toEqual([
      'eval.onnx',
      'grad.onnx',
      'initial.safetensors',
      'manifest.json',
      'model.onnx',
      'step.onnx',
    ]);
    for (const name of readdirSync(at('small'))) {
      expect(outcomes.again.stdout).toContain(name);
      // The same input gives the same bytes, in another process.
      expect(read('again', name).equals(read('small', name)), name).toBe(true);
    }
  });

  it.each(['small', 'ddrnet'])('the manifest of %s fits its schema and the files', async (name) => {
    const manifest = manifestOf(name);
    expect(violations(schema, manifest)).toEqual([]);
    for (const [file, { sha256, inputs, outputs }] of Object.entries(manifest.files)) {
      expect(createHash('sha256').update(read(name, file)).digest('hex'), file).toBe(sha256);
      if (!file.endsWith('.onnx')) continue;
      const session = await InferenceSession.create(at(name, file), { logSeverityLevel: 4 });
      const ports = (list: typeof inputs) => list.map(({ name, dtype, shape }) => ({ name, type: dtype, shape }));
      const described = (list: readonly InferenceSession.ValueMetadata[]) =>
        list.map((value) => (value.isTensor ? { name: value.name, type: value.type, shape: value.shape } : null));
      expect(described(session.inputMetadata), file).toEqual(ports(inputs));
      expect(described(session.outputMetadata), file).toEqual(ports(outputs));
      await session.release();
    }
    const { tensors } = readSafetensors(at(name, 'initial.safetensors'));
    expect([...tensors.keys()]).toEqual([...manifest.parameters, ...manifest.statistics].map((entry) => entry.name));
  });

  it('the schema refuses what is no manifest', () => {
    const manifest = manifestOf('small');
    expect(violations(schema, { ...manifest, ddrc: 2 })).toEqual(['/ddrc: is not 1']);
    expect(violations(schema, { ...manifest, modelHash: 'abc' })).toHaveLength(1);
    expect(violations(schema, { ...manifest, extra: 1 })).toEqual(['/extra: is not expected']);
    expect(
      violations(schema, { ...manifest, files: { 'model.onnx': { ...manifest.files['model.onnx'], inputs: [{ name: 'x' }] } } }),
    ).toHaveLength(3);
  });

  it('model.onnx computes what its parameters say', async () => {
    const session = await InferenceSession.create(at('small', 'model.onnx'));
    const x = Float32Array.from({ length: 16 }, (_, i) => Math.sin(i));
    const { logits, probabilities } = await session.run({ x: new Tensor('float32', x, [2, 8]) });
    const { tensors } = readSafetensors(at('small', 'initial.safetensors'));
    const layer = (input: readonly number[], name: string) => {
      const [weight, bias] = [tensors.get(`${name}.weight`)!, tensors.get(`${name}.bias`)!].map(
        ({ data }) => data as Float32Array,
      );
      return [...bias].map((b, unit) => input.reduce((sum, value, i) => sum + value * weight[unit * input.length + i], b));
    };
    const expected = [0, 1].flatMap((row) =>
      layer(
        layer([...x.slice(8 * row, 8 * row + 8)], 'hidden.fc').map((value) => Math.max(0, value)),
        'head',
      ),
    );
    const exponentials = expected.map(Math.exp);
    expected.forEach((value, i) => {
      const row = Math.floor(i / 3) * 3;
      const total = exponentials[row] + exponentials[row + 1] + exponentials[row + 2];
      expect((logits.data as Float32Array)[i]).toBeCloseTo(value, 5);
      expect((probabilities.data as Float32Array)[i]).toBeCloseTo(exponentials[i] / total, 5);
    });
  });

  it('sets options, classes, opset, batch and input type', async () => {
    const manifest = manifestOf('ddrnet');
    expect(manifest).toMatchObject({
      model: 'ddrnet',
      opset: 17,
      classes: ['a', 'b', 'c'],
      options: { classes: 3, channels: 4, size: 32 },
    });
    expect(manifest.preprocessing).toMatchObject([{ input: 'image', size: [3, 32, 32] }]);
    const bytes = manifestOf('bytes');
    expect(bytes.opset).toBe(13);
    expect(bytes.files['model.onnx'].inputs).toEqual([{ name: 'image', dtype: 'uint8', shape: [2, 32, 32, 3], role: 'data' }]);
    const pixels = Uint8Array.from({ length: 2 * 32 * 32 * 3 }, (_, i) => (i * 37) % 256);
    const planes = Float32Array.from({ length: pixels.length }, (_, i) => {
      const [n, c, p] = [Math.floor(i / 3072), Math.floor(i / 1024) % 3, i % 1024];
      return pixels[(n * 1024 + p) * 3 + c] / 255;
    });
    const run = async (name: string, image: Tensor) => {
      const session = await InferenceSession.create(at(name, 'model.onnx'), { logSeverityLevel: 4 });
      return (await session.run({ image })).logits.data as Float32Array;
    };
    const fromFloats = await run('ddrnet', new Tensor('float32', planes, [2, 3, 32, 32]));
    const fromBytes = await run('bytes', new Tensor('uint8', pixels, [2, 32, 32, 3]));
    for (const [i, value] of fromFloats.entries()) expect(fromBytes[i]).toBeCloseTo(value, 4);
  });

  it('takes given weights in place of the initial ones, and a seed', async () => {
    const session = await InferenceSession.create(at('ones', 'model.onnx'));
    const { logits } = await session.run({ x: new Tensor('float32', new Float32Array(8).fill(2), [1, 8]) });
    // 16 hidden units of 8·2 + 1, and one bias more.
    expect([...(logits.data as Float32Array)]).toEqual([273, 273, 273]);
    expect(readSafetensors(at('ones', 'initial.safetensors')).tensors.get('head.bias')!.data).toEqual(
      new Float32Array(3).fill(1),
    );
    expect(read('seeded', 'initial.safetensors').equals(read('small', 'initial.safetensors'))).toBe(false);
    expect(read('seeded', 'step.onnx').equals(read('small', 'step.onnx'))).toBe(true);
  });

  it('of a model without a loss is inference only, and removes what an earlier build left', () => {
    expect(outcomes.shared.stdout).toContain('step.onnx');
    expect(readdirSync(at('shared')).sort()).toEqual(['initial.safetensors', 'manifest.json', 'model.onnx', 'notes.txt']);
    expect(violations(schema, manifestOf('shared'))).toEqual([]);
  });

  it('prints the graph and the lowerings', () => {
    const { stdout } = outcomes.printed;
    expect(stdout).toContain('%1 float32[N,16] = relu(%0)  // hidden\n');
    expect(stdout).toMatch(/^step\.onnx +relu +standard +1 +hidden$/m);
    expect(outcomes.printedStep.stdout).toContain('return parameters_out = ');
  });

  it.each(['cpu', 'webgpu', 'cuda'] as const)(
    'for %s computes what the portable build does, in forms of its own',
    async (target) => {
      expect(manifestOf(target).target).toBe(target);
      expect(manifestOf(target).block).toBe(target === 'cpu' ? await machineBlock() : 0);
      const image = new Tensor(
        'float32',
        Float32Array.from({ length: 6144 }, (_, i) => ((i * 37) % 256) / 255),
        [2, 3, 32, 32],
      );
      const logits = async (name: string) => {
        const session = await InferenceSession.create(at(name, 'model.onnx'), { logSeverityLevel: 4 });
        return (await session.run({ image })).logits.data as Float32Array;
      };
      const expected = await logits('portable');
      for (const [i, value] of (await logits(target)).entries()) expect(value).toBeCloseTo(expected[i], 5);
    },
  );

  it('says why an operator was not written in another form', () => {
    const lines = outcomes.cpu.stdout.split('\n').map((line) => line.trim().replaceAll(/ {2,}/g, '  '));
    expect(lines).toContain('not unfold dy  pays with the CPU and fewer output than input channels');
    expect(lines).toContain('not nchwc  needs blocked kernels (CPU) and channels that their block divides');
  });

  it.each(Object.entries(refusals))('leaves nothing behind after %s', (name, [, code, sentence]) => {
    const outcome = outcomes[name];
    expect([outcome.code, outcome.stdout]).toEqual([code, '']);
    expect(outcome.stderr).toContain(sentence);
    expect(existsSync(at('never'))).toBe(false);
    expect(read('small.ts').toString()).toBe(smallModel);
  });

  it('leaves an earlier build alone where a file cannot take its place', () => {
    expect(outcomes.blocked.code).toBe(1);
    expect(outcomes.blocked.stderr).toMatch(/^OUTPUT_UNWRITABLE/);
    expect(readdirSync(at('blocked')).sort()).toEqual(readdirSync(at('small')).sort());
    for (const name of readdirSync(at('small'))) {
      if (name !== 'model.onnx') expect(read('blocked', name).equals(read('small', name)), name).toBe(true);
    }
  });
});
