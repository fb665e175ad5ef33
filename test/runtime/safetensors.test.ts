import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DdrcError } from '../../diagnostics/error.ts';
import { parseSafetensors, serializeSafetensors } from '../../runtime/safetensors.ts';
import { readSafetensors } from '../../runtime/safetensors-file.ts';
import type { TensorData } from '../../runtime/tensor.ts';

const fixtures = join(import.meta.dirname, '../../../shared/oracle/fixtures');

/** A file with this header (text, or a value to be made JSON) and this many bytes of data. */
function file(header: unknown, dataLength = 0): Uint8Array {
  const text = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + text.length + dataLength);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, 8);
  return bytes;
}

function failure(bytes: Uint8Array): DdrcError {
  try {
    parseSafetensors(bytes, 'some.safetensors');
  } catch (error) {
    if (error instanceof DdrcError) return error;
    throw error;
  }
  throw new Error('the file was accepted');
}

const f32 = (shape: number[], data_offsets: number[]) => ({ dtype: 'F32', shape, data_offsets });

describe('safetensors', () => {
  const all = new Map<string, TensorData>([
    ['seven bytes', { dtype: 'uint8', shape: [7], data: Uint8Array.of(0, 1, 2, 253, 254, 255, 9) }],
    ['10', { dtype: 'float32', shape: [2, 2], data: Float32Array.of(1.5, -0, Number.NaN, Infinity) }],
    ['9', { dtype: 'float64', shape: [1, 2], data: Float64Array.of(Math.PI, -5e-324) }],
    ['größe "ä"\\{', { dtype: 'int64', shape: [], data: BigInt64Array.of(-(2n ** 63n)) }],
    ['b', { dtype: 'bool', shape: [3], data: Uint8Array.of(1, 0, 1) }],
    ['i', { dtype: 'int32', shape: [1], data: Int32Array.of(-(2 ** 31)) }],
    ['empty', { dtype: 'float32', shape: [0, 5], data: new Float32Array(0) }],
    ['__proto__', { dtype: 'uint8', shape: [1], data: Uint8Array.of(4) }],
  ]);

  it('gives back every element type, name and order, also where elements are not aligned in the file', () => {
    const { tensors, metadata } = parseSafetensors(serializeSafetensors(all, { note: 'a {"b": 1}' }), 'x');
    expect([...tensors]).toEqual([...all]);
    expect(Object.is(tensors.get('10')!.data[1], -0)).toBe(true);
    expect(metadata).toEqual({ note: 'a {"b": 1}' });
  });

  it('writes the bytes of the format: length, padded header, data', () => {
    const bytes = serializeSafetensors(new Map([['w', { dtype: 'float32', shape: [1], data: Float32Array.of(1) }]]), { k: 'v' });
    const header = '{"__metadata__":{"k":"v"},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}';
    const padded = header.padEnd(Math.ceil(header.length / 8) * 8);
    const expected = Buffer.concat([
      Buffer.from([padded.length, 0, 0, 0, 0, 0, 0, 0]),
      Buffer.from(padded),
      Buffer.from([0, 0, 0x80, 0x3f]),
    ]);
    expect(Buffer.from(bytes).equals(expected)).toBe(true);
  });

  it('does not take bytes from beyond a view', () => {
    const view = Float32Array.of(9, 1, 2, 9).subarray(1, 3);
    const { tensors } = parseSafetensors(
      serializeSafetensors(new Map([['v', { dtype: 'float32', shape: [2], data: view }]])),
      'x',
    );
    expect([...tensors.get('v')!.data]).toEqual([1, 2]);
  });

  it('takes tensors whose header order is not the order of their bytes', () => {
    const bytes = file({ a: f32([1], [4, 8]), b: f32([1], [0, 4]) }, 8);
    bytes.set([0, 0, 0x80, 0x3f], bytes.length - 4);
    expect(parseSafetensors(bytes, 'x').tensors.get('a')!.data[0]).toBe(1);
    expect([...parseSafetensors(bytes, 'x').tensors.keys()]).toEqual(['a', 'b']);
  });

  const wrong: [what: string, bytes: Uint8Array, code: string, where: string][] = [
    ['an empty file', new Uint8Array(0), 'SAFETENSORS_TRUNCATED', 'some.safetensors'],
    ['five bytes', new Uint8Array(5), 'SAFETENSORS_TRUNCATED', 'some.safetensors'],
    [
      'a header that ends too early',
      file({ a: f32([1], [0, 4]) }, 0).subarray(0, 20),
      'SAFETENSORS_TRUNCATED',
      'some.safetensors',
    ],
    [
      'data that end too early',
      file({ a: f32([1], [0, 4]), b: f32([1], [4, 8]) }, 7),
      'SAFETENSORS_TRUNCATED',
      "some.safetensors, tensor 'b'",
    ],
    ['another kind of file', new TextEncoder().encode('%PDF-1.7 and more'), 'SAFETENSORS_INVALID', 'some.safetensors'],
    ['a header that is no JSON', file('{"a": '), 'SAFETENSORS_INVALID', 'some.safetensors'],
    [
      'a header that is no UTF-8',
      new Uint8Array([2, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe]),
      'SAFETENSORS_INVALID',
      'some.safetensors',
    ],
    ['a header that is a list', file('[]'), 'SAFETENSORS_INVALID', 'some.safetensors'],
    ['bytes behind the last tensor', file({ a: f32([1], [0, 4]) }, 5), 'SAFETENSORS_INVALID', 'some.safetensors'],
    [
      'overlapping tensors',
      file({ a: f32([2], [0, 8]), b: f32([2], [4, 12]) }, 12),
      'SAFETENSORS_INVALID',
      "some.safetensors, tensor 'b'",
    ],
    ['a gap', file({ a: f32([1], [0, 4]), b: f32([1], [8, 12]) }, 12), 'SAFETENSORS_INVALID', "some.safetensors, tensor 'b'"],
    [
      'fewer bytes than the shape needs',
      file({ a: f32([2, 3], [0, 20]) }, 20),
      'SAFETENSORS_INVALID',
      "some.safetensors, tensor 'a'",
    ],
    [
      'a shape of absurd size',
      file({ a: f32([2 ** 40, 2 ** 40], [0, 4]) }, 4),
      'SAFETENSORS_INVALID',
      "some.safetensors, tensor 'a'",
    ],
    ['a negative size', file({ a: f32([-1], [0, 4]) }, 4), 'SAFETENSORS_INVALID', "some.safetensors, tensor 'a'"],
    ['offsets that run backwards', file({ a: f32([1], [4, 0]) }, 4), 'SAFETENSORS_INVALID', "some.safetensors, tensor 'a'"],
    ['a missing description', file({ a: null }), 'SAFETENSORS_INVALID', "some.safetensors, tensor 'a'"],
    ['metadata that are not texts', file({ __metadata__: { step: 3 } }), 'SAFETENSORS_INVALID', 'some.safetensors'],
    [
      'a name that stands twice',
      file('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\\u0061":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1),
      'SAFETENSORS_INVALID',
      "some.safetensors, tensor 'a'",
    ],
    [
      'an unknown element type',
      file({ a: { dtype: 'BF16', shape: [1], data_offsets: [0, 2] } }, 2),
      'SAFETENSORS_DTYPE',
      "some.safetensors, tensor 'a'",
    ],
    [
      'an inherited element type',
      file({ a: { dtype: 'toString', shape: [], data_offsets: [0, 2] } }, 2),
      'SAFETENSORS_DTYPE',
      "some.safetensors, tensor 'a'",
    ],
  ];
  it.each(wrong)('refuses %s', (_, bytes, code, where) => {
    const error = failure(bytes);
    expect(error).toMatchObject({ code, where });
    expect(error.hint).toBeTruthy();
  });

  it('refuses every proper prefix of a file', () => {
    const bytes = serializeSafetensors(all);
    for (let length = 0; length < bytes.length; length++)
      expect(failure(bytes.subarray(0, length)).code).toMatch(/^SAFETENSORS_/);
  });

  it('does not store a tensor whose shape is not that of its elements', () => {
    const tensors = new Map<string, TensorData>([['w', { dtype: 'float32', shape: [2], data: new Float32Array(3) }]]);
    expect(() => serializeSafetensors(tensors)).toThrow("tensor 'w' [2] cannot be stored: it has 3 elements for 2");
  });

  it('says that a file does not exist', () => {
    expect(() => readSafetensors('no/such.safetensors')).toThrow('no/such.safetensors does not exist');
  });
});

describe.skipIf(!existsSync(fixtures))(
  `the oracle's fixtures${existsSync(fixtures) ? '' : ' (skipped: ../shared/oracle is not here)'}`,
  () => {
    it.each(['default', 'conv-glfeb-csab', 'resumed', 'resnet18-narrow'])(
      '%s: all three files are read and, written again, read the same',
      (name) => {
        for (const part of ['state', 'batch', 'out']) {
          const { tensors } = readSafetensors(join(fixtures, name, `${part}.safetensors`));
          const again = parseSafetensors(serializeSafetensors(tensors), 'again').tensors;
          expect([...again.keys()]).toEqual([...tensors.keys()]);
          // Loops, because a deep comparison of a million elements takes seconds.
          for (const [key, tensor] of tensors) {
            expect(again.get(key)!.shape).toEqual(tensor.shape);
            expect(Buffer.compare(bytesOf(again.get(key)!), bytesOf(tensor))).toBe(0);
          }
        }
      },
    );

    it('the default state has the 251,527 parameters that the design counts, and the labels are classes', () => {
      const state = readSafetensors(join(fixtures, 'default/state.safetensors')).tensors;
      const parameters = [...state].filter(([name]) => !name.includes('running_') && !/^[mv]:|^step$/.test(name));
      expect(parameters.reduce((sum, [, { data }]) => sum + data.length, 0)).toBe(251_527);
      const { label, image } = Object.fromEntries(readSafetensors(join(fixtures, 'default/batch.safetensors')).tensors);
      expect(label.dtype).toBe('int64');
      expect(image.shape[0]).toBe(label.shape[0]);
      expect([...label.data].every((value) => value >= 0 && value < 4)).toBe(true);
    });
  },
);

function bytesOf({ data }: TensorData): Buffer {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
}
