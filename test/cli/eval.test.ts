import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { readLines } from '../../runtime/files.ts';
import type { Report } from '../../runtime/metrics.ts';
import { serializeSafetensors } from '../../runtime/safetensors.ts';
import type { TensorData } from '../../runtime/tensor.ts';
import { checkout, ddrc, type Outcome, smallModel, temporaryFolder } from './ddrc.ts';
import { ddrcInOneProcess } from './one-process.ts';
import { pictureFolder } from './picture-folder.ts';

const folder = temporaryFolder();
const at = (...parts: string[]) => join(folder, ...parts);
/** The report that `--json` prints. */
const json = (outcome: Outcome): Report => JSON.parse(outcome.stdout);

const zeros = (...shape: number[]): TensorData => ({
  dtype: 'float32',
  shape,
  data: new Float32Array(shape.reduce((a, b) => a * b)),
});

/** All measurements, in one process; a process of its own for each would take most of the time. */
const calls = {
  named: ['run', '--data', 'data', '--split', 'test', '--json'],
  unnamed: ['run', '--data', 'data', '--json'],
  own: ['run', '--json'],
  file: [join('run', 'model.onnx'), '--data', 'data', '--json', '--batch', '5'],
  right: ['run', '--data', at('data', 'TEST'), '--json'],
  mixed: ['run', '--data', 'mixed', '--json'],
  arrays: ['built', '--data', 'arrays.safetensors', '--json'],
  all: ['run', '--data', 'data', '--split', 'all'],
  test: ['run', '--data', 'data'],
  skipping: ['run', '--data', 'damaged', '--on-bad-image', 'skip', '--json'],
} as const satisfies Record<string, readonly string[]>;
const refusals: Record<string, [args: string[], code: 1 | 2, error: string, sentence: string]> = {
  'classes that the model does not know': [
    ['run', '--data', 'cats'],
    1,
    'DATA_CLASSES_DIFFER',
    'the data has the class "cat", which the model does not know',
  ],
  'a split that is not there': [
    ['run', '--data', 'data', '--split', 'val'],
    1,
    'DATA_SPLIT_UNKNOWN',
    'the data has no split "val"',
  ],
  'data that are not there': [['run', '--data', 'nowhere'], 1, 'DATA_MISSING', 'no file or folder "nowhere"'],
  'a file that is no ONNX model': [[join('run', 'config.json'), '--data', 'data'], 1, 'ONNX_INVALID', 'config.json'],
  'a truncated model': [['cut.onnx', '--data', 'data'], 1, 'ONNX_INVALID', 'cut.onnx'],
  'a model that is not there': [['gone', '--data', 'data'], 1, 'FILE_MISSING', 'gone does not exist'],
  'a run without a finished epoch': [['young'], 1, 'FILE_MISSING', 'the run in young has no model.onnx yet'],
  'a run that lost its model': [['lost'], 1, 'FILE_MISSING', 'the run in lost has lost its model.onnx'],
  'a bad image': [['run', '--data', 'damaged'], 1, 'IMAGE_DAMAGED', 'cut.png'],
  'a model without data to measure it on': [[join('run', 'model.onnx')], 2, 'USAGE', 'give --data'],
  'a model without scores': [
    ['line', '--data', 'line.safetensors'],
    1,
    'MODEL_SCORELESS',
    'line gives no scores by class, so there is nothing to count by class',
  ],
  'a device that nobody knows': [['run', '--device', 'gpu'], 2, 'PROVIDER_UNKNOWN', "there is no device 'gpu'"],
};
let outcomes: Readonly<Record<keyof typeof calls | (string & {}), Outcome>>;

beforeAll(async () => {
  const classes = ['red', 'green', 'blue'];
  await pictureFolder(at('data'), { classes, split: 'TRAIN', each: 16 });
  await pictureFolder(at('data'), { classes, split: 'TEST', each: 6 });
  // Pictures that are not where their colour says, so that something is wrong in a known way.
  cpSync(at('data', 'TEST'), at('mixed'), { recursive: true });
  for (const i of [0, 1]) cpSync(at('data', 'TEST', 'red', `00${i}.png`), at('mixed', 'blue', `red${i}.png`));
  const settings = [
    '--size',
    '32',
    '--option',
    'channels=4',
    '--option',
    'drdb=false',
    '--batch',
    '8',
    '--epochs',
    '8',
    '--lr',
    '0.02',
  ];
  const args = [
    'train',
    join(checkout, 'models', 'ddrnet.ts'),
    '--data',
    'data',
    '--run',
    'run',
    '--device',
    'cpu',
    '--cache',
    'none',
    ...settings,
  ];
  expect(await ddrc(args, { cwd: folder })).toMatchObject({ code: 0 });

  // Weights that are all zero but for one bias: every example is taken for class 1.
  const weights = {
    'hidden.fc.weight': zeros(16, 8),
    'hidden.fc.bias': zeros(16),
    'head.weight': zeros(3, 16),
    'head.bias': { ...zeros(3), data: Float32Array.of(0, 1, 0) },
  };
  const label: TensorData = { dtype: 'int64', shape: [5], data: BigInt64Array.of(0n, 1n, 1n, 2n, 1n) };
  const save = (name: string, tensors: Record<string, TensorData>) =>
    writeFileSync(at(name), serializeSafetensors(new Map(Object.entries(tensors))));
  // A target of another name: the model.onnx says which it is.
  writeFileSync(at('small.ts'), smallModel.replaceAll('label', 'kind'));
  save('weights.safetensors', weights);
  save('arrays.safetensors', { x: zeros(5, 8), kind: label });

  await pictureFolder(at('cats'), { each: 1 });
  cpSync(at('cats', 'red'), at('cats', 'cat'), { recursive: true });
  await pictureFolder(at('damaged'), { each: 2 });
  const picture = readFileSync(at('damaged', 'red', '000.png'));
  writeFileSync(at('damaged', 'red', 'cut.png'), picture.subarray(0, picture.length / 2));
  const bytes = readFileSync(at('run', 'model.onnx'));
  writeFileSync(at('cut.onnx'), bytes.subarray(0, bytes.length / 2));
  cpSync(at('run'), at('young'), { recursive: true });
  rmSync(at('young', 'model.onnx'));
  cpSync(at('young'), at('lost'), { recursive: true });
  rmSync(at('young', 'best.safetensors'));

  const all = { ...calls, ...Object.fromEntries(Object.entries(refusals).map(([name, [args]]) => [name, args])) };
  const line = smallModel
    .replace("name: 'small'", "name: 'line'")
    .replaceAll('logits', 'y')
    .replace('label: classIndex()', 'label: array([3])')
    .replace('softmaxCrossEntropy(y, label)', 'meanSquaredError(y, label)')
    .replace('classIndex, ', '')
    .replace('softmaxCrossEntropy', 'meanSquaredError');
  writeFileSync(at('line.ts'), line);
  save('line.safetensors', { x: zeros(5, 8), label: zeros(5, 3) });
  const [built, builtLine, ...results] = await ddrcInOneProcess(
    [
      ['build', 'small.ts', '--out', 'built', '--weights', 'weights.safetensors'],
      ['build', 'line.ts', '--out', 'line'],
      ...Object.values(all).map((args) => ['eval', ...args, '--cache', 'none']),
    ],
    folder,
  );
  expect(built).toMatchObject({ code: 0 });
  expect(builtLine).toMatchObject({ code: 0 });
  outcomes = Object.fromEntries(Object.keys(all).map((name, i) => [name, results[i]])) as typeof outcomes;
});

describe('ddrc eval', () => {
  it('finds on the test split what the training found', () => {
    expect(outcomes.named).toMatchObject({ code: 0 });
    const { test } = readLines(at('run', 'metrics.jsonl')).at(-1) as { test: Report & { loss: number } };
    const { loss, ...expected } = test;
    expect(json(outcomes.named)).toEqual(expected);
    expect(outcomes.named.stdout.trimEnd()).not.toContain('\n');
    // The test split is what it takes by itself, and where no data are named, those of the run.
    expect(json(outcomes.unnamed)).toEqual(expected);
    expect(json(outcomes.own)).toEqual(expected);
    expect(json(outcomes.file)).toEqual(expected);
  });

  it('counts each mistake where it belongs', () => {
    const { images, accuracy, confusion, classes, names } = json(outcomes.mixed);
    // The network that the colours trained has no mistakes of its own; see the first test for what it really does.
    expect(json(outcomes.right).confusion).toEqual([
      [6, 0, 0],
      [0, 6, 0],
      [0, 0, 6],
    ]);
    expect([images, confusion, names]).toEqual([
      20,
      [
        [6, 0, 2],
        [0, 6, 0],
        [0, 0, 6],
      ],
      ['blue', 'green', 'red'],
    ]);
    expect(accuracy).toBeCloseTo(18 / 20, 12);
    expect(classes.blue).toMatchObject({ precision: 1, recall: 6 / 8, support: 8 });
    expect(classes.red).toMatchObject({ precision: 6 / 8, recall: 1, support: 6 });
  });

  it('measures a model of arrays on a safetensors file', () => {
    const { images, accuracy, confusion } = json(outcomes.arrays);
    expect([images, accuracy, confusion]).toEqual([
      5,
      3 / 5,
      [
        [0, 1, 0],
        [0, 3, 0],
        [0, 1, 0],
      ],
    ]);
  });

  it('prints a table, of one split or of all', () => {
    expect(outcomes.all.stdout).toMatch(/^66 images, data\nclass +precision/);
    expect(outcomes.all.stdout).toMatch(/accuracy [\d.]+ % \(\d+ of 66\)\n$/);
    expect(outcomes.test.stdout).toMatch(/^18 images, TEST of data\n/);
  });

  it('leaves a bad image out where it is told to, and says which', () => {
    expect(outcomes.skipping.stderr).toMatch(/left out: .*cut\.png/);
    expect(json(outcomes.skipping).images).toBe(4);
    expect(existsSync(at('run', 'train.lock'))).toBe(false);
  });

  it.each(Object.keys(refusals))('refuses %s', (name) => {
    const [, code, error, sentence] = refusals[name];
    const outcome = outcomes[name];
    expect([outcome.code, outcome.stdout]).toEqual([code, '']);
    expect(outcome.stderr).toMatch(new RegExp(`^${error} {2}`, 'm'));
    expect(outcome.stderr).toContain(sentence);
    expect(outcome.stderr).not.toMatch(/^ +at .*:\d+:\d+/m);
  });
});
