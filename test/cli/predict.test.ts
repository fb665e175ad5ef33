import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadImageFile } from '../../runtime/data/images.ts';
import { orient, orientations } from '../../runtime/data/orientations.ts';
import type { Prediction } from '../../runtime/predictor.ts';
import { checkout, ddrc, type Outcome, temporaryFolder } from './ddrc.ts';
import { ddrcInOneProcess } from './one-process.ts';
import { pictureFolder } from './picture-folder.ts';

const folder = temporaryFolder();
const at = (...parts: string[]) => join(folder, ...parts);
const cut = join('damaged', 'cut.png');
/** All predictions, in one process; a process of its own for each would take most of the time. */
const calls = {
  json: ['built', join('data', 'red', '001.png'), join('data', 'blue'), '--json'],
  pairs: ['pairs', 'data', '--json'],
  whole: ['built', 'data', '--json'],
  turned: ['pairs', 'data', '--tta', 'turns', '--json'],
  table: ['built', 'data'],
  skipping: ['built', 'damaged', '--on-bad-image', 'skip', '--json'],
  none: ['built', cut, '--on-bad-image', 'skip', '--json'],
} as const satisfies Record<string, readonly string[]>;
const refusals = [
  [['built', cut], 'IMAGE_DAMAGED', 'cut.png'],
  [['built', 'nothing.png'], 'DATA_MISSING', 'nothing.png'],
  [['built', 'empty'], 'DATA_EMPTY', 'the folder holds no images'],
  [['note.onnx', 'data'], 'ONNX_INVALID', 'note.onnx'],
  [['nowhere', 'data'], 'FILE_MISSING', 'nowhere does not exist'],
  [[join('built', 'step.onnx'), 'data'], 'MODEL_FOREIGN', 'does not say its classes'],
] as const;
let outcomes: Readonly<Record<keyof typeof calls, Outcome>>;
let refused: readonly Outcome[];
const small = ['--size', '32', '--option', 'channels=4', '--option', 'drdb=false'];

beforeAll(async () => {
  await pictureFolder(at('data'), { each: 3 });
  const picture = readFileSync(at('data', 'red', '000.png'));
  mkdirSync(at('damaged'));
  writeFileSync(at('damaged', 'cut.png'), picture.subarray(0, picture.length / 2));
  writeFileSync(at('damaged', 'good.png'), picture);
  mkdirSync(at('empty'));
  // The initial weights do: what matters is that the same graph says the same.
  const args = ['build', join(checkout, 'models', 'ddrnet.ts'), '--out', 'built', '--classes', 'blue,red', ...small];
  expect(await ddrc(args, { cwd: folder })).toMatchObject({ code: 0 });
  const pairs = args.map((arg) => (arg === 'built' ? 'pairs' : arg));
  expect(await ddrc([...pairs, '--batch', '4', '--target', 'cpu'], { cwd: folder })).toMatchObject({ code: 0 });
  writeFileSync(at('note.onnx'), 'no model');
  const all = [...Object.values(calls), ...refusals.map(([args]) => args)];
  const results = await ddrcInOneProcess(
    all.map((args) => ['predict', ...args]),
    folder,
  );
  outcomes = Object.fromEntries(Object.keys(calls).map((name, i) => [name, results[i]])) as typeof outcomes;
  refused = results.slice(Object.keys(calls).length);
});

describe('ddrc predict', () => {
  it('gives file, class and probabilities as the graph computes them', async () => {
    const { code, stdout, stderr } = outcomes.json;
    expect([code, stderr]).toEqual([0, '']);
    const predictions: Prediction[] = JSON.parse(stdout);
    const files = [join('data', 'red', '001.png'), ...[0, 1, 2].map((i) => join('data', 'blue', `00${i}.png`))];
    expect(predictions.map(({ file }) => file)).toEqual(files);
    const session = await InferenceSession.create(at('built', 'model.onnx'));
    for (const { file, class: name, probabilities } of predictions) {
      const image = new Tensor('float32', await loadImageFile(at(file), 32), [1, 3, 32, 32]);
      const expected = (await session.run({ image })).probabilities.data as Float32Array;
      expect(Object.keys(probabilities)).toEqual(['blue', 'red']);
      expect(probabilities.blue).toBeCloseTo(expected[0], 5);
      expect(probabilities.red).toBeCloseTo(expected[1], 5);
      expect(name).toBe(expected[0] >= expected[1] ? 'blue' : 'red');
    }
  });

  it('fills the batch of a model that was built for one size: six images by fours', () => {
    expect(outcomes.pairs).toMatchObject({ code: 0, stderr: '' });
    const [found, expected]: Prediction[][] = [outcomes.pairs, outcomes.whole].map(({ stdout }) => JSON.parse(stdout));
    expect(found.map(({ file }) => file)).toEqual(expected.map(({ file }) => file));
    for (const [i, { probabilities }] of found.entries())
      for (const [name, value] of Object.entries(probabilities)) expect(value).toBeCloseTo(expected[i].probabilities[name], 5);
  });

  it('takes the mean over the orientations of each image', async () => {
    const session = await InferenceSession.create(at('built', 'model.onnx'));
    const [turned, whole]: Prediction[][] = [outcomes.turned, outcomes.whole].map(({ stdout }) => JSON.parse(stdout));
    expect(turned).toHaveLength(6);
    for (const [i, { file, probabilities }] of turned.entries()) {
      const planes = await loadImageFile(at(file), 32);
      let sum = 0;
      for (const view of orientations.turns) {
        const image = new Tensor('float32', orient(planes, 32, view), [1, 3, 32, 32]);
        sum += ((await session.run({ image })).probabilities.data as Float32Array)[0];
      }
      expect(probabilities.blue).toBeCloseTo(sum / 8, 5);
      expect(probabilities.blue).not.toBe(whole[i].probabilities.blue);
    }
  });

  it('prints a table', () => {
    const [head, ...rows] = outcomes.table.stdout.trimEnd().split('\n');
    expect(head).toMatch(/^file +class +blue +red$/);
    expect(rows).toHaveLength(6);
    for (const row of rows) expect(row).toMatch(/^data.*\.png +(blue|red) +[01]\.\d{3} +[01]\.\d{3}$/);
  });

  it('leaves a bad image out where it is told to, and fails where none is left', () => {
    const { code, stdout, stderr } = outcomes.skipping;
    expect([code, JSON.parse(stdout).length]).toEqual([0, 1]);
    expect(stderr).toMatch(/^left out: IMAGE_DAMAGED .*\n {2}at damaged.cut\.png\n$/);
    expect([outcomes.none.code, outcomes.none.stdout]).toEqual([1, '[]\n']);
  });

  it.each(refusals.map(([, error, sentence], i) => [error, sentence, i] as const))('refuses: %s, %s', (error, sentence, i) => {
    expect([refused[i].code, refused[i].stdout]).toEqual([1, '']);
    expect(refused[i].stderr).toMatch(new RegExp(`^${error} {2}`));
    expect(refused[i].stderr).toContain(sentence);
  });
});
