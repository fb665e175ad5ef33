import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadCheckpoint } from '../../runtime/checkpoint.ts';
import type { Dataset } from '../../runtime/data/dataset.ts';
import { readLines, writeFileAtomic } from '../../runtime/files.ts';
import { expectedState } from '../../runtime/manifest.ts';
import { readPredictions } from '../../runtime/predictions.ts';
import { type RunPaths, runPaths } from '../../runtime/runfolder.ts';
import { createSchedule, parseSchedule } from '../../runtime/schedule.ts';
import { type TrainRequest, train } from '../../runtime/trainer.ts';
import { files, initialWeights, manifest, points, reference } from './softmax-regression.ts';

const folder = mkdtempSync(join(tmpdir(), 'ddrc-trainer-'));
afterAll(() => rmSync(folder, { recursive: true }));

const data = { train: points(50, 'train'), val: points(29, 'val'), test: points(31, 'test') };
// 50 examples are 6 batches of 8, with 2 left out.
const epochs = 4;
const schedule = createSchedule(parseSchedule('one-cycle'), { learningRate: 0.5, steps: 24, stepsPerEpoch: 6 });
let made = 0;

function newRun(): RunPaths {
  const paths = runPaths(join(folder, String(made++)));
  mkdirSync(paths.folder);
  return paths;
}

function request(paths: RunPaths, more: Partial<TrainRequest> = {}): TrainRequest {
  return {
    manifest,
    files,
    weights: initialWeights,
    data,
    epochs,
    batch: 8,
    schedule,
    seed: 7,
    augmentation: null,
    paths,
    threads: 1,
    ...more,
  };
}

/** All that a run leaves, without what may differ: the seconds. */
function remains(paths: RunPaths) {
  const lines = readLines(paths.metrics) as Record<string, unknown>[];
  return {
    last: readFileSync(paths.last).toString('base64'),
    best: readFileSync(paths.best).toString('base64'),
    lines: lines.map(({ seconds, ...line }) => line),
    predictions: existsSync(paths.predictions) ? readFileSync(paths.predictions, 'utf8') : null,
  };
}

describe('train', () => {
  const whole = newRun();
  beforeAll(async () => {
    await train(request(whole));
  });

  it('follows a double-precision training: order, seeds, schedule, momentum, statistics, validation', () => {
    const expected = reference(data.train, data.val, { epochs, batch: 8, schedule, seed: 7 });
    const lines = readLines(whole.metrics) as { train: { loss: number }; val: { loss: number } }[];
    expect(lines).toHaveLength(epochs + 1);
    expected.forEach(({ loss, accuracy, valLoss, valAccuracy }, i) => {
      expect(lines[i]).toMatchObject({ epoch: i + 1, train: { accuracy }, val: { accuracy: valAccuracy } });
      // float32 graphs: a mean of some dozen losses near 1.
      expect(lines[i].train.loss).toBeCloseTo(loss, 5);
      expect(lines[i].val.loss).toBeCloseTo(valLoss, 5);
    });
    const { parameters, statistics, step, progress } = loadCheckpoint(whole.last, expectedState(manifest));
    expected[epochs - 1].parameters.forEach((value, i) => {
      expect(parameters[i]).toBeCloseTo(value, 5);
    });
    expected[epochs - 1].statistics.forEach((value, i) => {
      expect(statistics[i]).toBeCloseTo(value, 6);
    });
    const losses = expected.map(({ valLoss }) => valLoss);
    const bestEpoch = losses.indexOf(Math.min(...losses)) + 1;
    expect({ step, ...progress }).toMatchObject({ step: 24, epoch: epochs + 1, batch: 0, bestEpoch, sums: {} });
  });

  it('ends metrics.jsonl with the test of the best weights', async () => {
    const paths = newRun();
    // A rate that overshoots after the first epoch, so that the best is not the last.
    const rates = (step: number) => ({ learningRate: step < 6 ? 0.3 : 40, beta1: 0 });
    const result = await train(request(paths, { schedule: rates }));
    expect(result).toMatchObject({ stopped: false, epochs, bestEpoch: 1 });
    const [{ parameters }] = reference(data.train, data.test, { epochs: 1, batch: 8, schedule: rates, seed: 7 });
    const [{ valLoss, valAccuracy }] = reference(data.train, data.test, { epochs: 1, batch: 8, schedule: rates, seed: 7 });
    expect(loadCheckpoint(paths.best, expectedState(manifest)).parameters[0]).toBeCloseTo(parameters[0], 5);
    const last = (readLines(paths.metrics) as { test: { loss: number } }[]).at(-1)!;
    expect(last.test).toMatchObject({ images: 31, accuracy: valAccuracy, macro: {}, classes: { low: { support: 11 } } });
    expect(last.test.loss).toBeCloseTo(valLoss, 5);
    expect(result.test).toEqual(last.test);
  });

  it('keeps what the best weights make of each test example', async () => {
    const { classes, paths, groups, labels, predicted, probabilities } = readPredictions(whole.predictions);
    expect(classes).toEqual(manifest.classes);
    expect(paths).toEqual(Array.from({ length: 31 }, (_, i) => String(i)));
    expect(groups.every((group) => group === null)).toBe(true);
    expect(labels).toEqual(data.test.labels);
    const { bestEpoch } = loadCheckpoint(whole.last, expectedState(manifest)).progress;
    const { parameters } = reference(data.train, data.val, { epochs, batch: 8, schedule, seed: 7 })[bestEpoch! - 1];
    for (let n = 0; n < 31; n++) {
      const x = data.test.x.subarray(4 * n, 4 * n + 4);
      const logits = [0, 1, 2].map((k) => x.reduce((sum, value, i) => sum + value * parameters[3 * i + k], parameters[12 + k]));
      const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
      logits.forEach((logit, k) => {
        // float32 graphs, and parameters that agree to five digits.
        expect(probabilities[3 * n + k]).toBeCloseTo(Math.exp(logit) / total, 5);
      });
      expect(logits[predicted[n]]).toBe(Math.max(...logits));
    }
    const { test } = (readLines(whole.metrics) as { test: { confusion: number[][]; loss: number; logLoss: number } }[]).at(-1)!;
    for (const truth of [0, 1, 2])
      for (const guess of [0, 1, 2])
        expect([...labels.keys()].filter((n) => labels[n] === truth && predicted[n] === guess)).toHaveLength(
          test.confusion[truth][guess],
        );
    // The loss of the graph is the same measure, in float32.
    expect(test.logLoss).toBeCloseTo(test.loss, 5);
  });

  it('measures intervals over the groups of the test data, and keeps paths and groups', async () => {
    const paths = newRun();
    const groups = Array.from({ length: 31 }, (_, n) => (n < 30 ? `g${n % 5}` : null));
    const names = groups.map((_, n) => `TEST/${n}.png`);
    const result = await train(request(paths, { data: { ...data, test: { ...data.test, groups, paths: names } } }));
    expect(readPredictions(paths.predictions)).toMatchObject({ groups, paths: names });
    expect(result.test!.intervals).toMatchObject({ groups: 6, accuracy: { estimate: result.test!.accuracy } });
    expect((readLines(whole.metrics).at(-1) as { test: object }).test).not.toHaveProperty('intervals');
  });

  it('drops the predictions of a test that is done again', async () => {
    const paths = newRun();
    const controller = new AbortController();
    const onUpdate = ({ phase }: { phase: string }) => phase === 'test' && controller.abort();
    await train(request(paths, { signal: controller.signal, onUpdate }));
    expect(existsSync(paths.predictions)).toBe(false);
    // As a process leaves it that is killed between the predictions and the line of metrics.
    writeFileAtomic(paths.predictions, 'path');
    await train(request(paths, { resume: true }));
    expect(remains(paths)).toEqual(remains(whole));
  });

  describe('with a patience', () => {
    // The first epoch is the best: the rate overshoots after it.
    const rates = (step: number) => ({ learningRate: step < 6 ? 0.3 : 40, beta1: 0 });
    const more = { schedule: rates, patience: 2 } as const;

    it('is over after so many epochs without a lower validation loss, with the test of the best', async () => {
      const [early, full] = [newRun(), newRun()];
      const result = await train(request(early, more));
      expect(result).toMatchObject({ stopped: false, stoppedEarly: true, epochs: 3, bestEpoch: 1, test: { images: 31 } });
      const whole = await train(request(full, { schedule: rates, patience: 4 }));
      expect(whole).toEqual({ ...result, stoppedEarly: false, epochs });
      const [lines, all] = [remains(early).lines, remains(full).lines];
      expect(lines.map((line) => line.stoppedEarly)).toEqual([undefined, undefined, true, undefined]);
      expect(lines).toEqual([...all.slice(0, 2), { ...all[2], stoppedEarly: true }, all[4]]);
      await train(request(early, { ...more, resume: true }));
      expect(remains(early).lines).toEqual(lines);
    });

    it.each(['train', 'test'])('goes on from a stop within %s and ends in the same bytes', async (when) => {
      const [whole, stopped] = [newRun(), newRun()];
      await train(request(whole, more));
      const controller = new AbortController();
      const onUpdate = ({ phase, epoch }: { phase: string; epoch: number }) =>
        phase === when && (when === 'test' || epoch === 3) && controller.abort();
      const { signal } = controller;
      expect(await train(request(stopped, { ...more, signal, onUpdate }))).toMatchObject({ stopped: true });
      await train(request(stopped, { ...more, resume: true }));
      expect(remains(stopped)).toEqual(remains(whole));
    });

    it('is refused where there is no validation, and where it is no number of epochs', async () => {
      const refused = { code: 'USAGE', where: '--patience' };
      await expect(train(request(newRun(), { ...more, data: { ...data, val: null } }))).rejects.toMatchObject(refused);
      await expect(train(request(newRun(), { patience: 0 }))).rejects.toMatchObject(refused);
    });
  });

  it('leaves the same bytes for the same seed and others for another', async () => {
    const [same, other] = [newRun(), newRun()];
    await train(request(same));
    await train(request(other, { seed: 8 }));
    expect(remains(same)).toEqual(remains(whole));
    expect(remains(other).last).not.toBe(remains(whole).last);
  });

  it.each([1, 4, 6, 7, 17])('stops after step %i and goes on as if it had not', async (steps) => {
    const paths = newRun();
    const controller = new AbortController();
    let done = 0;
    const onUpdate = ({ phase }: { phase: string }) => {
      if (phase === 'train' && ++done === steps) controller.abort();
    };
    expect(await train(request(paths, { signal: controller.signal, onUpdate }))).toMatchObject({ stopped: true, test: null });
    const { step } = loadCheckpoint(paths.last, expectedState(manifest));
    // The step that was running when the signal came is taken in too.
    expect([steps, steps + 1]).toContain(step);
    await train(request(paths, { resume: true }));
    expect(remains(paths)).toEqual(remains(whole));
  });

  it('goes on from a stop within validation and within the test', async () => {
    for (const when of ['validate', 'test']) {
      const paths = newRun();
      const controller = new AbortController();
      const onUpdate = ({ phase }: { phase: string }) => phase === when && controller.abort();
      expect(await train(request(paths, { signal: controller.signal, onUpdate }))).toMatchObject({ stopped: true });
      await train(request(paths, { resume: true }));
      expect(remains(paths)).toEqual(remains(whole));
    }
  });

  it('goes on from what a process that was killed at any point of an epoch end left', async () => {
    const copies: RunPaths[] = [];
    const copy = () => {
      const to = newRun();
      cpSync(source.folder, to.folder, { recursive: true });
      copies.push(to);
    };
    const source = newRun();
    await train(request(source, { onBest: copy, onEpoch: copy, onUpdate: ({ phase }) => phase === 'validate' && copy() }));
    expect(copies.length).toBeGreaterThan(2 * epochs);
    for (const paths of copies.filter((_, i) => i % 3 === 0)) {
      await train(request(paths, { resume: true }));
      expect(remains(paths)).toEqual(remains(whole));
    }
  });

  it('keeps checkpoints within an epoch without a trace in the result', async () => {
    const paths = newRun();
    const seen = new Set<number>();
    const onUpdate = () => seen.add(loadCheckpoint(paths.last, expectedState(manifest)).step);
    await train(request(paths, { checkpointMinutes: 2e-5, onUpdate }));
    expect(seen.size).toBeGreaterThan(epochs + 1);
    expect(remains(paths)).toEqual(remains(whole));
  });

  it('takes the last epoch as the best where there is no validation', async () => {
    const paths = newRun();
    const result = await train(request(paths, { data: { train: data.train, test: data.test } }));
    expect(result).toMatchObject({ bestEpoch: epochs, bestLoss: null });
    expect(remains(paths).best).toBe(remains(paths).last);
    expect(readLines(paths.metrics)[0]).not.toHaveProperty('val');
  });

  it('stops at a loss that is not finite, names the step, and keeps the last good checkpoint', async () => {
    const paths = newRun();
    const rates = (step: number) => ({ learningRate: step === 8 ? 3e38 : 0.1, beta1: 0 });
    await expect(train(request(paths, { schedule: rates }))).rejects.toMatchObject({
      code: 'LOSS_NOT_FINITE',
      message: expect.stringMatching(/^the loss became (NaN|Infinity) at step (10|11) \(epoch 2\)$/),
      notes: [{ label: 'last good checkpoint', text: `${paths.last}, after step 6` }],
    });
    expect(loadCheckpoint(paths.last, expectedState(manifest)).step).toBe(6);
    expect(readLines(paths.metrics)).toEqual([
      expect.objectContaining({ epoch: 1 }),
      { failed: expect.stringMatching(/^the loss became (NaN|Infinity) at step/) },
    ]);
    // One that goes on better leaves no trace of it.
    await train(request(paths, { resume: true }));
    expect(readLines(paths.metrics)).not.toContainEqual(expect.objectContaining({ failed: expect.anything() }));
  });

  it('leaves no file where it cannot start', async () => {
    const paths = newRun();
    const bias = { dtype: 'float32', shape: [3], data: Float32Array.of(0, Number.NaN, 0) } as const;
    const weights = new Map([...initialWeights, ['bias', bias]]) as typeof initialWeights;
    await expect(train(request(paths, { weights }))).rejects.toMatchObject({ code: 'CHECKPOINT_NOT_FINITE' });
    expect(readdirSync(paths.folder)).toEqual([]);
  });

  it('refuses data that cannot be trained on', async () => {
    const refused = (more: Partial<TrainRequest>) => expect(train(request(newRun(), more))).rejects;
    await refused({ batch: 51 }).toMatchObject({
      code: 'TRAIN_TOO_FEW',
      message: 'there are 50 training examples, fewer than one batch of 51',
    });
    const wide: Dataset = {
      ...data.train,
      batch: async () => ({ x: { dtype: 'float32', shape: [1, 5], data: new Float32Array(5) } }),
    };
    await refused({ data: { train: wide } }).toMatchObject({ code: 'DATA_SHAPE' });
    const unlabelled: Dataset = { ...data.train, batch: async (i) => ({ x: (await data.train.batch(i)).x }) };
    await refused({ data: { train: unlabelled } }).toMatchObject({ code: 'ARRAYS_INPUT_MISSING' });
    const four: Dataset = { ...data.train, labels: Int32Array.from(data.train.labels!, (label, i) => (i === 20 ? 3 : label)) };
    await refused({ data: { train: four } }).toMatchObject({ code: 'DATA_LABEL', where: 'example 20' });
    const named: Dataset = { ...data.train, classes: ['a', 'b'] };
    await refused({ data: { train: named } }).toMatchObject({ code: 'DATA_CLASSES_DIFFER' });
  });

  it('refuses to resume with another seed or model', async () => {
    await expect(train(request(whole, { resume: true, seed: 8 }))).rejects.toMatchObject({ code: 'RESUME_DIFFERS' });
    const another = { ...manifest, modelHash: 'another' };
    await expect(train(request(whole, { resume: true, manifest: another }))).rejects.toMatchObject({ code: 'CHECKPOINT_MODEL' });
  });
});
