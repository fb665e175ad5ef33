import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { random } from '../../numeric/random.ts';
import { readLines } from '../../runtime/files.ts';
import { describeModel } from '../../runtime/predictor.ts';
import { serializeSafetensors } from '../../runtime/safetensors.ts';
import { readSafetensors } from '../../runtime/safetensors-file.ts';
import type { TensorData } from '../../runtime/tensor.ts';
import { checkout, ddrc, type Outcome, smallModel, temporaryFolder } from './ddrc.ts';
import { ddrcInOneProcess } from './one-process.ts';
import { pictureFolder } from './picture-folder.ts';

const folder = temporaryFolder();
const at = (...parts: string[]) => join(folder, ...parts);
const ddrnet = join(checkout, 'models', 'ddrnet.ts');
/** DDRNet in its smallest form, so that a training takes a second. */
const tiny = ['--size', '32', '--option', 'channels=4', '--option', 'drdb=false', '--device', 'cpu', '--cache', 'none'];
const short = [...tiny, '--batch', '12', '--epochs', '6', '--lr', '0.02'];
const train = (...args: string[]) => ddrc(['train', ddrnet, ...args], { cwd: folder });

const once = [...tiny, '--batch', '12', '--epochs', '1'];
const sgd = ['--epochs', '40', '--batch', '20', '--optimizer', 'sgd:momentum=0.9,nesterov=true', '--lr', '0.1'];
/** All trainings but the first, in one process; a process of its own for each would take most of the time. */
const calls = {
  again: [ddrnet, '--data', 'data', '--run', 'again', ...short, '--json'],
  other: [ddrnet, '--data', 'data', '--run', 'other', ...short, '--seed', '1', '--epochs', '1'],
  tuned: [ddrnet, '--data', 'data', '--weights', join('run', 'best.safetensors'), '--run', 'tuned', ...once, '--lr', '1e-9'],
  drawn: [...tiny, '--epochs', '1'],
  arrays: ['small.ts', '--data', 'arrays.safetensors', '--run', 'arrays', '--device', 'cpu', '--json', ...sgd],
  brief: ['small.ts', '--data', 'arrays.safetensors', '--run', 'brief run', '--device', 'cpu', '--epochs', '1'],
  line: ['line.ts', '--data', 'numbers.safetensors', '--run', 'line', '--device', 'cpu', '--epochs', '1'],
  burst: [ddrnet, '--data', 'data', '--run', 'burst', ...once, '--lr', '1e30', '--optimizer', 'sgd', '--schedule', 'constant'],
  skipped: [ddrnet, '--data', 'damaged', '--run', 'skipped', ...once, '--batch', '4', '--on-bad-image', 'skip'],
  cuda: [ddrnet, '--data', 'data', '--run', 'never', ...once, '--device', 'cuda'],
} as const satisfies Record<string, readonly string[]>;
let outcome: Outcome;
let outcomes: Readonly<Record<keyof typeof calls | (string & {}), Outcome>>;

const always = ['--run', 'never', ...tiny];
const data = ['--data', 'data', ...always];
const refusals: Record<string, [args: string[], code: 1 | 2, name: string, sentence: string]> = {
  'data that are not there': [[ddrnet, '--data', 'nowhere', ...always], 1, 'DATA_MISSING', 'no file or folder "nowhere"'],
  'an empty folder': [[ddrnet, '--data', 'empty', ...always], 1, 'DATA_EMPTY', 'the data holds no images'],
  'one class only': [[ddrnet, '--data', 'single', ...always], 1, 'DATA_ONE_CLASS', 'one class only, "red"'],
  'a class without images': [[ddrnet, '--data', 'hollow', ...always], 1, 'DATA_CLASS_EMPTY', '"none" has no images'],
  'other classes in the test split': [[ddrnet, '--data', 'uneven', ...always], 1, 'DATA_CLASSES_DIFFER', '"green"'],
  'fewer images than a batch': [
    [ddrnet, ...data, '--batch', '64'],
    1,
    'TRAIN_TOO_FEW',
    '51 training examples, fewer than one batch of 64',
  ],
  'a truncated image': [[ddrnet, '--data', 'damaged', ...always, '--batch', '4'], 1, 'IMAGE_DAMAGED', 'cut.png'],
  'a validation split that is not there': [[ddrnet, ...data, '--val', 'VALID'], 1, 'DATA_SPLIT_UNKNOWN', 'no split "VALID"'],
  'images for a model of arrays': [
    ['small.ts', '--data', 'data', '--run', 'never'],
    1,
    'DATA_SHAPE',
    'does not take just one square colour image',
  ],
  'drawn cells for a model of arrays': [
    ['small.ts', '--run', 'never'],
    1,
    'DATA_SHAPE',
    'does not take just one square colour image',
  ],
  'a model without a loss, whatever is wrong with its data': [
    ['lossless.ts', '--data', 'nowhere', '--run', 'never'],
    1,
    'MODEL_INVALID',
    'small: has no loss, so it cannot be trained',
  ],
  'a model without a loss and no data': [
    ['lossless.ts', '--run', 'never'],
    1,
    'MODEL_INVALID',
    'small: has no loss, so it cannot be trained',
  ],
  'a model file that is not there': [['ddrnt.ts', ...always], 1, 'FILE_MISSING', 'there is no model file ddrnt.ts'],
  'an unknown option': [[ddrnet, ...data, '--option', 'chanels=8'], 1, 'OPTION_UNKNOWN', 'did you mean "channels"?'],
  'an option out of range': [
    [ddrnet, ...data, '--option', 'dropout=2'],
    1,
    'OPTION_INVALID',
    'dropout of ddrnet must be a number from 0 to below 1',
  ],
  'another number of classes': [
    [ddrnet, ...data, '--option', 'classes=5', '--batch', '4'],
    1,
    'DATA_CLASSES_DIFFER',
    'ddrnet gives 5 scores, but 3 classes are named',
  ],
  'an unknown device': [[ddrnet, ...data, '--device', 'cudda'], 2, 'PROVIDER_UNKNOWN', 'did you mean "cuda"?'],
  'weights of another model': [
    [ddrnet, ...data, '--batch', '4', '--weights', 'foreign.safetensors'],
    1,
    'CHECKPOINT_MODEL',
    'foreign.safetensors',
  ],
  'truncated weights': [
    [ddrnet, ...data, '--batch', '4', '--weights', 'cut.safetensors'],
    1,
    'SAFETENSORS_TRUNCATED',
    'cut.safetensors',
  ],
  'weights with NaN': [
    ['small.ts', '--data', 'arrays.safetensors', '--run', 'never', '--weights', 'nan.safetensors'],
    1,
    'CHECKPOINT_NOT_FINITE',
    'head.bias is not finite',
  ],
  'an output below a file': [
    [ddrnet, '--data', 'data', ...tiny, '--run', join('small.ts', 'run')],
    1,
    'OUTPUT_UNWRITABLE',
    'a part of the path is a file',
  ],
  'a folder that holds something': [[ddrnet, '--data', 'data', ...tiny, '--run', 'data'], 1, 'RUN_EXISTS', 'data is not empty'],
  'to resume what is no run': [['--resume', 'data'], 1, 'RUN_INVALID', 'it has no config.json'],
  'to resume nothing': [['--resume', 'nowhere'], 1, 'RUN_INVALID', 'there is no run folder nowhere'],
  'to resume with another rate': [['--resume', 'data', '--lr', '1'], 2, 'USAGE', '--lr cannot stand beside it'],
  'to resume with a model': [['small.ts', '--resume', 'data'], 2, 'USAGE', 'the model small.ts cannot stand beside it'],
  'an unknown optimizer': [
    [ddrnet, ...data, '--optimizer', 'adamm'],
    2,
    'USAGE',
    `there is no optimizer 'adamm', did you mean "adam"?`,
  ],
  'an unknown setting of it': [[ddrnet, ...data, '--optimizer', 'sgd:momentun=0.9'], 2, 'USAGE', 'did you mean "momentum"?'],
  'a setting out of range': [
    [ddrnet, ...data, '--optimizer', 'adam:beta2=1'],
    2,
    'USAGE',
    'beta2 of adam must be a number between 0 and 1',
  ],
  'Nesterov without a momentum': [
    [ddrnet, ...data, '--optimizer', 'sgd:nesterov=true'],
    2,
    'USAGE',
    'nesterov of sgd needs a momentum',
  ],
  'an unknown schedule': [[ddrnet, ...data, '--schedule', 'one-cicle'], 2, 'SCHEDULE_INVALID', 'did you mean "one-cycle"?'],
  'a warm-up longer than the training': [
    [ddrnet, ...data, '--batch', '10', '--epochs', '1', '--schedule', 'cosine+warmup=9'],
    2,
    'SCHEDULE_INVALID',
    'a warm-up of 9 steps does not fit',
  ],
  "a warm-up longer than the training, of the model's": [
    ['warm.ts', '--data', 'arrays.safetensors', '--run', 'never', '--epochs', '1'],
    2,
    'SCHEDULE_INVALID',
    'does not fit into a training of 4\n  at warm.ts\n',
  ],
  'an array with NaN': [
    ['small.ts', '--data', 'gap.safetensors', '--run', 'never'],
    1,
    'ARRAYS_NOT_FINITE',
    'the array "x" has NaN in example 2',
  ],
  'an unknown augmentation': [[ddrnet, ...data, '--augment', 'rotat=5'], 2, 'AUGMENT_OPTION', 'there is no setting "rotat"'],
  'a split of drawn cells': [[ddrnet, ...always, '--val', 'TEST'], 2, 'USAGE', '--val TEST needs --data'],
  'no epochs': [[ddrnet, ...data, '--epochs', '0'], 2, 'USAGE', 'It must be a whole number from 1 up.'],
  'a fraction that is none': [
    [ddrnet, ...data, '--val', '1.5'],
    2,
    'USAGE',
    '--val: a part of 1.5 of the images is not possible',
  ],
  'a class index that is none': [
    ['small.ts', '--data', 'huge.safetensors', '--run', 'never'],
    1,
    'DATA_LABEL',
    'an example of class 4000000000',
  ],
};

/** What the trainings and refusals are given, beside the pictures. */
async function makeMaterial() {
  const next = random('arrays');
  const labels = Array.from({ length: 200 }, (_, i) => i % 5);
  // Eight numbers, the one at the label's place larger.
  const x = Float32Array.from({ length: 1600 }, (_, i) => next() + (i % 8 === labels[Math.floor(i / 8)] ? 1 : 0));
  const arrays = (label: readonly (number | bigint)[]) =>
    serializeSafetensors(
      new Map<string, TensorData>([
        ['x', { dtype: 'float32', shape: [200, 8], data: x }],
        ['label', { dtype: 'int64', shape: [200], data: BigInt64Array.from(label, BigInt) }],
      ]),
    );
  writeFileSync(at('arrays.safetensors'), arrays(labels));
  writeFileSync(at('huge.safetensors'), arrays([...labels.slice(1), 4_000_000_000]));
  const numbers = (x: Float32Array, name: string, shape: number[], target: TensorData['data']) =>
    new Map<string, TensorData>([
      ['x', { dtype: 'float32', shape: [200, 8], data: x }],
      [name, { dtype: target instanceof Float32Array ? 'float32' : 'int64', shape, data: target }],
    ]);
  writeFileSync(at('numbers.safetensors'), serializeSafetensors(numbers(x, 'y', [200, 3], x.slice(0, 600))));
  const gap = x.with(17, Number.NaN);
  writeFileSync(at('gap.safetensors'), serializeSafetensors(numbers(gap, 'label', [200], BigInt64Array.from(labels, BigInt))));
  const training = (text: string) => smallModel.replace("name: 'small',", `name: 'small',\n  training: ${text},`);
  writeFileSync(at('warm.ts'), training("{ schedule: 'cosine+warmup=100' }"));
  const line = smallModel
    .replace('label: classIndex()', 'y: array([3])')
    .replace(/ {2}forward: .*/, "  forward: ({ x }, { width }) => ({ out: linear(hidden(x, width), 'head', { units: 3 }) }),")
    .replace(/ {2}loss: .*/, '  loss: ({ out }, { y }) => meanSquaredError(out, y),')
    .replace('softmaxCrossEntropy', 'meanSquaredError');
  writeFileSync(at('line.ts'), line);
  writeFileSync(at('lossless.ts'), smallModel.replace(/ {2}loss: .*/, ''));
  mkdirSync(at('empty'));
  await pictureFolder(at('single'), { classes: ['red'], each: 2 });
  await pictureFolder(at('hollow'), { each: 2 });
  mkdirSync(at('hollow', 'none'));
  await pictureFolder(at('uneven'), { split: 'train', each: 2 });
  await pictureFolder(at('uneven'), { classes: ['red', 'green'], split: 'test', each: 2 });
  await pictureFolder(at('damaged'), { each: 8 });
  const whole = readFileSync(at('damaged', 'red', '000.png'));
  writeFileSync(at('damaged', 'red', 'cut.png'), whole.subarray(0, whole.length / 2));
  const foreign = serializeSafetensors(new Map([['fc.weight', { dtype: 'float32', shape: [2], data: Float32Array.of(1, 2) }]]));
  writeFileSync(at('foreign.safetensors'), foreign);
  const zeros = (...shape: number[]): TensorData => ({
    dtype: 'float32',
    shape,
    data: new Float32Array(shape.reduce((a, b) => a * b)),
  });
  const head = { ...zeros(5), data: Float32Array.of(0, 0, 0, Number.NaN, 0) };
  const weights: [string, TensorData][] = [
    ['hidden.fc.weight', zeros(16, 8)],
    ['hidden.fc.bias', zeros(16)],
    ['head.weight', zeros(5, 16)],
    ['head.bias', head],
  ];
  writeFileSync(at('nan.safetensors'), serializeSafetensors(new Map(weights)));
  writeFileSync(at('cut.safetensors'), foreign.subarray(0, numbers.length - 3));
}

beforeAll(async () => {
  await pictureFolder(at('data'), { classes: ['red', 'green', 'blue'], split: 'TRAIN', each: 20 });
  await pictureFolder(at('data'), { classes: ['red', 'green', 'blue'], split: 'TEST', each: 5 });
  writeFileSync(at('small.ts'), smallModel);
  outcome = await train('--data', 'data', '--run', 'run', ...short);
  await makeMaterial();
  const all = { ...calls, ...Object.fromEntries(Object.entries(refusals).map(([name, [args]]) => [name, args])) };
  const results = await ddrcInOneProcess(
    Object.values(all).map((args) => ['train', ...args]),
    folder,
  );
  outcomes = Object.fromEntries(Object.keys(all).map((name, i) => [name, results[i]])) as typeof outcomes;
}, 120_000);

describe('ddrc train', () => {
  describe('on a folder of pictures', () => {
    it('leaves a run folder', () => {
      expect(outcome).toMatchObject({ code: 0 });
      const files = [
        'best.safetensors',
        'config.json',
        'last.safetensors',
        'metrics.jsonl',
        'model.onnx',
        'predictions.csv',
        'report.html',
      ];
      expect(readdirSync(at('run')).sort()).toEqual(files);
    });

    it('writes a line for each epoch, and one for the test', () => {
      const lines = readLines(at('run', 'metrics.jsonl')) as Record<string, unknown>[];
      expect(lines).toHaveLength(7);
      lines.slice(0, 6).forEach((line, i) => {
        expect(line).toMatchObject({
          epoch: i + 1,
          train: { loss: expect.any(Number), accuracy: expect.any(Number) },
          val: { loss: expect.any(Number), accuracy: expect.any(Number) },
          seconds: expect.any(Number),
        });
      });
      const { test } = lines[6] as { test: { images: number; accuracy: number; confusion: number[][]; classes: object } };
      expect(test.images).toBe(15);
      // Three colours: anything that learns tells them apart.
      expect(test.accuracy).toBeGreaterThan(0.9);
      expect(test.accuracy).toBe(test.confusion.reduce((sum, row, i) => sum + row[i], 0) / 15);
      expect(Object.keys(test.classes)).toEqual(['blue', 'green', 'red']);
    });

    it('takes classes, splits and warnings from the data, and says so', () => {
      const config = JSON.parse(readFileSync(at('run', 'config.json'), 'utf8'));
      expect(config).toMatchObject({
        model: 'ddrnet',
        classes: ['blue', 'green', 'red'],
        options: { classes: 3, size: 32, channels: 4 },
      });
      expect(config.data).toMatchObject({ path: '../data', examples: { train: 51, val: 9, test: 15 } });
      expect(outcome.stderr).toContain('51 images to train on (TRAIN), 9 to validate (15 % of TRAIN by file), 15 to test (TEST)');
      expect(outcome.stderr).toContain('no groups are known');
      const { classes, options } = describeModel(readFileSync(at('run', 'model.onnx')), 'model.onnx');
      expect([classes, options.classes]).toEqual([['blue', 'green', 'red'], 3]);
    });

    it('ends with a table by class, the folder, and what to do next', () => {
      expect(outcome.stdout).toMatch(/^15 test examples, weights of epoch \d/);
      for (const line of [/^class +precision +recall/m, /^red +\d/m, /^macro mean/m, /^accuracy \d+\.\d % \(\d+ of 15\)$/m])
        expect(outcome.stdout).toMatch(line);
      for (const next of ['npx ddrc predict run IMAGE', 'npx ddrc eval run', 'npx ddrc serve run'])
        expect(outcome.stdout).toContain(next);
    });

    it('leaves the same bytes again for the same seed, others for another', () => {
      expect(JSON.parse(outcomes.again.stdout)).toMatchObject({ run: 'again', stopped: false, epochs: 6, test: { images: 15 } });
      for (const name of ['best.safetensors', 'last.safetensors', 'model.onnx'])
        expect(readFileSync(at('again', name)).equals(readFileSync(at('run', name))), name).toBe(true);
      const weights = (run: string) => readSafetensors(at(run, 'last.safetensors')).tensors.get('stem.conv.weight');
      expect(weights('other')).not.toEqual(weights('run'));
    });

    it('starts from given weights', () => {
      expect(outcomes.tuned).toMatchObject({ code: 0 });
      const [{ val }] = readLines(at('tuned', 'metrics.jsonl')) as { val: { loss: number } }[];
      const losses = (readLines(at('run', 'metrics.jsonl')) as { val?: { loss: number } }[]).flatMap(
        (line) => line.val?.loss ?? [],
      );
      // Only the running statistics move at such a rate.
      expect(val.loss).toBeLessThan(2 * Math.min(...losses) + 0.05);
    });
  });

  it('without --data trains on drawn cells, and says that they are drawn', () => {
    const { code, stdout, stderr } = outcomes.drawn;
    expect(code).toBe(0);
    expect(stderr).toContain('they are drawn, not real');
    expect(stdout).toMatch(/^600 held-out drawn cells \(drawn by ddrc, not real\)/);
    for (const name of ['EOSINOPHIL', 'LYMPHOCYTE', 'MONOCYTE', 'NEUTROPHIL'])
      expect(stdout).toMatch(new RegExp(`^${name} +\\d`, 'm'));
    expect(readdirSync(at('runs'))).toEqual(['ddrnet-1']);
    expect(JSON.parse(readFileSync(at('runs', 'ddrnet-1', 'config.json'), 'utf8')).options.classes).toBe(4);
  });

  it('trains a model of arrays from a safetensors file', () => {
    const { code, stdout } = outcomes.arrays;
    expect(code).toBe(0);
    expect(JSON.parse(stdout).test).toMatchObject({ images: 30, accuracy: 1 });
    const config = JSON.parse(readFileSync(at('arrays', 'config.json'), 'utf8'));
    expect(config).toMatchObject({
      options: { classes: 5, width: 16 },
      augmentation: null,
      optimizer: { kind: 'sgd', momentum: 0.9, nesterov: true, weightDecay: 0 },
      data: { examples: { train: 140, val: 30, test: 30 } },
    });
  });

  it('names only the commands that the model is made for', () => {
    const next = (outcome: Outcome) => outcome.stdout.split('\nnext\n')[1];
    expect(outcomes.brief).toMatchObject({ code: 0 });
    expect(next(outcomes.brief)).toBe("  npx ddrc eval 'brief run' --data FILE.safetensors\n");
    expect(outcomes.line).toMatchObject({ code: 0 });
    expect(outcomes.line.stdout).toContain('line  model.onnx');
    expect(next(outcomes.line)).toBeUndefined();
  });

  it('stops at a loss that is not finite, names the step, keeps the last good checkpoint', () => {
    const { code, stderr } = outcomes.burst;
    expect(code).toBe(1);
    expect(stderr).toMatch(/LOSS_NOT_FINITE {2}the (validation )?loss (is|became) (NaN|-?Infinity)( at step \d+| after epoch 1)/);
    expect(stderr).toMatch(/weights of the start .*last\.safetensors: no later checkpoint was written/);
    const { tensors } = readSafetensors(at('burst', 'last.safetensors'));
    for (const { data } of tensors.values()) if (data instanceof Float32Array) expect(data.every(Number.isFinite)).toBe(true);
    expect(existsSync(at('burst', 'train.lock'))).toBe(false);
    expect(readFileSync(at('burst', 'report.html'), 'utf8')).toMatch(
      /This training failed: the (validation )?loss (is|became) .*; 0 of \d+ epochs are finished\./,
    );
  });
});

describe('ddrc train refuses', () => {
  it.each(Object.keys(refusals))('%s', (name) => {
    const [, code, error, sentence] = refusals[name];
    const outcome = outcomes[name];
    expect([outcome.code, outcome.stdout]).toEqual([code, '']);
    // What is known about the data may stand before it.
    expect(outcome.stderr).toMatch(new RegExp(`^${error} {2}`, 'm'));
    expect(outcome.stderr).toContain(sentence);
    expect(outcome.stderr).not.toMatch(/^ +at .*:\d+:\d+/m);
    expect(existsSync(at('never'))).toBe(false);
  });

  it('leaves out a bad image where it is told to, and says which', () => {
    const { code, stderr } = outcomes.skipped;
    expect(code).toBe(0);
    expect(stderr).toMatch(/Left out: .*cut\.png/);
    // Who reads the report of the run is told, too.
    expect(JSON.parse(readFileSync(at('skipped', 'config.json'), 'utf8')).notes).toEqual([
      expect.stringContaining('Split by file: no groups are known'),
      expect.stringMatching(/^Left out: .*cut\.png/),
    ]);
    expect(readFileSync(at('skipped', 'report.html'), 'utf8')).toContain('<li>Left out: ');
  });

  it('a device that this machine lacks', () => {
    const { code, stderr } = outcomes.cuda;
    // A machine with a graphics card may have it: then there is nothing to refuse.
    if (code === 0) return;
    expect(code).toBe(1);
    expect(stderr).toMatch(/^PROVIDER_MISSING {2}cuda does not work here: /);
    expect(stderr).toContain('--device cpu works everywhere');
    expect(existsSync(at('never'))).toBe(false);
  });

  it('a disk that is full, or fills up while it trains', async (context) => {
    // A checkpoint is 1 MB. One disk cannot hold the first; the other holds last and best, and not the one that is to take a last one's place.
    const disks = { small: '400k', larger: '2500k' };
    const mounted: string[] = [];
    try {
      for (const [name, size] of Object.entries(disks)) {
        mkdirSync(at(name));
        const isLinux = process.platform === 'linux';
        if (!isLinux || spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'none', at(name)]).status !== 0)
          context.skip('no small disk can be mounted here');
        mounted.push(at(name));
      }
      const args = Object.keys(disks).map((name) => ['train', ddrnet, '--data', 'data', '--run', join(name, 'run'), ...once]);
      for (const { code, stderr } of await ddrcInOneProcess(args, folder)) {
        expect(code).toBe(1);
        expect(stderr).toMatch(/^DISK_FULL {2}.* cannot be written: the disk is full$/m);
      }
      expect(readdirSync(at('small'))).toEqual([]);
      const left = readdirSync(at('larger', 'run'));
      expect(left).toContain('last.safetensors');
      for (const name of left) expect(name).not.toMatch(/partial|lock/);
      expect(Number(readSafetensors(at('larger', 'run', 'last.safetensors')).tensors.get('step')!.data[0])).toBe(0);
    } finally {
      for (const disk of mounted) execFileSync('umount', [disk]);
    }
  });
});
