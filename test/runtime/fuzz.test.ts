import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { isDdrcError } from '../../diagnostics/error.ts';
import { random } from '../../numeric/random.ts';
import { type Checkpoint, loadCheckpoint, saveCheckpoint } from '../../runtime/checkpoint.ts';
import { type OrtCheckpoint, parseOrtCheckpoint, serializeOrtCheckpoint } from '../../runtime/ort-checkpoint.ts';
import { ortCheckpointOf, safetensorsOf } from '../../runtime/ort-weights.ts';
import { parseSafetensors, serializeSafetensors } from '../../runtime/safetensors.ts';
import type { TensorData } from '../../runtime/tensor.ts';

const folder = mkdtempSync(join(tmpdir(), 'ddrc-fuzz-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const count = 1000;
const ramp = (length: number, first = 0) => Float32Array.from({ length }, (_, i) => first + i / 7);
const tensor = (...shape: number[]): TensorData => {
  const length = shape.reduce((product, size) => product * size, 1);
  return { dtype: 'float32', shape, data: ramp(length, length) };
};

type Mutation = (bytes: Uint8Array, next: () => number) => Uint8Array;

const below = (next: () => number, limit: number) => Math.floor(next() * limit);
/** Values that are wrong as a length or an offset, or nearly right. */
const lies = (length: number) => [
  0,
  1,
  3,
  4,
  8,
  0x7f,
  0xff,
  0xffff,
  0x7fffffff,
  0x80000000,
  0xffffffff,
  length,
  length - 4,
  length + 1,
];

const mutations: Readonly<Record<string, Mutation>> = {
  'flipped bits': (bytes, next) => {
    for (let flips = 1 + below(next, 8); flips > 0; flips--) bytes[below(next, bytes.length)] ^= 1 << below(next, 8);
    return bytes;
  },
  // Headers and tables are a small part of a file, and the one where a bit says something.
  'a flipped bit at the start': (bytes, next) => {
    bytes[below(next, Math.min(bytes.length, 300))] ^= 1 << below(next, 8);
    return bytes;
  },
  'a cut': (bytes, next) => bytes.subarray(0, below(next, bytes.length)),
  'a part twice, in the place of another or between others': (bytes, next) => {
    const from = below(next, bytes.length);
    const part = bytes.slice(from, from + 1 + below(next, 64));
    const to = below(next, bytes.length);
    const kept = to + (next() < 0.5 ? part.length : 0);
    return Uint8Array.from([...bytes.subarray(0, to), ...part, ...bytes.subarray(kept)]);
  },
  'a part left out': (bytes, next) => {
    const from = below(next, bytes.length);
    return Uint8Array.from([...bytes.subarray(0, from), ...bytes.subarray(from + 1 + below(next, 64))]);
  },
  'a length or offset that lies': (bytes, next) => {
    const values = lies(bytes.length);
    const at = 4 * below(next, bytes.length / 4 - 1);
    const value = next() < 0.5 ? values[below(next, values.length)] : below(next, bytes.length);
    new DataView(bytes.buffer).setUint32(at, value, true);
    return bytes;
  },
  'a digit that lies': (bytes, next) => {
    const digits = [...bytes.keys()].filter((i) => bytes[i] >= 0x30 && bytes[i] <= 0x39);
    if (digits.length > 0) bytes[digits[below(next, digits.length)]] = 0x30 + below(next, 10);
    return bytes;
  },
};

/**
 * Reads {@link count} damaged copies of a file. Each is read as something or refused with one located error, at once.
 * @param read reads bytes, and checks what it got
 * @returns how many were refused
 */
function fuzz(name: string, original: Uint8Array, read: (bytes: Uint8Array) => void): number {
  const next = random(`fuzz ${name}`);
  const kinds = Object.values(mutations);
  let refused = 0;
  let slowest = 0;
  for (let i = 0; i < count; i++) {
    const bytes = kinds[i % kinds.length](Uint8Array.from(original), next);
    const start = performance.now();
    try {
      read(bytes);
    } catch (error) {
      if (!isDdrcError(error)) throw new Error(`mutation ${i} of ${name} gave no DdrcError`, { cause: error });
      expect([error.where, error.hint].every(Boolean)).toBe(true);
      refused++;
    }
    slowest = Math.max(slowest, performance.now() - start);
  }
  // Milliseconds, of which reading takes less than one: the rest is for a busy machine.
  expect(slowest).toBeLessThan(500);
  return refused;
}

const bytesIn = (tensors: Iterable<TensorData>) => [...tensors].reduce((sum, { data }) => sum + data.byteLength, 0);

const trained: OrtCheckpoint = {
  version: 2,
  trainable: new Map([
    ['conv.weight', tensor(4, 3, 3, 3)],
    ['conv.bias', tensor(4)],
    ['scale', tensor()],
  ]),
  frozen: new Map<string, TensorData>([
    ['norm.running_mean', tensor(4)],
    ['norm.num_batches_tracked', { dtype: 'int64', shape: [], data: BigInt64Array.of(12n) }],
    ['empty', tensor(0, 3)],
  ]),
  optimizer: {
    step: 12,
    initialLearningRate: 0.5,
    moments: new Map([
      ['conv.weight', [tensor(4, 3, 3, 3), tensor(4, 3, 3, 3)]],
      ['conv.bias', [tensor(4), tensor(4)]],
      ['scale', [tensor(), tensor()]],
    ]),
  },
  properties: new Map<string, bigint | number | string>([
    ['epoch', 3n],
    ['loss', 0.25],
    ['note', 'größer'],
  ]),
};

describe(`${count} damaged copies of each format`, () => {
  const before = process.resourceUsage().maxRSS;

  it('ONNX Runtime training checkpoint', () => {
    const original = serializeOrtCheckpoint(trained);
    const refused = fuzz('ort', original, (bytes) => {
      const read = parseOrtCheckpoint(bytes, 'damaged');
      const moments = [...(read.optimizer?.moments.values() ?? [])].flat();
      expect(bytesIn([...read.trainable.values(), ...read.frozen.values(), ...moments])).toBeLessThanOrEqual(bytes.length);
      const again = parseOrtCheckpoint(serializeOrtCheckpoint(read), 'again');
      expect([...again.trainable.keys(), ...again.frozen.keys()]).toEqual([...read.trainable.keys(), ...read.frozen.keys()]);
      const { tensors, metadata } = safetensorsOf(read, 'damaged');
      ortCheckpointOf(parseSafetensors(serializeSafetensors(tensors, metadata), 'again'), 'again', read.version);
    });
    // The format has no checksum, so damage in the numbers is not seen.
    expect(refused).toBeGreaterThan(count / 3);
  });

  it('safetensors, read as they are and as a checkpoint to be', () => {
    const { tensors, metadata } = safetensorsOf(trained, 'x');
    const refused = fuzz('safetensors', serializeSafetensors(tensors, metadata), (bytes) => {
      const read = parseSafetensors(bytes, 'damaged');
      expect(bytesIn(read.tensors.values())).toBeLessThanOrEqual(bytes.length);
      serializeSafetensors(read.tensors, read.metadata);
      serializeOrtCheckpoint(ortCheckpointOf(read, 'damaged', 2), 'damaged');
    });
    expect(refused).toBeGreaterThan(count / 3);
  });

  it("ddrc's own checkpoint, whose checksum finds everything", () => {
    const tables = {
      parameters: [
        { name: 'w', shape: [8, 9], offset: 0 },
        { name: 'b', shape: [8], offset: 72 },
      ],
      statistics: [{ name: 'norm.running_mean', shape: [8], offset: 0 }],
    };
    const state: Checkpoint = {
      parameters: ramp(80),
      statistics: ramp(8),
      moment1: ramp(80, 1),
      moment2: ramp(80, 2),
      step: 77,
      modelHash: 'c0ffee',
      progress: { epoch: 3, batch: 1, seed: 5, bestLoss: 0.5, bestEpoch: 2, sums: { loss: 1 } },
    };
    const path = join(folder, 'last.safetensors');
    saveCheckpoint(path, tables, state);
    const original = readFileSync(path);
    const refused = fuzz('ddrc', original, (bytes) => {
      writeFileSync(path, bytes);
      expect(loadCheckpoint(path, tables)).toEqual(state);
    });
    // A part twice in its own place, a digit by itself: a few copies are whole.
    expect(refused).toBeGreaterThan(0.9 * count);
  });

  it('in little memory', () => {
    // Kilobytes on Linux; three thousand files of 4 kB, and what the garbage collector leaves lying.
    expect(process.resourceUsage().maxRSS - before).toBeLessThan(300_000);
  });
});
