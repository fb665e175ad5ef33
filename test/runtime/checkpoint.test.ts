import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { TableEntry } from '../../contract/manifest.ts';
import { DdrcError } from '../../diagnostics/error.ts';
import { type Checkpoint, loadCheckpoint, loadStart, loadWeights, saveCheckpoint } from '../../runtime/checkpoint.ts';
import { packState, tableLength, unpackState } from '../../runtime/flat-state.ts';
import { serializeSafetensors } from '../../runtime/safetensors.ts';
import { readSafetensors } from '../../runtime/safetensors-file.ts';
import type { TensorData } from '../../runtime/tensor.ts';

const folder = mkdtempSync(join(tmpdir(), 'ddrc-checkpoint-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const parameters: TableEntry[] = [
  { name: 'a.weight', shape: [2, 3], offset: 0 },
  { name: 'a.bias', shape: [2], offset: 6 },
  { name: 'scale', shape: [], offset: 8 },
];
const statistics: TableEntry[] = [{ name: 'norm.running_mean', shape: [2], offset: 0 }];
const tables = { parameters, statistics };
const ramp = (length: number, first: number) => Float32Array.from({ length }, (_, index) => first + index / 7);

const state: Checkpoint = {
  parameters: ramp(9, 1),
  statistics: ramp(2, 20),
  moment1: ramp(9, 30),
  moment2: ramp(9, 40),
  step: 1234,
  modelHash: 'c0ffee',
  progress: {
    epoch: 3,
    batch: 17,
    seed: 'Käfer "sha256":"',
    bestLoss: 0.1 + 0.2,
    bestEpoch: 2,
    sums: { loss: 1e-17, confusion: [1, 2, 3] },
  },
};

function saved(name: string, change: Partial<Checkpoint> = {}): string {
  const path = join(folder, name);
  saveCheckpoint(path, tables, { ...state, ...change });
  return path;
}

function failure(action: () => unknown): DdrcError {
  try {
    action();
  } catch (error) {
    if (error instanceof DdrcError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

const load = (path: string) => loadCheckpoint(path, { ...tables, modelHash: 'c0ffee' });

describe('checkpoint', () => {
  it('gives everything back, to the bit', () => {
    const loaded = load(saved('whole'));
    expect(loaded).toEqual(state);
    expect(loaded.progress.bestLoss).toBe(0.30000000000000004);
  });

  it('has the same bytes for the same state, and no partial file beside it', () => {
    expect(readFileSync(saved('one')).equals(readFileSync(saved('two')))).toBe(true);
    expect(readdirSync(folder).filter((name) => name.includes('partial'))).toEqual([]);
  });

  it('stores the tensors by the names that other tools expect', () => {
    const { tensors } = readSafetensors(saved('names'));
    expect([...tensors.keys()]).toEqual([
      ...['a.weight', 'a.bias', 'scale', 'norm.running_mean'],
      ...['m:a.weight', 'm:a.bias', 'm:scale', 'v:a.weight', 'v:a.bias', 'v:scale', 'step'],
    ]);
    expect(tensors.get('v:a.bias')).toEqual({ dtype: 'float32', shape: [2], data: state.moment2!.slice(6, 8) });
    expect(tensors.get('step')).toEqual({ dtype: 'int64', shape: [], data: BigInt64Array.of(1234n) });
  });

  it('works without moments and without statistics', () => {
    const path = join(folder, 'plain');
    saveCheckpoint(
      path,
      { parameters, statistics: [] },
      { ...state, statistics: new Float32Array(0), moment1: undefined, moment2: undefined },
    );
    const loaded = loadCheckpoint(path, { parameters, statistics: [] });
    expect(loaded.moment1).toBeUndefined();
    expect(loaded.parameters).toEqual(state.parameters);
  });

  it('finds every single flipped bit', () => {
    const path = saved('flipped');
    const bytes = readFileSync(path);
    for (let index = 0; index < bytes.length; index++) {
      // One bit of each byte, another one each time; the next test covers all eight for a few bytes.
      const bit = 1 << (index % 8);
      bytes[index] ^= bit;
      writeFileSync(path, bytes);
      expect(failure(() => load(path)).code).toMatch(/^(CHECKPOINT_DAMAGED|CHECKPOINT_INVALID|SAFETENSORS_\w+)$/);
      bytes[index] ^= bit;
    }
    writeFileSync(path, bytes);
    expect(load(path)).toEqual(state);
  });

  it('finds a flipped bit of a weight also where only the weights are read', () => {
    const path = saved('weight-bit');
    const bytes = readFileSync(path);
    for (let bit = 0; bit < 8; bit++) {
      bytes[bytes.length - 20] ^= 1 << bit;
      writeFileSync(path, bytes);
      expect(failure(() => loadWeights(path, tables))).toMatchObject({ code: 'CHECKPOINT_DAMAGED', where: path });
      bytes[bytes.length - 20] ^= 1 << bit;
    }
  });

  it('finds a truncated file, wherever it was cut', () => {
    const path = saved('cut');
    const bytes = readFileSync(path);
    for (const length of [0, 7, 100, bytes.length - 300, bytes.length - 1]) {
      writeFileSync(path, bytes.subarray(0, length));
      expect(failure(() => load(path)).code).toBe('SAFETENSORS_TRUNCATED');
    }
  });

  it('names what is missing, unknown and different, at most three each', () => {
    const path = saved('other');
    const others: TableEntry[] = [
      { name: 'a.weight', shape: [3, 2], offset: 0 },
      ...['p', 'q', 'r', 's', 't'].map((name, index) => ({ name, shape: [1], offset: 6 + index })),
    ];
    const error = failure(() => loadCheckpoint(path, { parameters: others, statistics }));
    expect(error.code).toBe('CHECKPOINT_MODEL');
    const faults =
      'missing: p, q, r and 2 more; unknown: a.bias, scale; different: a.weight (float32 [2,3] in place of float32 [3,2])';
    expect(error.message).toBe(`${path} does not belong to this model (${faults})`);
    expect(error.hint).toBeTruthy();
  });

  it.each([
    ["the optimizer's state", { moment2: undefined }, "optimizer's state"],
    ['averages', { ema: undefined, emaStatistics: undefined }, 'averages of the weights'],
  ])('refuses to go on without %s where they are expected', (_, change, what) => {
    const all = { ema: ramp(9, 50), emaStatistics: ramp(2, 60) };
    const expected = { ...tables, slots: ['moment1', 'moment2'], averaged: true };
    expect(loadCheckpoint(saved('all', all), expected)).toEqual({ ...state, ...all });
    const path = saved('part', { ...all, ...change });
    expect(failure(() => loadCheckpoint(path, expected))).toMatchObject({
      code: 'CHECKPOINT_INVALID',
      message: `${path} has no ${what}, so a training cannot go on from it as if it had not stopped`,
      hint: `start a new run from its weights: --weights ${path}`,
    });
    expect(loadWeights(path, tables).parameters).toEqual(state.parameters);
  });

  it('refuses the same parameters of another model', () => {
    expect(failure(() => loadCheckpoint(saved('hash'), { ...tables, modelHash: 'decaf' }))).toMatchObject({
      code: 'CHECKPOINT_MODEL',
      notes: [
        { label: 'checkpoint', text: 'c0ffee' },
        { label: 'model', text: 'decaf' },
      ],
    });
  });

  it('refuses NaN and infinity, when it writes and when it reads, and says where', () => {
    const path = saved('finite');
    const broken = ramp(9, 0);
    broken[7] = Number.NaN;
    const error = failure(() => saved('finite', { parameters: broken }));
    expect(error).toMatchObject({
      code: 'CHECKPOINT_NOT_FINITE',
      message: 'a.bias is not finite: element 1 is NaN',
      where: `${path}, tensor 'a.bias'`,
    });
    expect(load(path)).toEqual(state);

    const tensors = unpackState(parameters, state.parameters);
    tensors.set('norm.running_mean', { dtype: 'float32', shape: [2], data: Float32Array.of(-Infinity, 0) });
    writeFileSync(path, serializeSafetensors(tensors));
    expect(failure(() => loadWeights(path, tables)).message).toBe('norm.running_mean is not finite: element 0 is -Infinity');
  });

  it('refuses a checkpoint of a later version, whose checksum is right', () => {
    const path = saved('version');
    const bytes = readFileSync(path);
    const checksum = bytes.indexOf('"sha256":"') + 10;
    bytes.write('2', bytes.indexOf('"version":"') + 11);
    bytes.fill('0', checksum, checksum + 64);
    bytes.write(createHash('sha256').update(bytes).digest('hex'), checksum);
    writeFileSync(path, bytes);
    const message = `${path} has checkpoint version 2, this ddrc reads version 1`;
    expect(failure(() => load(path))).toMatchObject({ code: 'CHECKPOINT_INVALID', message });
  });

  it('refuses a file that has no training state, whose weights can be used, and incomplete moments', () => {
    const path = join(folder, 'foreign');
    const tensors = unpackState(parameters, state.parameters);
    for (const [name, tensor] of unpackState(statistics, state.statistics)) tensors.set(name, tensor);
    writeFileSync(path, serializeSafetensors(tensors, { author: 'someone' }));
    expect(failure(() => load(path))).toMatchObject({ code: 'CHECKPOINT_INVALID', message: `${path} holds no training state` });
    expect(loadWeights(path, tables)).toEqual({ parameters: state.parameters, statistics: state.statistics });

    tensors.set('m:scale', { dtype: 'float32', shape: [], data: Float32Array.of(1) });
    writeFileSync(path, serializeSafetensors(tensors));
    expect(failure(() => loadWeights(path, tables)).message).toContain('missing: m:a.weight, m:a.bias');
  });
});

describe('a file to start from', () => {
  const path = join(folder, 'double');
  const start = (change: Record<string, number[]> = {}) => {
    const values = { 'a.weight': [0.1, 0.2, 0.3, 1 / 3, -1e-50, 3.4e38], 'a.bias': [1, 2], scale: [4], ...change };
    const tensors = [...parameters, ...statistics].map(({ name, shape }): [string, TensorData] => [
      name,
      { dtype: 'float64', shape, data: Float64Array.from(values[name as keyof typeof values] ?? [5, 6]) },
    ]);
    writeFileSync(path, serializeSafetensors(new Map(tensors)));
    return loadStart(path, tables, null);
  };

  it('may be in float64: rounded to float32', () => {
    const rounded = Float32Array.of(0.1, 0.2, 0.3, 1 / 3, -0, 3.4e38, 1, 2, 4);
    expect(start()).toEqual({ parameters: rounded, statistics: Float32Array.of(5, 6), reset: [] });
  });

  it('is refused where float64 is not finite, or not in float32', () => {
    expect(failure(() => start({ 'a.bias': [0, -3.5e38] }))).toMatchObject({
      code: 'CHECKPOINT_NOT_FINITE',
      message: 'a.bias does not fit into float32: element 1 is -3.5e+38',
      where: `${path}, tensor 'a.bias'`,
    });
    expect(failure(() => start({ scale: [Number.NaN] })).message).toBe('scale is not finite: element 0 is NaN');
  });
});

describe('packState and unpackState', () => {
  it('move tensors to their offsets and back', () => {
    const table: TableEntry[] = [
      { name: 'late', shape: [2], offset: 3 },
      { name: 'early', shape: [1, 3], offset: 0 },
    ];
    const tensors = new Map<string, TensorData>([
      ['early', { dtype: 'float32', shape: [1, 3], data: Float32Array.of(1, 2, 3) }],
      ['late', { dtype: 'float32', shape: [2], data: Float32Array.of(4, 5) }],
      ['other', { dtype: 'float32', shape: [1], data: Float32Array.of(6) }],
    ]);
    expect(tableLength(table)).toBe(5);
    const flat = packState(table, tensors);
    expect([...flat]).toEqual([1, 2, 3, 4, 5]);
    expect(unpackState(table, flat).get('late')).toEqual({ dtype: 'float32', shape: [2], data: Float32Array.of(4, 5) });
  });

  it('refuse another element type', () => {
    const tensors = new Map<string, TensorData>([['x', { dtype: 'float64', shape: [1], data: Float64Array.of(1) }]]);
    expect(failure(() => packState([{ name: 'x', shape: [1], offset: 0 }], tensors)).message).toBe(
      'the state does not belong to this model (different: x (float64 [1] in place of float32 [1]))',
    );
  });
});

const resumed = join(import.meta.dirname, '../../../shared/oracle/fixtures/resumed/state.safetensors');

describe.skipIf(!existsSync(resumed))(
  `the oracle's state${existsSync(resumed) ? '' : ' (skipped: ../shared/oracle is not here)'}`,
  () => {
    it('is read with its moments and step, though it has no checksum', () => {
      const { tensors } = readSafetensors(resumed);
      const table = (wanted: (name: string) => boolean) => {
        let offset = 0;
        return [...tensors]
          .filter(([name]) => !/^[mv]:|^step$/.test(name) && wanted(name))
          .map(([name, { shape, data }]) => {
            const entry = { name, shape, offset };
            offset += data.length;
            return entry;
          });
      };
      const statistics = table((name) => name.includes('running_'));
      const parameters = table((name) => !name.includes('running_'));
      const weights = loadWeights(resumed, { parameters, statistics });
      expect(weights.step).toBe(Number(tensors.get('step')!.data[0]));
      expect(weights.step).toBeGreaterThan(0);
      for (const { name, offset } of [parameters[0], parameters[parameters.length - 1]]) {
        expect(weights.parameters[offset]).toBe(tensors.get(name)!.data[0]);
        expect(weights.moment1![offset]).toBe(tensors.get(`m:${name}`)!.data[0]);
        expect(weights.moment2![offset]).toBe(tensors.get(`v:${name}`)!.data[0]);
      }
      expect(weights.statistics.length).toBe(tableLength(statistics));
    });
  },
);
