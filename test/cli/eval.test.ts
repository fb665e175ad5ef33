import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { readLines } from '../../runtime/files.ts';
import type { Report } from '../../runtime/metrics.ts';
import { readPredictions } from '../../runtime/predictions.ts';
import { serializeSafetensors } from '../../runtime/safetensors.ts';
import type { TensorData } from '../../runtime/tensor.ts';
import { checkout, ddrc, type Outcome, smallModel, temporaryFolder } from './ddrc.ts';
import { ddrcInOneProcess } from './one-process.ts';
import { pictureFolder } from './picture-folder.ts';

const folder = temporaryFolder();
const at = (...parts: string[]) => join(folder, ...parts);
/** The report that `--json` prints. */
const json = (outcome: Outcome): Report => JSON.parse(outcome.stdout);

/** A report without what depends on the last digits of the probabilities. */
const withoutDigits = ({ calibration, logLoss, ...counted }: Report) => counted;

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
  predictions: ['run', '--predictions', 'own.csv', '--json'],
  grouped: ['run', '--data', 'grouped.csv', '--predictions', 'grouped-predictions.csv'],
  groupedJson: ['run', '--data', 'grouped.csv', '--json'],
  flipped: ['run', '--tta', 'flips', '--predictions', 'flipped.csv', '--json'],
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
  'arrays whose label is no class': [
    ['built', '--data', 'columns.safetensors'],
    1,
    'DATA_LABEL',
    '"kind" of columns.safetensors does not give each example one class',
  ],
  'orientations of what is no image': [
    ['built', '--data', 'arrays.safetensors', '--tta', 'flips'],
    1,
    'MODEL_SCORELESS',
    'small does not take just one square colour image',
  ],
  'predictions into a folder that is not there': [
    ['run', '--predictions', join('nowhere', 'p.csv')],
    1,
    'OUTPUT_UNWRITABLE',
    'its folder does not exist',
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
  save('columns.safetensors', { x: zeros(5, 8), kind: zeros(5, 1) });
  // Three pictures a group, one of them without.
  const rows = classes.flatMap((name) => [0, 1, 2, 3, 4, 5].map((i) => [name, i] as const));
  const grouped = rows.map(
    ([name, i]) => `data/TEST/${name}/00${i}.png,${name},${i === 5 ? '' : `${name}-${Math.floor(i / 3)}`}`,
  );
  writeFileSync(at('grouped.csv'), ['path,label,group', ...grouped, ''].join('\n'));

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
  for (const name of ['best.safetensors', 'metrics.jsonl']) rmSync(at('young', name));

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
    // model.onnx has the batch norms within its convolutions, which changes the last digits of the scores.
    expect(withoutDigits(json(outcomes.named))).toEqual(withoutDigits(expected));
    expect(json(outcomes.named).logLoss).toBeCloseTo(expected.logLoss!, 5);
    expect(outcomes.named.stdout.trimEnd()).not.toContain('\n');
    // The test split is what it takes by itself, and where no data are named, those of the run.
    expect(json(outcomes.unnamed)).toEqual(json(outcomes.named));
    expect(json(outcomes.own)).toEqual(json(outcomes.named));
    expect(withoutDigits(json(outcomes.file))).toEqual(withoutDigits(expected));
  });

  it('writes what the training wrote of each test example', () => {
    const own = readPredictions(at('own.csv'));
    const trained = readPredictions(at('run', 'predictions.csv'));
    expect(own.paths[0]).toBe('TEST/blue/000.png');
    expect({ ...own, probabilities: null }).toEqual({ ...trained, probabilities: null });
    own.probabilities.forEach((value, i) => {
      expect(value).toBeCloseTo(trained.probabilities[i], 5);
    });
    expect(json(outcomes.predictions)).toEqual(json(outcomes.own));
  });

  it('gives intervals over groups where some are known, and writes them', () => {
    const { paths, groups } = readPredictions(at('grouped-predictions.csv'));
    expect([paths[0], groups[0], groups[5]]).toEqual(['data/TEST/red/000.png', 'red-0', null]);
    expect(outcomes.grouped.stdout).toMatch(
      /\naccuracy 100\.0 % \(18 of 18\)\n95 % interval by bootstrap over 9 groups: accuracy 100\.0 to/,
    );
    const { intervals } = json(outcomes.groupedJson);
    expect(intervals).toMatchObject({ groups: 9, accuracy: { estimate: 1, low: 1, high: 1 } });
    expect(json(outcomes.own)).not.toHaveProperty('intervals');
  });

  it('takes the mean over mirror images', () => {
    expect(json(outcomes.flipped).accuracy).toBe(1);
    // The pictures are of one colour each, but for noise; what the network sees of a mirror image is a little different.
    const flipped = readPredictions(at('flipped.csv'));
    const own = readPredictions(at('own.csv'));
    expect(flipped.predicted).toEqual(own.predicted);
    expect(flipped.probabilities).not.toEqual(own.probabilities);
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
    expect(outcomes.all.stdout).toMatch(/\naccuracy [\d.]+ % \(\d+ of 66\)\ncalibration error \(ECE\) .*, log loss .*\n$/);
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
