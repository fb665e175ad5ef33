import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { asTensors, compileTraining } from '../../cli/compile-for-device.ts';
import { compile } from '../../compiler/compile.ts';
import { portable } from '../../compiler/emit/lowering.ts';
import { array, batchNorm, classIndex, defineModel, dropout, linear, relu, softmaxCrossEntropy } from '../../dsl/index.ts';
import { random } from '../../numeric/random.ts';
import { prepareBatch } from '../../runtime/batches.ts';
import { loadCheckpoint, loadWeights } from '../../runtime/checkpoint.ts';
import { type Dataset, epochOrder } from '../../runtime/data/dataset.ts';
import { drawMix } from '../../runtime/data/mix.ts';
import { Engine, trainingSession } from '../../runtime/engine.ts';
import { readLines } from '../../runtime/files.ts';
import { expectedState, portsOf } from '../../runtime/manifest.ts';
import { checkMix, mixFeeds } from '../../runtime/mixed-batches.ts';
import { type RunPaths, runPaths } from '../../runtime/runfolder.ts';
import { engineState, stepScalars } from '../../runtime/step-inputs.ts';
import { type TrainRequest, train } from '../../runtime/trainer.ts';

const folder = mkdtempSync(join(tmpdir(), 'ddrc-aids-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const [features, classes, batch] = [8, 3, 8];
const adam = { kind: 'adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 } as const;
/** With all that is random or kept: dropout and running statistics. */
const program = defineModel({
  options: {},
  name: 'whole',
  inputs: () => ({ x: array([features]) }),
  targets: () => ({ label: classIndex() }),
  forward: ({ x }) => ({
    logits: linear(dropout(relu(linear(batchNorm(x, 'norm'), 'hidden', { units: 16 })), 0.3), 'head', { units: classes }),
  }),
  loss: ({ logits }, { label }) => softmaxCrossEntropy(logits, label),
}).instantiate();

function examples(size: number): Dataset {
  const next = random('examples', size);
  const labels = Int32Array.from({ length: size }, (_, i) => i % classes);
  const all = Float32Array.from(
    { length: size * features },
    (_, i) => 2 * next() - 1 + Number(i % features === labels[Math.floor(i / features)]),
  );
  return {
    size,
    classes: null,
    labels,
    batch: async (indices) => ({
      x: {
        dtype: 'float32',
        shape: [indices.length, features],
        data: Float32Array.from(indices.flatMap((i) => [...all.subarray(i * features, (i + 1) * features)])),
      },
      label: { dtype: 'int64', shape: [indices.length], data: BigInt64Array.from(indices, (i) => BigInt(labels[i])) },
    }),
  };
}
const data = { train: examples(45), val: examples(11), test: examples(7) };
const schedule = (step: number) => ({ learningRate: 0.03 / (1 + step / 10) });

let made = 0;
interface Asked extends Partial<TrainRequest> {
  readonly ema?: number;
}

/** Trains as `ddrc train` does, on the portable graphs. */
async function trained({ ema, ...asked }: Asked) {
  const { accumulate = 1, loop = 1, mix = null } = asked;
  const paths = asked.paths ?? runPaths(join(folder, `run-${made++}`));
  mkdirSync(paths.folder, { recursive: true });
  const compiled = compileTraining(program, {
    target: portable,
    batch: batch / accumulate,
    accumulated: accumulate > 1,
    looped: loop > 1,
    optimizer: adam,
    ...(ema !== undefined && { ema }),
    ...(mix && { mixed: true }),
  });
  const { manifest, files, initial } = compiled;
  const request = { manifest, files, weights: asTensors(initial), data, epochs: 3, batch, schedule, seed: 7, augmentation: null };
  const result = await train({ ...request, paths, threads: 1, ...asked });
  return { ...compiled, result, paths };
}

/** All that a run leaves, without what may differ: the seconds. */
const remains = ({ last, best, metrics }: RunPaths) => ({
  last: readFileSync(last).toString('base64'),
  best: readFileSync(best).toString('base64'),
  lines: (readLines(metrics) as Record<string, unknown>[]).map(({ seconds, ...line }) => line),
});

/** Parameters and statistics after each step of the training without averages or mixing, and the batches that were taken. */
async function steps(count: number) {
  const { manifest, files, initial } = compileTraining(program, { target: portable, batch, optimizer: adam });
  const flat = (table: typeof manifest.parameters) =>
    Float32Array.from(table.flatMap(({ name }) => [...initial.get(name)!.data]));
  const start = { parameters: flat(manifest.parameters), statistics: flat(manifest.statistics) };
  const engine = new Engine({ threads: 1 });
  await engine.open('step.onnx', files.get('step.onnx')!, trainingSession);
  await engine.load(engineState(manifest, start));
  const states: { parameters: Float32Array; statistics: Float32Array }[] = [start];
  for (let step = 0; step < count; step++) {
    const order = epochOrder(45, 7, 1 + Math.floor(step / 5));
    const indices = order.slice((step % 5) * batch, (step % 5) * batch + batch);
    await engine.step(
      'step.onnx',
      { ...(await data.train.batch(indices)), ...stepScalars(manifest, step, schedule(step), 7) },
      [],
    );
    const { parameters, statistics } = await engine.state();
    states.push({ parameters, statistics });
  }
  await engine.close();
  return states;
}

describe('moving averages of the weights', () => {
  const decay = 0.6;
  let states: Awaited<ReturnType<typeof steps>>;
  let whole: Awaited<ReturnType<typeof trained>>;
  beforeAll(async () => {
    states = await steps(15);
    whole = await trained({ ema: decay });
  });

  /** average ← d·average + (1 − d)·new in double precision, d = min(decay, (1 + t)/(10 + t)). */
  function average(what: 'parameters' | 'statistics', count: number): number[] {
    let value = Array.from(states[0][what]);
    for (let t = 0; t < count; t++) {
      const d = Math.min(decay, (1 + t) / (10 + t));
      value = value.map((old, i) => d * old + (1 - d) * states[t + 1][what][i]);
    }
    return value;
  }

  it('follow parameters and running statistics as TensorFlow has it, and leave these as they are without averages', () => {
    const { parameters, statistics, ema, emaStatistics, step } = loadCheckpoint(whole.paths.last, expectedState(whole.manifest));
    expect(step).toBe(15);
    expect(parameters).toEqual(states[15].parameters);
    expect(statistics).toEqual(states[15].statistics);
    // Numbers below 4; each step rounds a few times, and what it rounds decays with 0.6.
    average('parameters', 15).forEach((value, i) => {
      expect(Math.abs(ema![i] - value)).toBeLessThan(2e-6);
    });
    average('statistics', 15).forEach((value, i) => {
      expect(Math.abs(emaStatistics![i] - value)).toBeLessThan(2e-6);
    });
    const distance = Math.max(...parameters.map((value, i) => Math.abs(value - ema![i])));
    expect(distance).toBeGreaterThan(1e-3);
  });

  it('are what is validated, tested and exported', async () => {
    const { manifest, paths, result } = whole;
    const best = loadWeights(paths.best, expectedState(manifest));
    average('parameters', 5 * result.bestEpoch!).forEach((value, i) => {
      expect(Math.abs(best.parameters[i] - value)).toBeLessThan(2e-6);
    });
    expect([best.moment1, best.ema]).toEqual([undefined, undefined]);
    const { files } = compile(program, { artifacts: ['eval'] });
    const engine = new Engine({ threads: 1 });
    await engine.open('eval', files.get('eval.onnx')!);
    await engine.load({ parameters: best.parameters, statistics: best.statistics });
    const indices = (size: number) => Array.from({ length: size }, (_, i) => i);
    const [val, test] = await Promise.all(
      [data.val, data.test].map(
        async (set) => (await engine.run('eval', await set.batch(indices(set.size)), ['loss'])).loss.data[0],
      ),
    );
    await engine.close();
    expect(result.bestLoss).toBeCloseTo(Number(val), 6);
    expect((result.test as { loss: number }).loss).toBeCloseTo(Number(test), 6);
  });

  it('leave best.safetensors without the state that a training goes on with, so it is refused in place of the last one', async () => {
    const { paths } = await trained({ ema: decay, epochs: 1 });
    cpSync(paths.best, paths.last);
    await expect(trained({ ema: decay, paths, resume: true })).rejects.toMatchObject({
      code: 'CHECKPOINT_INVALID',
      hint: `start a new run from its weights: --weights ${paths.last}`,
    });
  });

  it.each([
    ['in a loop', { loop: 4 }],
    ['with checkpoints within an epoch', { checkpointMinutes: 0 }],
  ])('are the same bytes %s', async (_, more) => {
    expect(remains((await trained({ ema: decay, ...more })).paths)).toEqual(remains(whole.paths));
  });

  it('follow whole steps where batches are cut into parts', async () => {
    const none = await trained({ accumulate: 4 });
    const { paths, manifest } = await trained({ accumulate: 4, ema: 0 });
    const { parameters, statistics, ema, emaStatistics } = loadCheckpoint(paths.last, expectedState(manifest));
    expect(parameters).toEqual(loadCheckpoint(none.paths.last, expectedState(none.manifest)).parameters);
    // A decay of 0 is no average: new, up to the rounding of old + (new − old).
    parameters.forEach((value, i) => {
      expect(Math.abs(value - ema![i])).toBeLessThan(1e-6);
    });
    statistics.forEach((value, i) => {
      expect(Math.abs(value - emaStatistics![i])).toBeLessThan(1e-6);
    });
  });
});

describe.each<[string, Asked]>([
  ['averages', { ema: 0.9 }],
  ['mixup', { mix: { mixup: 0.4, cutmix: 0 } }],
  ['both, in a loop', { ema: 0.9, mix: { mixup: 0.4, cutmix: 0 }, loop: 2 }],
  ['both, in parts', { ema: 0.9, mix: { mixup: 0.4, cutmix: 0 }, accumulate: 2 }],
])('a training with %s', (_, asked) => {
  it('that was stopped goes on and ends in the same bytes', async () => {
    const [whole, again] = await Promise.all([trained(asked), trained(asked)]);
    expect(remains(again.paths)).toEqual(remains(whole.paths));
    const controller = new AbortController();
    let done = 0;
    const onUpdate = ({ phase }: { phase: string }) => phase === 'train' && ++done === 4 && controller.abort();
    const stopped = await trained({ ...asked, signal: controller.signal, onUpdate });
    expect(stopped.result.stopped).toBe(true);
    await trained({ ...asked, paths: stopped.paths, resume: true });
    expect(remains(stopped.paths)).toEqual(remains(whole.paths));
  });
});

describe('mixed examples', () => {
  const mix = { mixup: 0.4, cutmix: 0 };

  it('are the same bytes in a loop', async () => {
    const [single, looped] = await Promise.all([trained({ mix }), trained({ mix, loop: 4 })]);
    expect(remains(looped.paths)).toEqual(remains(single.paths));
  });

  it('are fed with the labels of their partners, and count for the label with the larger share', async () => {
    const { manifest } = compile(program, { artifacts: ['step'], batch, mixed: true });
    const file = manifest.files['step.onnx'];
    const indices = [3, 4, 5, 6, 7, 8, 9, 10];
    const shares = new Set<boolean>();
    for (let run = 0; run < 8; run++) {
      const plain = await prepareBatch(data.train, portsOf(file.inputs, 'data', 'target'), indices);
      const before = (plain.feeds.x.data as Float32Array).slice();
      const { share, partner } = drawMix(mix, batch, 7, run);
      const mixed = mixFeeds(plain, file, mix, { count: 1, seed: 7, run, looped: false });
      const own = indices.map((i) => i % classes);
      const others = [...partner].map((n) => own[n]);
      expect([...(mixed.feeds.label.data as BigInt64Array)].map(Number)).toEqual(own);
      expect([...(mixed.feeds.label_partner.data as BigInt64Array)].map(Number)).toEqual(others);
      expect([...mixed.labels!]).toEqual(share < 0.5 ? others : own);
      expect(mixed.scalars.mix_share).toEqual({ dtype: 'float32', shape: [], data: Float32Array.of(share) });
      (mixed.feeds.x.data as Float32Array).forEach((value, i) => {
        const other = before[partner[Math.floor(i / features)] * features + (i % features)];
        expect(value).toBe(Math.fround(share * before[i] + (1 - share) * other));
      });
      shares.add(share < 0.5);
    }
    expect(shares.size).toBe(2);
  });

  it('are refused where they do not fit', async () => {
    await expect(trained({ mix: { mixup: 0, cutmix: 1 } })).rejects.toMatchObject({
      code: 'AID_UNFIT',
      message: `CutMix cuts images [N,C,H,W], and the input x is float32 [8,8]`,
    });
    const port = (name: string, ...shape: number[]) => ({ name, dtype: 'float32', shape, role: 'data' }) as const;
    const file = (...sizes: number[]) =>
      ({
        inputs: [...sizes.map((size, i) => port(`image${i}`, 8, 3, size, size)), { ...port('mix_share'), role: 'mix' }],
      }) as never;
    const cutting = { mixup: 0, cutmix: 1 };
    expect(() => checkMix(file(16, 8), cutting)).toThrow(
      expect.objectContaining({
        code: 'AID_UNFIT',
        message:
          'CutMix cuts the same share out of each input, the first of which has 16x16 places, and the input image1 is float32 [8,3,8,8]',
      }),
    );
    expect(() => checkMix(file(16, 16), cutting)).not.toThrow();
    expect(() => checkMix(file(16, 8), mix)).not.toThrow();
    const { manifest, files } = compileTraining(program, { target: portable, batch, optimizer: adam });
    await expect(trained({ mix, manifest, files })).rejects.toMatchObject({ code: 'COMPILE_REQUEST' });
    await expect(trained({ mix, engine: 'ort-training' })).rejects.toMatchObject({
      code: 'USAGE',
      message: "ONNX Runtime's training API takes no mixed examples",
    });
  });
});
