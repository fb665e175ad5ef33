import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { serializeSafetensors } from '../../runtime/safetensors.ts';
import { readSafetensors } from '../../runtime/safetensors-file.ts';
import type { TensorData } from '../../runtime/tensor.ts';
import { ddrc, type Outcome, temporaryFolder } from './ddrc.ts';
import { ddrcInOneProcess } from './one-process.ts';

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);

/** Logits = x·weightᵀ + bias with two features and two classes, behind a dropout that `step` must switch off. */
const model = `import { array, classIndex, defineModel, dropout, float, int, linear, softmaxCrossEntropy } from 'ddrc';

export default defineModel({
  name: 'line',
  options: { classes: int(2, { min: 2 }), dropout: float(0.5, { min: 0, below: 1 }) },
  inputs: () => ({ x: array([2]) }),
  targets: () => ({ label: classIndex() }),
  forward: ({ x }, { classes, dropout: p }) => ({ logits: linear(dropout(x, p), 'fc', { units: classes }) }),
  loss: ({ logits }, { label }) => softmaxCrossEntropy(logits, label),
  training: { optimizer: { kind: 'sgd', momentum: 0.9, nesterov: false, weightDecay: 0.1 }, clipNorm: 0.01 },
});
`;
const weight = [0.5, -0.25, 1, 0.75];
const bias = [0.1, -0.2];
const x = [1, 2, -0.5, 0.25, 3, -1];
const labels = [0, 1, 1];

const floats = (shape: readonly number[], values: readonly number[]): TensorData => ({
  dtype: 'float32',
  shape,
  data: Float32Array.from(values),
});
const state = new Map<string, TensorData>([
  ['fc.weight', floats([2, 2], weight)],
  ['fc.bias', floats([2], bias)],
]);
const batch = new Map<string, TensorData>([
  ['x', floats([3, 2], x)],
  ['label', { dtype: 'int64', shape: [3], data: BigInt64Array.from(labels, BigInt) }],
]);
const write = (name: string, tensors: ReadonlyMap<string, TensorData>) => writeFileSync(at(name), serializeSafetensors(tensors));
const step = (stateFile: string, ...more: string[]) =>
  ddrc(['step', 'line.ts', '--state', stateFile, '--batch', 'batch.safetensors', '--out', 'out.safetensors', ...more], {
    cwd: folder,
  });

/** The step in double precision. */
function reference({ rate = 1e-3, m = 0, v = 0, t = 0 }: { rate?: number; m?: number; v?: number; t?: number } = {}) {
  const logits: number[] = [];
  const gradient = { weight: [0, 0, 0, 0], bias: [0, 0] };
  let loss = 0;
  labels.forEach((label, n) => {
    const scores = [0, 1].map((k) => weight[2 * k] * x[2 * n] + weight[2 * k + 1] * x[2 * n + 1] + bias[k]);
    logits.push(...scores);
    const total = Math.exp(scores[0]) + Math.exp(scores[1]);
    loss += (Math.log(total) - scores[label]) / 3;
    scores.forEach((score, k) => {
      const error = (Math.exp(score) / total - Number(k === label)) / 3;
      gradient.weight[2 * k] += error * x[2 * n];
      gradient.weight[2 * k + 1] += error * x[2 * n + 1];
      gradient.bias[k] += error;
    });
  });
  const adam = (values: readonly number[], g: readonly number[]) =>
    values.map((value, i) => {
      const first = (0.9 * m + 0.1 * g[i]) / (1 - 0.9 ** (t + 1));
      const second = (0.999 * v + 0.001 * g[i] ** 2) / (1 - 0.999 ** (t + 1));
      return value - (rate * first) / (Math.sqrt(second) + 1e-8);
    });
  return { logits, loss, gradient, weight: adam(weight, gradient.weight), bias: adam(bias, gradient.bias) };
}

function expectNumbers(expected: ReturnType<typeof reference>) {
  const { tensors } = readSafetensors(at('out.safetensors'));
  const numbers: Record<string, [number[], readonly number[]]> = {
    eval_logits: [[3, 2], expected.logits],
    train_logits: [[3, 2], expected.logits],
    loss: [[1], [expected.loss]],
    'grad:fc.weight': [[2, 2], expected.gradient.weight],
    'grad:fc.bias': [[2], expected.gradient.bias],
    'adam:fc.weight': [[2, 2], expected.weight],
    'adam:fc.bias': [[2], expected.bias],
  };
  expect([...tensors.keys()].sort()).toEqual(Object.keys(numbers).sort());
  for (const [name, [shape, values]] of Object.entries(numbers)) {
    expect(tensors.get(name)!.shape, name).toEqual(shape);
    values.forEach((value, i) => {
      expect(tensors.get(name)!.data[i], name).toBeCloseTo(value, 6);
    });
  }
}

beforeAll(() => {
  writeFileSync(at('line.ts'), model);
  write('state.safetensors', state);
  write('batch.safetensors', batch);
});

describe('ddrc step', () => {
  it('does one Adam step from zero moments, whatever the model trains with, without dropout', async () => {
    expect(await step('state.safetensors')).toMatchObject({ code: 0, stderr: '' });
    expectNumbers(reference());
  });

  it('takes moments, the step, and the rate', async () => {
    const filled = (value: number, prefix: string) =>
      [...state].map(([name, { shape, data }]): [string, TensorData] => {
        const same = new Array<number>(data.length).fill(value);
        return [prefix + name, floats(shape, same)];
      });
    const step7: TensorData = { dtype: 'int64', shape: [], data: BigInt64Array.of(7n) };
    const all = [...state, ...filled(0.02, 'm:'), ...filled(0.001, 'v:'), ['step', step7]] as [string, TensorData][];
    write('moments.safetensors', new Map(all));
    expect(await step('moments.safetensors', '--lr', '0.5')).toMatchObject({ code: 0, stderr: '' });
    expectNumbers(reference({ rate: 0.5, m: 0.02, v: 0.001, t: 7 }));
  });

  it('reads options from a file, and those of the command line before them', async () => {
    writeFileSync(at('three.json'), '{"classes": 3}');
    const three = await step('state.safetensors', '--options', 'three.json');
    expect([three.code, three.stderr]).toEqual([1, expect.stringContaining('fc.weight')]);
    expect(await step('state.safetensors', '--options', 'three.json', '--option', 'classes=2')).toMatchObject({ code: 0 });
  });

  describe('refuses', () => {
    let outcomes: Map<string, Outcome>;
    beforeAll(async () => {
      const changed = (change: (tensors: Map<string, TensorData>) => void) => {
        const tensors = new Map(state);
        change(tensors);
        return tensors;
      };
      write(
        'missing.safetensors',
        changed((all) => all.delete('fc.bias')),
      );
      write(
        'unknown.safetensors',
        changed((all) => all.set('fc.scale', floats([1], [1]))),
      );
      write(
        'shape.safetensors',
        changed((all) => all.set('fc.bias', floats([3], [1, 2, 3]))),
      );
      write(
        'nan.safetensors',
        changed((all) => all.set('fc.bias', floats([2], [1, Number.NaN]))),
      );
      write(
        'half.safetensors',
        changed((all) => all.set('m:fc.bias', floats([2], [0, 0])).set('m:fc.weight', floats([2, 2], [0, 0, 0, 0]))),
      );
      const whole = readFileSync(at('state.safetensors'));
      writeFileSync(at('cut.safetensors'), whole.subarray(0, whole.length - 5));
      write('wide.safetensors', new Map(batch).set('x', floats([3, 3], new Array(9).fill(0))));
      write(
        'label.safetensors',
        new Map<string, TensorData>(batch).set('label', { dtype: 'int64', shape: [3], data: BigInt64Array.of(0n, 1n, 2n) }),
      );
      write('nanbatch.safetensors', new Map(batch).set('x', floats([3, 2], [1, 2, 3, Number.NaN, 5, 6])));
      write('overflow.safetensors', new Map(batch).set('x', floats([3, 2], new Array(6).fill(3e38))));
      write('halflabel.safetensors', new Map(batch).set('label', floats([3], [0, 1, 0.5])));
      write('nolabel.safetensors', new Map([...batch].slice(0, 1)));
      writeFileSync(at('list.json'), '[1]');
      writeFileSync(at('broken.json'), '{"classes": ');
      const results = await ddrcInOneProcess(
        Object.values(refusals).map(([more]) => argsOf(more)),
        folder,
      );
      outcomes = new Map(Object.keys(refusals).map((name, i) => [name, results[i]]));
    });

    const refusals = {
      'a state without a parameter': [{ '--state': 'missing.safetensors' }, 'CHECKPOINT_MODEL', 'missing: fc.bias'],
      'a state with an unknown one': [{ '--state': 'unknown.safetensors' }, 'CHECKPOINT_MODEL', 'unknown: fc.scale'],
      'a parameter of another shape': [{ '--state': 'shape.safetensors' }, 'CHECKPOINT_MODEL', 'fc.bias (float32 [3]'],
      'a NaN': [{ '--state': 'nan.safetensors' }, 'CHECKPOINT_NOT_FINITE', 'fc.bias is not finite'],
      'a half of the moments': [{ '--state': 'half.safetensors' }, 'CHECKPOINT_INVALID', 'v:NAME and step are missing'],
      'a truncated state': [{ '--state': 'cut.safetensors' }, 'SAFETENSORS_TRUNCATED', 'cut.safetensors'],
      'a state that is not there': [{ '--state': 'no.safetensors' }, 'FILE_MISSING', 'no.safetensors does not exist'],
      'a batch of another shape': [{ '--batch': 'wide.safetensors' }, 'DATA_SHAPE', 'wide.safetensors has "x" of another shape'],
      'a label that is no class': [{ '--batch': 'label.safetensors' }, 'DATA_LABEL', 'an example of class 2'],
      'a label that is no whole number': [{ '--batch': 'halflabel.safetensors' }, 'DATA_LABEL', 'an example of class 0.5'],
      'a batch with NaN': [{ '--batch': 'nanbatch.safetensors' }, 'ARRAYS_NOT_FINITE', 'the array "x" has NaN in example 1'],
      'a loss that overflows': [{ '--batch': 'overflow.safetensors' }, 'LOSS_NOT_FINITE', 'the loss of the batch is '],
      'a batch without labels': [{ '--batch': 'nolabel.safetensors' }, 'ARRAYS_INPUT_MISSING', 'no array "label"'],
      'options that are no object': [{ '--options': 'list.json' }, 'OPTION_INVALID', 'is not a JSON object'],
      'options that are not JSON': [{ '--options': 'broken.json' }, 'OPTION_INVALID', 'is not JSON'],
      'an unknown option': [{ '--option': 'clases=2' }, 'OPTION_UNKNOWN', 'did you mean "classes"?'],
      'an output without its folder': [{ '--out': join('no', 'out') }, 'OUTPUT_UNWRITABLE', 'its folder does not exist'],
    } as const;
    const argsOf = (more: Readonly<Record<string, string>>) => {
      const all = { '--state': 'state.safetensors', '--batch': 'batch.safetensors', '--out': 'never.safetensors', ...more };
      return ['step', 'line.ts', ...Object.entries(all).flat()];
    };
    it.each(Object.entries(refusals))('%s', (name, [, code, sentence]) => {
      const outcome = outcomes.get(name)!;
      expect([outcome.code, outcome.stdout]).toEqual([1, '']);
      expect(outcome.stderr).toMatch(new RegExp(`^${code} {2}`));
      expect(outcome.stderr).toContain(sentence);
      expect(outcome.stderr).not.toMatch(/\.[jt]s:\d+:\d+/);
      expect(existsSync(at('never.safetensors'))).toBe(false);
    });

    it.skipIf(!existsSync('/dev/full'))('a full disk (skipped where there is no /dev/full)', async () => {
      const outcome = await ddrc(argsOf({ '--out': '/dev/full' }), { cwd: folder });
      expect([outcome.code, outcome.stderr.split('\n')[0]]).toEqual([
        1,
        'DISK_FULL  /dev/full cannot be written: the disk is full',
      ]);
    });
  });
});
