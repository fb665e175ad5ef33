import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { random } from '../../numeric/random.ts';
import { argmax } from '../../runtime/metrics/scored.ts';
import { type Predictions, predictionsOf, readPredictions, writePredictions } from '../../runtime/predictions.ts';

const folder = mkdtempSync(join(tmpdir(), 'ddrc-predictions-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = join(folder, 'predictions.csv');

const given: Predictions = {
  classes: ['Blast', 'blast', 'say "hi", '],
  paths: ['TEST/a/1.png', 'TEST/b, c/2.png', 'TEST/d\n/3.png'],
  groups: ['p1', null, 'p, 2'],
  labels: Int32Array.of(0, 2, 1),
  predicted: Int32Array.of(0, 1, 1),
  probabilities: Float32Array.of(0.7, 0.2, 0.1, 1e-30, 1, 0, 1 / 3, 1 / 3, 1 / 3),
};

describe('a file of predictions', () => {
  it('has a row for each example, and a column for the probability of each class', () => {
    writePredictions(file, given);
    expect(readFileSync(file, 'utf8')).toBe(
      [
        'path,label,predicted,group,p:Blast,p:blast,"p:say ""hi"", "',
        'TEST/a/1.png,Blast,Blast,p1,0.699999988,0.200000003,0.100000001',
        '"TEST/b, c/2.png","say ""hi"", ",blast,,1e-30,1,0',
        '"TEST/d\n/3.png",blast,blast,"p, 2",0.333333343,0.333333343,0.333333343',
        '',
      ].join('\n'),
    );
  });

  it('is read as it was given, classes that differ in their letters only included', () => {
    writePredictions(file, given);
    expect(readPredictions(file)).toEqual(given);
  });

  it('gives every float32 again', () => {
    const next = random('float32');
    const probabilities = new Float32Array(4000);
    for (let n = 0; n < 4000; n += 2) probabilities.set([next() ** 9, 0.5 + next() / 2], n);
    const predicted = Int32Array.from({ length: 2000 }, (_, n) => argmax(probabilities, 2 * n, 2));
    const labels = predicted.map((one) => 1 - one);
    const predictions = predictionsOf({ labels, predicted, probabilities }, dataset(labels), ['0', '1']);
    writePredictions(file, predictions);
    expect(readPredictions(file).probabilities).toEqual(probabilities);
    expect(readPredictions(file).paths.slice(-1)).toEqual(['1999']);
    expect(readPredictions(file).groups[7]).toBe(null);
  });

  it('may have no examples', () => {
    const none = { ...given, paths: [], groups: [], labels: new Int32Array(0), predicted: new Int32Array(0) };
    writePredictions(file, { ...none, probabilities: new Float32Array(0) });
    expect(readPredictions(file)).toEqual({ ...none, probabilities: new Float32Array(0) });
  });

  const head = 'path,label,predicted,group,p:a,p:b\n';
  it.each([
    ['path,label\nx,a\n', 'DATA_CSV_COLUMNS', 'has no column "predicted" and no column "group"'],
    [
      'path,label,group,predicted,p:a\nx,a,a,,1\n',
      'PREDICTIONS_INVALID',
      'the columns of a file of predictions are path,label,predicted,group',
    ],
    ['path,label,predicted,group\nx,a,a,\n', 'PREDICTIONS_INVALID', 'the columns'],
    ['path,label,predicted,group,a\nx,a,a,,1\n', 'PREDICTIONS_INVALID', 'the columns'],
    [`${head}x,a,a,,0.75,0.2`, 'PREDICTIONS_INVALID', 'ends within a row'],
    [`${head}x,a,a,,0.75\n`, 'DATA_CSV', 'a row has 5 cells where the header has 6'],
    [`${head}x,c,a,,0.75,0.25\n`, 'PREDICTIONS_INVALID', 'the class "c", which has no column'],
    [`${head}x,a,,,0.75,0.25\n`, 'PREDICTIONS_INVALID', 'the class "", which has no column'],
    [`${head},a,a,,0.75,0.25\n`, 'PREDICTIONS_INVALID', 'has no path'],
    [`${head}x,a,a,,0.75,\n`, 'PREDICTIONS_INVALID', '"" in the place of a probability'],
    [`${head}x,a,a,,0.75,NaN\n`, 'PREDICTIONS_INVALID', '"NaN" in the place of a probability'],
    [`${head}x,a,a,,7.5,0.25\n`, 'PREDICTIONS_INVALID', '"7.5" in the place of a probability'],
    [`${head}x,a,a,,0.75,-0.25\n`, 'PREDICTIONS_INVALID', '"-0.25" in the place of a probability'],
    [`${head}x,a,b,,0.75,0.25\n`, 'PREDICTIONS_INVALID', '"b" does not have the highest probability'],
  ])('%j is refused', (text, code, sentence) => {
    writeFileSync(file, text);
    expect(() => readPredictions(file)).toThrow(expect.objectContaining({ code, message: expect.stringContaining(sentence) }));
  });

  it('names the line that is wrong', () => {
    writeFileSync(file, `${head}x,a,a,,0.75,0.25\ny,a,a,,0.75,q\n`);
    expect(() => readPredictions(file)).toThrow(expect.objectContaining({ where: `${file}:3` }));
    expect(() => readPredictions(join(folder, 'none.csv'))).toThrow(expect.objectContaining({ code: 'FILE_MISSING' }));
  });
});

function dataset(labels: Int32Array) {
  return { size: labels.length, classes: null, labels, batch: async () => ({}) };
}
