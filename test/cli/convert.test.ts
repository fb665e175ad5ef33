import { linkSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Checkpoint, saveCheckpoint } from '../../runtime/checkpoint.ts';
import { parseOrtCheckpoint, readOrtCheckpoint, serializeOrtCheckpoint } from '../../runtime/ort-checkpoint.ts';
import { serializeSafetensors } from '../../runtime/safetensors.ts';
import { readSafetensors } from '../../runtime/safetensors-file.ts';
import type { TensorData } from '../../runtime/tensor.ts';
import { writeArrays } from './array-file.ts';
import { ddrc, smallModel, temporaryFolder } from './ddrc.ts';
import { ddrcInOneProcess } from './one-process.ts';

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);
const convert = (...args: string[]) => ddrc(['convert', ...args], { cwd: folder });

/** The parameters of {@link smallModel}, which the files of these tests are of. */
const parameters = [
  { name: 'hidden.fc.weight', shape: [16, 8], offset: 0 },
  { name: 'hidden.fc.bias', shape: [16], offset: 128 },
  { name: 'head.weight', shape: [3, 16], offset: 144 },
  { name: 'head.bias', shape: [3], offset: 192 },
];
const wave = (phase: number) => Float32Array.from({ length: 195 }, (_, i) => Math.sin(i + phase));
const state: Checkpoint = {
  parameters: wave(0),
  statistics: new Float32Array(0),
  moment1: wave(1).map((value) => value / 100),
  moment2: wave(2).map((value) => value * value),
  step: 7,
  modelHash: 'c0ffee',
  progress: { epoch: 2, batch: 0, seed: 1, bestLoss: null, bestEpoch: null, sums: {} },
};
const f32 = (shape: readonly number[], ...values: number[]): TensorData => ({
  dtype: 'float32',
  shape,
  data: Float32Array.from(values),
});

beforeAll(() => {
  writeFileSync(at('small.ts'), smallModel);
  writeArrays(at('batch.safetensors'), { size: 6 });
  saveCheckpoint(at('last.safetensors'), { parameters, statistics: [] }, state);
});

describe('ddrc convert', () => {
  it("makes a checkpoint of ddrc's own with the optimizer's state, and it comes back the same", async () => {
    const first = await convert('last.safetensors', 'checkpoint');
    expect(first).toEqual({
      code: 0,
      stdout: 'checkpoint: checkpoint version 2, 4 trainable and 0 frozen arrays, step 7, 2 moments of each\n',
      stderr: '',
    });
    const { trainable, optimizer } = readOrtCheckpoint(at('checkpoint'));
    expect([...trainable.keys()]).toEqual(parameters.map(({ name }) => name));
    expect(trainable.get('head.bias')!.data).toEqual(state.parameters.slice(192));
    expect(optimizer!.moments.get('head.bias')!.map(({ data }) => data)).toEqual([
      state.moment1!.slice(192),
      state.moment2!.slice(192),
    ]);

    const second = await convert('checkpoint', 'back.safetensors');
    expect(second).toEqual({
      code: 0,
      stdout: 'back.safetensors: safetensors, 4 trainable and 0 frozen arrays, step 7, 2 moments of each\n',
      stderr: '',
    });
    const [was, is] = ['last.safetensors', 'back.safetensors'].map((name) => readSafetensors(at(name)));
    expect([...is.tensors]).toEqual([...was.tensors]);
    expect(await convert('back.safetensors', 'again')).toMatchObject({ code: 0 });
    expect(readFileSync(at('again')).equals(readFileSync(at('checkpoint')))).toBe(true);
    expect(readdirSync(folder).filter((name) => name.includes('partial'))).toEqual([]);
  });

  it('gives a file that build, train and step take, and a step from it is the step from the original', async () => {
    await convert('last.safetensors', 'for-step');
    await convert('for-step', 'for-step.safetensors');
    expect(
      await ddrc(['build', 'small.ts', '--weights', 'for-step.safetensors', '--out', 'built'], { cwd: folder }),
    ).toMatchObject({
      code: 0,
    });
    const trained = await ddrc(
      [
        'train',
        'small.ts',
        '--data',
        'batch.safetensors',
        '--val',
        'none',
        '--weights',
        'for-step.safetensors',
        '--epochs',
        '1',
        '--batch',
        '3',
        '--run',
        'run',
      ],
      { cwd: folder },
    );
    expect(trained).toMatchObject({ code: 0 });
    const step = (from: string, out: string) =>
      ddrc(['step', 'small.ts', '--state', from, '--batch', 'batch.safetensors', '--out', out], { cwd: folder });
    expect(await step('last.safetensors', 'one.safetensors')).toMatchObject({ code: 0 });
    expect(await step('for-step.safetensors', 'two.safetensors')).toMatchObject({ code: 0 });
    expect(readFileSync(at('two.safetensors')).equals(readFileSync(at('one.safetensors')))).toBe(true);
  });

  it('takes a file without moments: what is counted in training is frozen, the rest trained', async () => {
    const tensors = new Map<string, TensorData>([
      ['conv.weight', f32([1, 2], 1, 2)],
      ['norm.running_mean', f32([1], 3)],
      ['norm.running_var', f32([1], 4)],
      ['norm.num_batches_tracked', { dtype: 'int64', shape: [], data: BigInt64Array.of(5n) }],
      ['my_running_mean', f32([], 6)],
    ]);
    writeFileSync(at('plain.safetensors'), serializeSafetensors(tensors, { format: 'pt' }));
    const { stdout } = await convert('plain.safetensors', 'v1', '--checkpoint-version', '1');
    expect(stdout).toBe('v1: checkpoint version 1, 2 trainable and 3 frozen arrays, no optimizer state\n');
    const read = readOrtCheckpoint(at('v1'));
    expect([...read.trainable.keys()]).toEqual(['conv.weight', 'my_running_mean']);
    expect(read).toMatchObject({ version: 1, optimizer: null });
    await convert('v1', 'plain-again.safetensors');
    expect([...readSafetensors(at('plain-again.safetensors')).tensors].sort()).toEqual([...tensors].sort());
    // From one version to the other.
    await convert('v1', 'v2');
    expect(readOrtCheckpoint(at('v2'))).toEqual({ ...read, version: 2 });
  });

  it('takes a file with some moments: what has none is frozen', async () => {
    const tensors = new Map<string, TensorData>([
      ['base.weight', f32([1], 1)],
      ['head.weight', f32([2], 2, 3)],
      ['m:head.weight', f32([2], 4, 5)],
      ['step', { dtype: 'int64', shape: [], data: BigInt64Array.of(9n) }],
    ]);
    writeFileSync(at('some.safetensors'), serializeSafetensors(tensors));
    const { stdout } = await convert('some.safetensors', 'some');
    expect(stdout).toBe('some: checkpoint version 2, 1 trainable and 1 frozen arrays, step 9, 1 moments of each\n');
    expect(readOrtCheckpoint(at('some')).optimizer).toEqual({
      step: 9,
      initialLearningRate: 0,
      moments: new Map([['head.weight', [f32([2], 4, 5)]]]),
    });
  });

  it('refuses, and leaves the target as it was', async () => {
    const tensors = (entries: Record<string, TensorData>) => serializeSafetensors(new Map(Object.entries(entries)));
    const step: TensorData = { dtype: 'int64', shape: [], data: BigInt64Array.of(1n) };
    const bytes = readFileSync(at('last.safetensors'));
    bytes[bytes.length - 40] ^= 1;
    writeFileSync(at('flipped.safetensors'), bytes);
    writeFileSync(at('pdf'), '%PDF-1.7 and more');
    writeFileSync(at('no-step.safetensors'), tensors({ w: f32([1], 1), 'm:w': f32([1], 1) }));
    writeFileSync(at('stray.safetensors'), tensors({ w: f32([1], 1), 'm:x': f32([1], 1), step }));
    writeFileSync(
      at('gap.safetensors'),
      tensors({ w: f32([1], 1), x: f32([1], 1), 'm:w': f32([1], 1), 'v:w': f32([1], 1), 'v:x': f32([1], 1), step }),
    );
    writeFileSync(at('shape.safetensors'), tensors({ w: f32([1], 1), 'm:w': f32([2], 1, 2), step }));
    writeFileSync(at('double.safetensors'), tensors({ w: { dtype: 'float64', shape: [1], data: Float64Array.of(1) } }));
    writeFileSync(at('half-step.safetensors'), tensors({ w: f32([1], 1), step: f32([], 0.5) }));
    writeFileSync(at('metadata.safetensors'), serializeSafetensors(new Map([['w', f32([1], 1)]]), { 'ort.int.epoch': '1e9' }));
    const named = (name: string) =>
      serializeOrtCheckpoint({
        version: 2,
        trainable: new Map([[name, f32([1], 1)]]),
        frozen: new Map(),
        optimizer: null,
        properties: new Map(),
      });
    writeFileSync(at('reserved'), named('step'));
    writeFileSync(at('cut'), named('w').subarray(0, 60));
    linkSync(at('pdf'), at('pdf-too'));
    writeFileSync(at('target'), 'old');
    writeFileSync(at('target.safetensors'), 'old');

    const cases: [args: string[], code: number, sentence: string][] = [
      [['last.safetensors', 'target.safetensors'], 2, 'USAGE  last.safetensors is safetensors already'],
      [['reserved', 'target.safetensors', '--checkpoint-version', '1'], 2, 'USAGE  --checkpoint-version is for a checkpoint'],
      [['pdf', 'target', '--checkpoint-version', '3'], 2, 'It must be a whole number from 1 to 2.'],
      [['pdf', './pdf'], 2, 'USAGE  pdf is the source itself'],
      [['pdf', 'pdf-too'], 2, 'USAGE  pdf-too is the source itself'],
      [['nowhere', 'target'], 1, 'FILE_MISSING  nowhere does not exist'],
      [['reserved', 'no-folder/target'], 1, 'OUTPUT_UNWRITABLE'],
      [['pdf', 'target'], 1, 'SAFETENSORS_INVALID  pdf is not safetensors'],
      [
        ['pdf', 'target.safetensors'],
        1,
        'ORT_CHECKPOINT_INVALID  pdf is no checkpoint of ONNX Runtime training: bytes 4 to 7 are not ODTC',
      ],
      [['cut', 'target.safetensors'], 1, 'ORT_CHECKPOINT_INVALID'],
      [['reserved', 'target.safetensors'], 1, "ORT_CHECKPOINT_UNSUPPORTED  reserved has a parameter 'step'"],
      [['flipped.safetensors', 'target'], 1, 'CHECKPOINT_DAMAGED'],
      [['no-step.safetensors', 'target'], 1, 'CHECKPOINT_INVALID  no-step.safetensors has moments but no step'],
      [['stray.safetensors', 'target'], 1, "CHECKPOINT_INVALID  stray.safetensors has 'm:x' but no parameter 'x'"],
      [['gap.safetensors', 'target'], 1, "CHECKPOINT_INVALID  gap.safetensors has no 'm:x', but other moments"],
      [['half-step.safetensors', 'target'], 1, "CHECKPOINT_INVALID  'step' of half-step.safetensors is not one whole number"],
      [
        ['metadata.safetensors', 'target'],
        1,
        "CHECKPOINT_INVALID  the metadata of metadata.safetensors cannot be read: 'ort.int.epoch'",
      ],
      [['shape.safetensors', 'target'], 1, "ORT_CHECKPOINT_INVALID  'w' is [1], its moment [2] in shape.safetensors"],
      [['double.safetensors', 'target'], 1, "ORT_CHECKPOINT_INVALID  tensor 'w' is float64, not float32 in double.safetensors"],
    ];
    const outcomes = await ddrcInOneProcess(
      cases.map(([args]) => ['convert', ...args]),
      folder,
    );
    cases.forEach(([args, code, sentence], i) => {
      expect([args, outcomes[i].code, outcomes[i].stdout]).toEqual([args, code, '']);
      expect(outcomes[i].stderr).toContain(sentence);
    });
    for (const name of ['target', 'target.safetensors']) expect(readFileSync(at(name), 'utf8')).toBe('old');
    expect(readFileSync(at('pdf'), 'utf8')).toBe('%PDF-1.7 and more');
    expect(() => parseOrtCheckpoint(readFileSync(at('reserved')), 'x')).not.toThrow();
  });
});
