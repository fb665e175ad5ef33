import { createHash } from 'node:crypto';
import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { asTensors, compileTraining, stepsPerRun } from '../../cli/compile-for-device.ts';
import { portable } from '../../compiler/emit/lowering.ts';
import { array, batchNorm, classIndex, defineModel, linear, softmaxCrossEntropy } from '../../dsl/index.ts';
import { random } from '../../numeric/random.ts';
import type { Dataset } from '../../runtime/data/dataset.ts';
import { readLines } from '../../runtime/files.ts';
import { createRun } from '../../runtime/runfolder.ts';
import { type TrainRequest, train } from '../../runtime/trainer.ts';
import { writeArrays } from './array-file.ts';
import { checkout, ddrc, type Outcome, temporaryFolder } from './ddrc.ts';
import { violations } from './json-schema.ts';
import { ddrcInOneProcess } from './one-process.ts';
import { interrupted } from './signals.ts';

// The model files import the package by its name, which would be the compiled one.
vi.mock('ddrc', () => import('../../dsl/index.ts'));
const { default: ddrnet } = await import('../../models/ddrnet.ts');
const { default: resnet } = await import('../../models/resnet.ts');

const folder = temporaryFolder();
const at = (...parts: string[]) => join(folder, ...parts);
const sgd = { kind: 'sgd', momentum: 0, nesterov: false, weightDecay: 0 } as const;
const adam = { kind: 'adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 } as const;

/** With all that is random or kept from step to step. */
const model = `import { array, batchNorm, classIndex, defineModel, dropout, int, linear, relu, softmaxCrossEntropy } from 'ddrc';

export default defineModel({
  name: 'small',
  options: { classes: int(3, { min: 2 }) },
  inputs: () => ({ x: array([8]) }),
  targets: () => ({ label: classIndex() }),
  forward: ({ x }, { classes }) => {
    const hidden = dropout(relu(batchNorm(linear(x, 'fc', { units: 16 }), 'norm')), 0.2);
    return { logits: linear(hidden, 'head', { units: classes }) };
  },
  loss: ({ logits }, { label }) => softmaxCrossEntropy(logits, label),
});
`;
const start = ['train', 'small.ts', '--data', 'arrays.safetensors', '--device', 'cpu', '--epochs', '40', '--batch', '16'];
const more = ['--clip', '1', '--schedule', 'one-cycle', '--threads', '1'];
const config = (run: string) => JSON.parse(readFileSync(at(run, 'config.json'), 'utf8'));
const digest = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');
/** All that a run leaves, without what may differ: the seconds. */
function remains(run: string) {
  const lines = readLines(at(run, 'metrics.jsonl')) as Record<string, unknown>[];
  const files = ['last.safetensors', 'best.safetensors', 'model.onnx'];
  return { lines: lines.map(({ seconds, ...line }) => line), files: files.map((name) => digest(at(run, name))) };
}

beforeAll(async () => {
  writeArrays(at('arrays.safetensors'));
  writeFileSync(at('small.ts'), model);
});

describe('ddrc train --loop', () => {
  beforeAll(async () => {
    const runs = [
      [...start, ...more, '--loop', '1', '--run', 'single'],
      [...start, ...more, '--loop', '3', '--run', 'three'],
    ];
    for (const { code, stderr } of await ddrcInOneProcess(runs, folder)) expect([code, stderr]).toEqual([0, expect.any(String)]);
  });

  it('leaves the same bytes as one step after the other, also where the steps of an epoch cannot be cut so', () => {
    const [single, three] = [config('single'), config('three')];
    expect([single.loop, three.loop]).toEqual([1, 3]);
    expect(three.step).toEqual(single.step);
    expect(Math.floor(three.data.examples.train / 16) % 3).not.toBe(0);
    expect(remains('three')).toEqual(remains('single'));
    expect(remains('single').lines).toHaveLength(41);
  });

  it('ends in the same bytes after Ctrl-C and --resume with another number, or with the config.json of before there was one', async () => {
    const run = [...start, ...more, '--loop', '3', '--run', 'stopped'];
    const { code, stderr } = await interrupted(run, [[/^epoch 2\/40 /m, 'SIGINT']], folder);
    expect([code, stderr]).toEqual([130, expect.stringContaining('stopping after these 3 steps')]);
    cpSync(at('stopped'), at('before'), { recursive: true });
    const { loop, ...before } = config('stopped');
    expect(loop).toBe(3);
    writeFileSync(at('before', 'config.json'), JSON.stringify(before));
    const calls = [
      ['train', '--resume', 'stopped', '--loop', '2'],
      ['train', '--resume', 'before'],
    ];
    expect((await ddrcInOneProcess(calls, folder)).map((outcome) => outcome.code)).toEqual([0, 0]);
    expect(remains('stopped')).toEqual(remains('single'));
    expect(remains('before')).toEqual(remains('single'));
  });

  it('takes one step in a run by default for a small model', async () => {
    expect(await ddrc([...start, '--epochs', '1', '--run', 'default'], { cwd: folder })).toMatchObject({ code: 0 });
    expect(config('default').loop).toBe(1);
  });

  describe('refuses', () => {
    const never = [...start, '--run', 'never'];
    const refusals: Record<string, [args: string[], code: 1 | 2, error: string, sentence: string]> = {
      'it beside --accumulate': [
        [...never, '--loop', '2', '--accumulate', '2'],
        2,
        'USAGE',
        '--loop 2 takes several steps in one run, and --accumulate 2 several runs for one step\n  at --loop\n  hint: leave one of them out',
      ],
      'it where a run is resumed that accumulates': [
        ['train', '--resume', 'parts', '--loop', '2'],
        2,
        'USAGE',
        '--loop 2 takes several steps in one run, and --accumulate 2 several',
      ],
      'no steps': [[...never, '--loop', '0'], 2, 'USAGE', 'It must be a whole number from 1 up.'],
      'half a step': [[...never, '--loop', '1.5'], 2, 'USAGE', 'It must be a whole number from 1 up.'],
      words: [[...never, '--loop', 'x'], 2, 'USAGE', 'It must be a whole number from 1 up.'],
      'no steps of bench': [['bench', 'small.ts', '--loop', '0'], 2, 'USAGE', 'It must be a whole number from 1 up.'],
      'a config.json of no steps': [['train', '--resume', 'edited'], 1, 'RUN_INVALID', 'no usable "loop"'],
      'to build a loop of a model that has no loss': [
        ['build', 'lossless.ts', '--out', 'never', '--loop'],
        2,
        'USAGE',
        '--loop is for training, and small cannot be trained',
      ],
    };
    let outcomes: readonly Outcome[];

    beforeAll(async () => {
      writeFileSync(at('lossless.ts'), model.replace(/ {2}loss: .*\n/, ''));
      for (const [run, changes] of [
        ['edited', { loop: 0 }],
        ['parts', { accumulate: 2, loop: 1 }],
      ] as const) {
        cpSync(at('single'), at(run), { recursive: true });
        writeFileSync(at(run, 'config.json'), JSON.stringify({ ...config(run), ...changes, epochs: 41 }));
      }
      outcomes = await ddrcInOneProcess(
        Object.values(refusals).map(([args]) => args),
        folder,
      );
    });

    it.each(Object.keys(refusals))('%s', (name) => {
      const { code, stdout, stderr } = outcomes[Object.keys(refusals).indexOf(name)];
      const [, expected, error, sentence] = refusals[name];
      expect([code, stdout]).toEqual([expected, '']);
      expect(stderr).toMatch(new RegExp(`^${error} {2}`, 'm'));
      expect(stderr).toContain(sentence);
      expect(existsSync(at('never'))).toBe(false);
    });
  });
});

describe('train of ddrc/runtime with loop', () => {
  const ports = {
    options: {},
    inputs: () => ({ x: array([8]) }),
    targets: () => ({ label: classIndex() }),
  } as const;
  const program = defineModel({
    ...ports,
    name: 'regression',
    forward: ({ x }) => ({ logits: linear(batchNorm(x, 'norm'), 'head', { units: 3 }) }),
    loss: ({ logits }, { label }) => softmaxCrossEntropy(logits, label),
  }).instantiate();
  const labels = Int32Array.from({ length: 30 }, (_, i) => i % 3);
  const numbers = Float32Array.from({ length: 30 * 8 }, random('numbers'));
  const examples: Dataset = {
    ...{ size: 30, classes: null, labels },
    batch: async (indices) => ({
      x: {
        dtype: 'float32',
        shape: [indices.length, 8],
        data: Float32Array.from(indices.flatMap((i) => [...numbers.subarray(8 * i, 8 * i + 8)])),
      },
      label: { dtype: 'int64', shape: [indices.length], data: BigInt64Array.from(indices, (i) => BigInt(labels[i])) },
    }),
  };
  const { manifest, files, initial } = compileTraining(program, { target: portable, batch: 4, looped: true, optimizer: sgd });
  let runs = 0;

  /** 7 batches in an epoch. */
  async function trained(asked: Partial<TrainRequest>) {
    const { paths, release } = createRun(at(`program-${runs++}`), { model: program.name });
    const request = { manifest, files, weights: asTensors(initial), data: { train: examples }, epochs: 2, batch: 4, seed: 3 };
    const rest = { schedule: () => ({ learningRate: 0.1 }), augmentation: null, paths, threads: 1 };
    await train({ ...request, ...rest, ...asked }).finally(release);
    const lines = readLines(paths.metrics) as Record<string, unknown>[];
    return { last: digest(paths.last), lines: lines.map(({ seconds, ...line }) => line) };
  }

  it('tells the progress after each run, and keeps checkpoints between runs without a trace', async () => {
    const single = await trained({});
    const done: number[] = [];
    expect(await trained({ loop: 3, checkpointMinutes: 0, onUpdate: (update) => done.push(update.done) })).toEqual(single);
    expect(done).toEqual([12, 24, 28, 12, 24, 28]);
    // More steps than an epoch has.
    expect(await trained({ loop: 16 })).toEqual(single);
  });

  it('names the step at which the loss was not finite', async () => {
    const schedule = (step: number) => ({ learningRate: step === 4 ? Number.NaN : 0.1 });
    await expect(trained({ loop: 3, schedule })).rejects.toMatchObject({
      code: 'LOSS_NOT_FINITE',
      message: 'the loss became NaN at step 6 (epoch 1)',
    });
  });

  it('refuses what it cannot do', async () => {
    await expect(trained({ loop: 2, accumulate: 2 })).rejects.toMatchObject({
      code: 'USAGE',
      message: '--loop 2 takes several steps in one run, and --accumulate 2 several runs for one step',
    });
    for (const loop of [0, -1, 1.5, Number.NaN]) {
      await expect(trained({ loop })).rejects.toMatchObject({ code: 'USAGE', message: `a run cannot take ${loop} steps` });
    }
    const { manifest, files } = compileTraining(program, { target: portable, batch: 4 });
    await expect(trained({ loop: 2, manifest, files })).rejects.toMatchObject({
      code: 'MANIFEST_INVALID',
      message: 'the model was built without loop.onnx',
    });
  });
});

describe('the number of steps that a run takes unless it is told', () => {
  /** A model of `count` parameters. */
  const linearOf = (count: number) =>
    defineModel({
      options: {},
      name: 'wide',
      inputs: () => ({ x: array([count]) }),
      targets: () => ({ label: classIndex() }),
      forward: ({ x }) => ({ logits: linear(x, 'fc', { units: 1, bias: false }) }),
      loss: ({ logits }, { label }) => softmaxCrossEntropy(logits, label),
    }).instantiate();

  it('is 4 on the processor from 16 MB of state on, the moments counted', () => {
    const momentum = { ...sgd, momentum: 0.9 };
    for (const [optimizer, most] of [
      [sgd, 4_000_000],
      [momentum, 2_000_000],
      [adam, 1_333_334],
    ] as const) {
      expect(stepsPerRun(linearOf(most), 'cpu', optimizer)).toBe(4);
      expect(stepsPerRun(linearOf(most - 1), 'cpu', optimizer)).toBe(1);
    }
  });

  it('is 1 for DDRNet and 4 for ResNet there, 16 on CUDA, and 1 where the state stays on the device', () => {
    const [small, large] = [ddrnet.instantiate(), resnet.instantiate()];
    const on = (provider: 'cpu' | 'cuda' | 'webgpu') =>
      [small, large].map((program) => stepsPerRun(program, provider, program.training.optimizer));
    expect([on('cpu'), on('cuda'), on('webgpu')]).toEqual([
      [1, 4],
      [16, 16],
      [1, 1],
    ]);
  });
});

describe('loop.onnx of the other commands', () => {
  it('is what bench --loop times', async () => {
    const args = ['bench', 'small.ts', '--batch', '4', '--threads', '1', '--json'];
    const calls = [
      [...args, '--steps', '3', '--loop', '2'],
      [...args, '--steps', '1', '--loop', '1'],
      [...args, '--steps', '1'],
    ];
    const [looped, single, plain] = (await ddrcInOneProcess(calls, folder)).map(({ code, stdout, stderr }) => {
      expect([code, stderr]).toEqual([0, '']);
      return JSON.parse(stdout);
    });
    expect([looped.loop, single.loop, plain.loop]).toEqual([2, undefined, undefined]);
    expect(looped.train_img_s_best).toBeGreaterThanOrEqual(looped.train_img_s_median);
    expect(looped.train_img_s_median).toBeGreaterThan(0);
  });

  it('is written by build --loop, listed in the manifest, and removed by a build without it', async () => {
    const build = ['build', 'small.ts', '--out', 'built'];
    const files = ['eval.onnx', 'grad.onnx', 'initial.safetensors', 'loop.onnx', 'model.onnx', 'step.onnx'];
    const manifest = () => JSON.parse(readFileSync(at('built', 'manifest.json'), 'utf8'));
    expect(await ddrc([...build, '--loop'], { cwd: folder })).toMatchObject({ code: 0 });
    expect(readdirSync(at('built')).sort()).toEqual([...files, 'manifest.json'].sort());
    expect(Object.keys(manifest().files).sort()).toEqual(files);
    expect(manifest().files['loop.onnx'].sha256).toBe(digest(at('built', 'loop.onnx')));
    const schema = JSON.parse(readFileSync(join(checkout, 'docs', 'manifest.schema.json'), 'utf8'));
    expect(violations(schema, manifest())).toEqual([]);
    expect(await ddrc(build, { cwd: folder })).toMatchObject({ code: 0 });
    const left = files.filter((name) => name !== 'loop.onnx');
    expect(readdirSync(at('built')).sort()).toEqual([...left, 'manifest.json'].sort());
    expect(Object.keys(manifest().files).sort()).toEqual(left);
  });
});
