import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { endOf, scaleOf } from '../../cli/lr.ts';
import { readLines } from '../../runtime/files.ts';
import { readSafetensors } from '../../runtime/safetensors-file.ts';
import { writeArrays } from './array-file.ts';
import { type Outcome, smallModel, temporaryFolder } from './ddrc.ts';
import { ddrcInOneProcess } from './one-process.ts';
import { pictureFolder } from './picture-folder.ts';
import { interrupted } from './signals.ts';

const folder = temporaryFolder();
const at = (...parts: string[]) => join(folder, ...parts);

/** A convolution with a batch norm, and dropout: all that a resumed training has to bring back. */
const imageModel = `
import { batchNorm, classIndex, conv2d, defineModel, dropout, flatten, globalAveragePool, image, int, linear, relu, softmaxCrossEntropy } from 'ddrc';
export default defineModel({
  name: 'small-images',
  options: { classes: int(2, { min: 2, max: 9 }) },
  inputs: () => ({ image: image(3, 16, 16) }),
  targets: () => ({ label: classIndex() }),
  forward: ({ image }, { classes }) => {
    const features = relu(batchNorm(conv2d(image, 'conv', { filters: 8, kernel: 3, stride: 2 }), 'norm'));
    return { logits: linear(dropout(flatten(globalAveragePool(features)), 0.1), 'head', { units: classes }) };
  },
  loss: ({ logits }, { label }) => softmaxCrossEntropy(logits, label),
  training: { batch: 8, epochs: 6, learningRate: 0.02 },
});
`;
const start = ['train', 'model.ts', '--data', 'pictures', '--device', 'cpu', '--cache', 'none'];
const aids = `--class-weights balanced --ema 0.9 --mixup 0.4 --cutmix 1 --augment magnify=2,share=0.5`.split(' ');
const early = '--patience 1 --lr 3 --epochs 30 --schedule cosine --run early'.split(' ');
/** What runs before all tests, in one process. */
const calls = {
  whole: [...start, ...aids, '--run', 'whole'],
  evaluated: ['eval', 'whole', '--data', 'pictures', '--json', '--cache', 'none'],
  further: [...start, '--weights', 'whole/last.safetensors', '--epochs', '1', '--run', 'further'],
  early: [...start, ...early],
  again: ['train', '--resume', 'early', '--cache', 'none', '--json'],
  plain: [...start, '--epochs', '2', '--run', 'plain'],
  converted: ['convert', 'whole/last.safetensors', 'checkpoint'],
  back: ['convert', 'checkpoint', 'back.safetensors'],
  ort: [...start, '--engine', 'ort-training', '--class-weights', 'blue=0.5', '--patience', '1', '--epochs', '3', '--run', 'ort'],
};
const said: Record<string, Outcome> = {};
async function call(named: Readonly<Record<string, readonly string[]>>): Promise<void> {
  const outcomes = await ddrcInOneProcess(Object.values(named), folder);
  Object.keys(named).forEach((name, i) => {
    said[name] = outcomes[i];
  });
}
const remains = (run: string) => {
  const bytes = (name: string) => readFileSync(at(run, name)).toString('base64');
  const lines = readLines(at(run, 'metrics.jsonl')) as Record<string, unknown>[];
  return {
    lines: lines.map(({ seconds, ...line }) => line),
    files: ['last.safetensors', 'best.safetensors', 'model.onnx'].map(bytes),
  };
};
const configOf = (run: string) => JSON.parse(readFileSync(at(run, 'config.json'), 'utf8'));

beforeAll(async () => {
  await pictureFolder(at('pictures'), { each: 20, classes: ['red'], split: 'TRAIN' });
  await pictureFolder(at('pictures'), { each: 40, classes: ['blue'], split: 'TRAIN' });
  await pictureFolder(at('pictures'), { each: 8, split: 'TEST' });
  writeArrays(at('arrays.safetensors'));
  writeFileSync(at('small.ts'), smallModel);
  writeFileSync(at('model.ts'), imageModel);
  writeFileSync(
    at('free.ts'),
    imageModel
      .replace('softmaxCrossEntropy(logits, label)', 'mean(mul(logits, logits), [0, 1])')
      .replace('linear,', 'linear, mean, mul,'),
  );
  await call(calls);
}, 120_000);

/** A run of aids that was stopped, and one of before there were any, of which only config.json is left, go on. */
beforeAll(async () => {
  const { code } = await interrupted([...start, ...aids, '--run', 'stopped'], [[/^epoch 2\/6 /m, 'SIGINT']], folder);
  expect(code).toBe(130);
  const { classWeights, ema, mix, patience, augmentation, ...rest } = configOf('plain');
  const { magnify, share, saturation, hue, ...varied } = augmentation;
  expect([classWeights, ema, mix, patience, magnify, share, saturation, hue]).toEqual([null, null, null, null, 1, 1, 0, 0]);
  mkdirSync(at('older'));
  writeFileSync(at('older', 'config.json'), JSON.stringify({ ...rest, augmentation: varied }));
  const resume = (run: string) => ['train', '--resume', run, '--cache', 'none'];
  await call({ stopped: resume('stopped'), older: resume('older') });
}, 120_000);

describe('ddrc train with class weights, averages, mixed and magnified images', () => {
  it('has them in config.json, learns, and exports the averages', () => {
    expect(said.whole).toMatchObject({ code: 0 });
    const { classWeights, ema, mix, augmentation, data, patience } = configOf('whole');
    expect([ema, mix, patience]).toEqual([0.9, { mixup: 0.4, cutmix: 1 }, null]);
    expect(augmentation).toMatchObject({ magnify: 2, share: 0.5, rotate: 10 });
    // blue before red; 15 of 100 validate.
    const counts = [34, 17];
    expect(data.examples).toMatchObject({ train: 51, test: 16 });
    expect(classWeights).toEqual(counts.map((count) => 51 / (2 * count)));
    const { test } = (readLines(at('whole', 'metrics.jsonl')) as { test: { accuracy: number } }[]).at(-1)!;
    expect(test.accuracy).toBe(1);
    expect(JSON.parse(said.evaluated.stdout)).toMatchObject({ accuracy: 1 });
  });

  it('ends in the same bytes after Ctrl-C and --resume', () => {
    expect(said.stopped).toMatchObject({ code: 0 });
    expect(remains('stopped')).toEqual(remains('whole'));
  });

  it('leaves the averages out of a checkpoint for ONNX Runtime', () => {
    expect([said.converted.code, said.back.code]).toEqual([0, 0]);
    const [from, to] = ['whole/last.safetensors', 'back.safetensors'].map((file) => readSafetensors(at(file)).tensors);
    const averages = [...from.keys()].filter((name) => name.startsWith('ema:'));
    const named = [...from.keys()].filter((name) => name !== 'step' && !name.includes(':'));
    expect(averages.sort()).toEqual(named.map((name) => `ema:${name}`).sort());
    expect(named).toHaveLength(8);
    expect([...to.keys()].sort()).toEqual([...from.keys()].filter((name) => !averages.includes(name)).sort());
  });

  it("weighs classes by ONNX Runtime's training API, too", () => {
    expect([said.ort.code, said.ort.stderr]).toEqual([0, expect.any(String)]);
    expect(configOf('ort').classWeights).toEqual([0.5, 1]);
  });

  it('goes on from a last.safetensors without its averages where --weights names it', () => {
    expect(said.further).toMatchObject({ code: 0 });
  });
});

describe('ddrc train --patience', () => {
  it('ends early, says so, and is complete', () => {
    const { code, stdout, stderr } = said.early;
    expect([code, stderr]).toEqual([0, expect.stringContaining('The cosine schedule is laid out for all 30 epochs')]);
    const [, epochs] = /^ended after (\d+) of 30 epochs: no lower validation loss in 1 epochs/.exec(stdout)!;
    const lines = readLines(at('early', 'metrics.jsonl')) as { epoch?: number; stoppedEarly?: true }[];
    expect(lines.filter(({ stoppedEarly }) => stoppedEarly).map(({ epoch }) => epoch)).toEqual([Number(epochs)]);
    expect(configOf('early').patience).toBe(1);
    const split = expect.stringContaining('Split by file: no groups are known');
    expect(configOf('early').notes).toEqual([
      split,
      expect.stringContaining('The cosine schedule is laid out for all 30 epochs'),
    ]);
    expect(configOf('plain').notes).toEqual([split]);
    const { again } = said;
    expect(again.stderr).toContain(`is complete: ${epochs} of 30 epochs, ended by --patience 1`);
    expect(JSON.parse(again.stdout)).toMatchObject({ stopped: false, stoppedEarly: true, epochs: Number(epochs) });
  });
});

it('a run folder of before there were these aids goes on without them', () => {
  expect(said.older).toMatchObject({ code: 0 });
  expect(remains('older')).toEqual(remains('plain'));
});

describe('refuses', () => {
  const never = ['--run', 'never'];
  const arrays = ['train', 'small.ts', '--data', 'arrays.safetensors', '--device', 'cpu', ...never];
  const refusals: Record<string, [args: string[], code: 1 | 2, error: string, sentence: string]> = {
    'a patience without validation': [
      [...start, ...never, '--patience', '3', '--val', 'none'],
      2,
      'USAGE',
      '--patience waits for a lower validation loss, and there is no validation',
    ],
    'a class that there is not': [
      [...start, ...never, '--class-weights', 'blu=2'],
      2,
      'USAGE',
      '--class-weights: there is no class "blu", did you mean "blue"?',
    ],
    'a weight that is none': [
      [...start, ...never, '--class-weights', 'blue=0'],
      2,
      'USAGE',
      '--class-weights: blue=0 is not a number above 0',
    ],
    'weights that say neither': [
      [...start, ...never, '--class-weights', 'even'],
      2,
      'USAGE',
      '--class-weights: "even" is neither balanced nor of the form CLASS=W',
    ],
    'class weights and parts of a batch': [
      [...start, ...never, '--class-weights', 'balanced', '--accumulate', '2'],
      2,
      'USAGE',
      '--class-weights weighs the examples of a whole batch against one another, and --accumulate takes it in parts',
    ],
    'class weights and a loss that takes none, by its file': [
      ['train', 'free.ts', '--data', 'pictures', '--device', 'cpu', '--cache', 'none', ...never, '--class-weights', 'balanced'],
      1,
      'AID_UNFIT',
      'its loss takes no class weights\n  at free.ts\n',
    ],
    'mixed arrays': [[...arrays, '--mixup', '0.2'], 2, 'USAGE', '--mixup mixes images, and these data are arrays'],
    'cut arrays': [[...arrays, '--cutmix', '1'], 2, 'USAGE', '--cutmix mixes images, and these data are arrays'],
    'averages by the training API': [
      [...start, ...never, '--ema', '0.99', '--engine', 'ort-training'],
      2,
      'USAGE',
      "ONNX Runtime's training API keeps no averages of the weights",
    ],
    'mixed images by the training API': [
      [...start, ...never, '--mixup', '0.99', '--engine', 'ort-training'],
      2,
      'USAGE',
      "ONNX Runtime's training API takes no mixed examples",
    ],
    'settings of augmentation that are none': [[...start, ...never, '--augment', ''], 2, 'AUGMENT_OPTION', 'is not of the form'],
    'an option of the model that is set twice': [
      [...start, ...never, '--option', 'classes=2', '--option', 'classes=3'],
      2,
      'USAGE',
      'It sets classes a second time.',
    ],
    'a decay of 1': [[...start, ...never, '--ema', '1'], 2, 'USAGE', 'It must be a number from 0 to below 1.'],
    'a magnification that makes smaller': [
      [...start, ...never, '--augment', 'magnify=0.5'],
      2,
      'AUGMENT_OPTION',
      'magnify=0.5 is not a number from 1 to 10',
    ],
    'an aid beside --resume': [['train', '--resume', 'edited', '--ema', '0.9'], 2, 'USAGE', '--ema cannot stand beside it'],
    'a config.json with half a mix': [['train', '--resume', 'edited'], 1, 'RUN_INVALID', 'no usable "mix"'],
  };

  it('what cannot be, in one sentence, and leaves no folder', async () => {
    cpSync(at('plain'), at('edited'), { recursive: true });
    writeFileSync(at('edited', 'config.json'), JSON.stringify({ ...configOf('plain'), mix: { mixup: 1 } }));
    const outcomes = await ddrcInOneProcess(
      Object.values(refusals).map(([args]) => args),
      folder,
    );
    Object.entries(refusals).forEach(([what, [, code, error, sentence]], i) => {
      expect([what, outcomes[i].code, outcomes[i].stderr]).toEqual([what, code, expect.stringContaining(sentence)]);
      expect(outcomes[i].stderr).toContain(error);
    });
    expect(existsSync(at('never'))).toBe(false);
  });
});

describe('ddrc lr', () => {
  it('draws bars by a scale on which the way up to the divergence can be seen', () => {
    const of = (losses: number[], end: 'complete' | 'diverged' = 'complete') =>
      scaleOf(
        losses.map((smoothed) => ({ smoothed })),
        end,
      );
    // A fall that can be seen, and a burst that is beyond the scale.
    expect(of([1.4, 1, 3.9, 1e11], 'diverged')).toEqual([1, 3.9]);
    expect(of([2, 1, 3, 4.1], 'diverged')).toEqual([1, 2]);
    // The first is the lowest.
    expect(of([1, 1.2, 2, 3, 5], 'diverged')).toEqual([1, 3]);
    expect(of([1, 1.2, 2, 3])).toEqual([1, 3]);
    // No point is lost where the last is the only one that is higher; a single point has no range.
    expect(of([1])).toEqual([1, 1]);
  });

  it('does not say that a test ended early which came to its last rate', () => {
    const points = Array.from({ length: 20 }, () => ({ rate: 1, loss: 1, smoothed: 1 }));
    expect(endOf({ points, end: 'diverged' }, 20)).toEqual([
      'at the last of 20 rates: the loss had grown beyond four times its lowest',
    ]);
    expect(endOf({ points, end: 'diverged' }, 21)).toEqual([
      'ended after 20 of 21 rates: the loss had grown beyond four times its lowest',
    ]);
    expect(endOf({ points, end: 'complete' }, 20)).toEqual([]);
  });

  it('tries rates on images and on arrays, suggests some, and writes nothing', async () => {
    const before = readdirSync(folder).sort();
    const arrays = ['lr', 'small.ts', '--data', 'arrays.safetensors', '--device', 'cpu'];
    const [text, json, wrong, burst, short, backwards, plain] = await ddrcInOneProcess(
      [
        [
          'lr',
          'model.ts',
          '--data',
          'pictures',
          '--device',
          'cpu',
          '--cache',
          'none',
          '--mixup',
          '0.2',
          '--class-weights',
          'balanced',
        ],
        ['lr', 'small.ts', '--data', 'arrays.safetensors', '--device', 'cpu', '--json', '--steps', '60'],
        ['lr', 'small.ts', '--data', 'arrays.safetensors', '--steps', '5'],
        [...arrays, '--from', '1e30', '--to', '1e31', '--steps', '40', '--optimizer', 'sgd'],
        [...arrays, '--from', '1', '--to', '1e10', '--steps', '20', '--optimizer', 'sgd'],
        [...arrays, '--from', '1', '--to', '0.1'],
        [...start.with(0, 'lr'), '--steps', '20', '--to', '1e-6', '--augment', 'none'],
      ],
      folder,
    );
    expect([text.code, text.stderr]).toEqual([0, expect.any(String)]);
    expect(text.stdout).toMatch(/^ *rate +loss\n *1\.0e-7 +\d/);
    expect(text.stdout).toMatch(/\nsteepest fall at \d\.\de-\d, a tenth of the rate of the lowest loss \d\.\de-\d\ntry --lr /);
    const { steepest, tenthOfLowest, points } = JSON.parse(json.stdout);
    expect(points[0].rate).toBe(1e-7);
    expect(steepest).toBeGreaterThan(1e-4);
    expect(tenthOfLowest).toBeLessThan(0.1);
    expect(wrong).toMatchObject({ code: 2, stderr: expect.stringContaining('a whole number from 20 up') });
    expect(burst.stdout).toMatch(/\nended after 1 of 40 rates: the next loss was no finite number\n/);
    expect(short.stdout).toMatch(
      /\nended after \d+ of 20 rates: the loss had grown beyond four times its lowest\nthese are too few/,
    );
    // What is given already is not suggested.
    expect(plain.stdout).toMatch(/: try more --steps or a larger --batch\n$/);
    expect(backwards).toMatchObject({ code: 2, stderr: expect.stringContaining('the rates cannot grow from 1 to 0.1') });
    expect(readdirSync(folder).sort()).toEqual(before);
  });
});
