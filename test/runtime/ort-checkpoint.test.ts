import { Builder } from 'flatbuffers';
import { describe, expect, it } from 'vitest';
import { DdrcError } from '../../diagnostics/error.ts';
import {
  type OrtCheckpoint,
  parseOrtCheckpoint,
  readOrtCheckpoint,
  serializeOrtCheckpoint,
} from '../../runtime/ort-checkpoint.ts';
import { ortCheckpointOf, safetensorsOf } from '../../runtime/ort-weights.ts';
import { parseSafetensors, serializeSafetensors } from '../../runtime/safetensors.ts';
import type { TensorData } from '../../runtime/tensor.ts';

const f32 = (shape: readonly number[], ...values: number[]): TensorData => ({
  dtype: 'float32',
  shape,
  data: Float32Array.from(values),
});
const nothing = {
  version: 2,
  trainable: new Map(),
  frozen: new Map(),
  optimizer: null,
  properties: new Map(),
} satisfies OrtCheckpoint;

/** Everything that can be there, with the awkward values. */
const full: OrtCheckpoint = {
  version: 2,
  trainable: new Map([
    ['größe "ä"\\{', f32([2, 3], 1.5, -0, Number.NaN, Infinity, 1e-45, -3)],
    ['10', f32([], 7)],
    ['', f32([1, 1], 0.1)],
    ['空\u0000😀', f32([0, 5])],
    ['__proto__', f32([3], 1, 2, 3)],
  ]),
  frozen: new Map<string, TensorData>([
    ['norm.running_mean', f32([2], 4, 5)],
    ['norm.num_batches_tracked', { dtype: 'int64', shape: [], data: BigInt64Array.of(-(2n ** 63n)) }],
    ['\ufeffmark', f32([2, 0, 3])],
  ]),
  optimizer: {
    step: 2 ** 53 - 1,
    initialLearningRate: Math.fround(1e-3),
    moments: new Map([
      ['größe "ä"\\{', [f32([2, 3], 1, 2, 3, 4, 5, 6), f32([2, 3], 6, 5, 4, 3, 2, 1)]],
      ['10', [f32([], -1), f32([], -2)]],
      ['', [f32([1, 1], -3), f32([1, 1], -4)]],
      ['空\u0000😀', [f32([0, 5]), f32([0, 5])]],
      ['__proto__', [f32([3], 1, 2, 3), f32([3], 1, 2, 3)]],
    ]),
  },
  properties: new Map<string, bigint | number | string>([
    ['epoch', -(2n ** 63n)],
    ['zero', 0n],
    ['rate', -0],
    ['nan', Number.NaN],
    ['note', 'norm.running_mean'],
    ['', ''],
  ]),
};

/** Equal to the bit; NaN and the zeros too. */
function expectSame(got: OrtCheckpoint, expected: OrtCheckpoint): void {
  const flat = (tensors: ReadonlyMap<string, TensorData>) =>
    [...tensors].map(([name, { dtype, shape, data }]) => [
      name,
      dtype,
      shape,
      Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('hex'),
    ]);
  expect(got.version).toBe(expected.version);
  expect(flat(got.trainable)).toEqual(flat(expected.trainable));
  expect(flat(got.frozen)).toEqual(flat(expected.frozen));
  expect([...got.properties]).toEqual([...expected.properties]);
  expect(got.optimizer === null).toBe(expected.optimizer === null);
  if (!got.optimizer || !expected.optimizer) return;
  expect(got.optimizer.step).toBe(expected.optimizer.step);
  expect(got.optimizer.initialLearningRate).toBe(expected.optimizer.initialLearningRate);
  const momentsOf = ({ moments }: NonNullable<OrtCheckpoint['optimizer']>) =>
    [...moments].map(([name, own]) => [name, flat(new Map(own.map((moment, i) => [String(i), moment])))]);
  expect(momentsOf(got.optimizer)).toEqual(momentsOf(expected.optimizer));
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

const parseFailure = (bytes: Uint8Array) => failure(() => parseOrtCheckpoint(bytes, 'some.ckpt'));

describe('a checkpoint of ONNX Runtime training', () => {
  it.each<[string, OrtCheckpoint]>([
    ['everything', full],
    ['version 1', { ...full, version: 1 }],
    ['no optimizer', { ...full, optimizer: null }],
    ['no properties', { ...full, properties: new Map() }],
    ['an optimizer without moments', { ...full, optimizer: { step: 0, initialLearningRate: 0, moments: new Map() } }],
    [
      'one moment each',
      {
        ...full,
        optimizer: {
          ...full.optimizer!,
          moments: new Map([...full.optimizer!.moments].map(([name, own]) => [name, own.slice(0, 1)])),
        },
      },
    ],
    ['nothing at all', nothing],
    ['frozen arrays only', { ...full, trainable: new Map(), optimizer: null }],
  ])('gives everything back to the bit: %s', (_, checkpoint) => {
    const bytes = serializeOrtCheckpoint(checkpoint);
    expectSame(parseOrtCheckpoint(bytes, 'x'), checkpoint);
    expect(Buffer.from(bytes).equals(serializeOrtCheckpoint(checkpoint))).toBe(true);
    expectSame(parseOrtCheckpoint(Uint8Array.of(9, ...bytes).subarray(1), 'x'), checkpoint);
  });

  it.each<[string, OrtCheckpoint]>([
    ['everything', full],
    ['no optimizer', { ...full, optimizer: null, frozen: new Map([['by.choice', f32([1], 1)]]) }],
    ['an optimizer without moments', { ...full, optimizer: { step: 5, initialLearningRate: 0.5, moments: new Map() } }],
  ])('comes back from safetensors: %s', (_, checkpoint) => {
    const { tensors, metadata } = safetensorsOf(checkpoint, 'x');
    const file = parseSafetensors(serializeSafetensors(tensors, metadata), 'y');
    expectSame(ortCheckpointOf(file, 'y', 2), checkpoint);
  });

  it('does not take bytes from beyond a view', () => {
    const data = Float32Array.of(9, 1, 2, 9).subarray(1, 3);
    const bytes = serializeOrtCheckpoint({ ...nothing, trainable: new Map([['v', { dtype: 'float32', shape: [2], data }]]) });
    expect([...parseOrtCheckpoint(bytes, 'x').trainable.get('v')!.data]).toEqual([1, 2]);
  });

  it('has room for a million numbers without growing', () => {
    const data = Float32Array.from({ length: 1_000_003 }, (_, i) => i);
    const bytes = serializeOrtCheckpoint({
      ...nothing,
      frozen: new Map([['big', { dtype: 'float32', shape: [1_000_003], data }]]),
    });
    expect(bytes.length - data.byteLength).toBeLessThan(400);
    expect(bytes.buffer.byteLength - data.byteLength).toBeLessThan(2000);
    const read = parseOrtCheckpoint(bytes, 'x').frozen.get('big')!.data as Float32Array;
    // A loop, because a deep comparison of a million elements takes seconds.
    expect(read.length).toBe(data.length);
    expect(read.findIndex((value, i) => value !== data[i])).toBe(-1);
  });

  const one = { ...nothing, trainable: new Map([['w', f32([2], 1, 2)]]) };
  const state = (own: readonly TensorData[], name = 'w') => ({
    ...one,
    optimizer: { step: 0, initialLearningRate: 0, moments: new Map([[name, own]]) },
  });
  it.each<[string, OrtCheckpoint, string]>([
    ['a name that stands twice', { ...one, frozen: one.trainable }, "'w' is both trainable and frozen in the checkpoint"],
    [
      'a shape of other elements',
      { ...one, trainable: new Map([['w', f32([3], 1)]]) },
      "tensor 'w' [3] has 1 elements in the checkpoint",
    ],
    [
      'another element type',
      { ...nothing, trainable: new Map([['w', { dtype: 'int64', shape: [0], data: new BigInt64Array(0) }]]) },
      "tensor 'w' is int64, not float32 in the checkpoint",
    ],
    ['moments of another shape', state([f32([1], 1)]), "'w' is [2], its moment [1] in the checkpoint"],
    [
      'too many moments',
      state([f32([2], 1, 2), f32([2], 1, 2), f32([2], 1, 2)]),
      "'w' has 3 moments, more than 2 in the checkpoint",
    ],
    [
      'moments in different numbers',
      {
        ...one,
        trainable: new Map([...one.trainable, ['b', f32([], 1)]]),
        optimizer: { ...state([]).optimizer, moments: new Map([...state([]).optimizer.moments, ['b', [f32([], 1)]]]) },
      },
      "'b' has 1 moments, 'w' has 0 in the checkpoint",
    ],
    [
      'moments of nothing',
      state([f32([1], 1)], 'x'),
      "the optimizer has state for other parameters but none for 'w' in the checkpoint",
    ],
    [
      'a name that is no text',
      { ...nothing, frozen: new Map([['\ud800', f32([0])]]) },
      "'\ud800' is no text (half of a surrogate pair) in the checkpoint",
    ],
    [
      'a step before the first',
      { ...one, optimizer: { ...state([]).optimizer, step: -1 } },
      '-1 is no number of steps in the checkpoint',
    ],
    [
      'an integer of 65 bits',
      { ...one, properties: new Map([['p', 2n ** 63n]]) },
      "property 'p' has more than 64 bits in the checkpoint",
    ],
  ])('is not written with %s', (_, checkpoint, message) => {
    expect(failure(() => serializeOrtCheckpoint(checkpoint))).toMatchObject({ code: 'ORT_CHECKPOINT_INVALID', message });
  });

  it('is not written beyond 2 GiB', () => {
    // One gigabyte twice, without its memory being touched.
    const data = new Float32Array(2 ** 28);
    const tensor: TensorData = { dtype: 'float32', shape: [2 ** 28], data };
    const frozen = new Map([
      ['a', tensor],
      ['b', tensor],
    ]);
    expect(failure(() => serializeOrtCheckpoint({ ...nothing, frozen })).code).toBe('ORT_CHECKPOINT_UNSUPPORTED');
  });

  it('is not written with more entries than are believed', () => {
    const many = (size: number) => new Map(Array.from({ length: size }, (_, i) => [String(i), BigInt(i)]));
    expect(failure(() => serializeOrtCheckpoint({ ...nothing, properties: many(100_001) })).code).toBe(
      'ORT_CHECKPOINT_UNSUPPORTED',
    );
  });

  it('says that a file does not exist', () => {
    expect(() => readOrtCheckpoint('no/such')).toThrow('no/such does not exist');
  });
});

/** What a slot holds: a number of 4 bytes, an integer of 8, a yes or no, a text, a vector of bytes or of 8-byte integers, tables, a table. */
type Slot =
  | number
  | bigint
  | boolean
  | string
  | Uint8Array
  | BigInt64Array
  | readonly Slots[]
  | { readonly table: Slots }
  | undefined;
type Slots = readonly Slot[];

/** A flatbuffer with this root, as a writer that checks nothing makes it. */
function flatbuffer(root: Slots, identifier = 'ODTC'): Uint8Array {
  const out = new Builder(256);
  const offsetOf = (slot: Slot): number | null => {
    if (typeof slot === 'string') return out.createString(slot);
    if (slot instanceof Uint8Array) return out.createByteVector(slot);
    if (slot instanceof BigInt64Array) {
      out.startVector(8, slot.length, 8);
      for (const value of slot.toReversed()) out.addInt64(value);
      return out.endVector();
    }
    if (slot === undefined || typeof slot !== 'object') return null;
    if ('table' in slot) return table(slot.table);
    const offsets = slot.map(table);
    out.startVector(4, offsets.length, 4);
    for (const offset of offsets.toReversed()) out.addOffset(offset);
    return out.endVector();
  };
  const table = (slots: Slots): number => {
    const offsets = slots.map(offsetOf);
    out.startObject(slots.length);
    slots.forEach((slot, i) => {
      const offset = offsets[i];
      if (offset !== null) out.addOffset(offset);
      else if (typeof slot === 'number') out.addInt32(slot);
      else if (typeof slot === 'bigint') out.addInt64(slot);
      else if (typeof slot === 'boolean') out.addInt8(Number(slot));
      else return;
      out.slot(i);
    });
    return out.endObject();
  };
  out.finish(table(root), identifier);
  return out.asUint8Array();
}

const sizes = (...dims: (number | bigint)[]) => BigInt64Array.from(dims, BigInt);
const w: Slots = ['w', undefined, sizes(2), 1, new Uint8Array(8)];
const changed = (index: number, value: Slot): Slots => w.toSpliced(index, 1, value);
const checkpoint = (trainable: Slot, ...rest: Slots) => flatbuffer([2, { table: [trainable, [], ...rest] }]);
const optimizer = (...group: Slots) => flatbuffer([2, { table: [[w], []] }, [group]]);
const bag = (...lists: Slots) => flatbuffer([2, { table: [[w], []] }, undefined, { table: lists }]);
/** A vector of 8-byte integers whose length reads as that many tables. */
const bytesAsTables = (length: number) => new BigInt64Array(length);
const momentum = (name: string): Slots => changed(0, name);

describe('a checkpoint that is not as ONNX Runtime writes it', () => {
  it('the writer of these tests writes what is read', () => {
    expectSame(parseOrtCheckpoint(checkpoint([w]), 'x'), { ...nothing, trainable: new Map([['w', f32([2], 0, 0)]]) });
    const { optimizer: read } = parseOrtCheckpoint(
      optimizer('group0', 3n, undefined, [['w', [momentum('momentum1'), momentum('momentum0')]]]),
      'x',
    );
    expect(read).toMatchObject({ step: 3, initialLearningRate: 0 });
    expect(read!.moments.get('w')).toHaveLength(2);
    expect([...parseOrtCheckpoint(bag([['a', 7n]], [], [['b', 'c']]), 'x').properties]).toEqual([
      ['a', 7n],
      ['b', 'c'],
    ]);
  });

  const wrong: [what: string, bytes: Uint8Array, code: 'INVALID' | 'UNSUPPORTED', sentence: string, place: string][] = [
    ['an empty file', new Uint8Array(0), 'INVALID', 'is no checkpoint of ONNX Runtime training', ''],
    ['seven bytes', new Uint8Array(7), 'INVALID', 'bytes 4 to 7 are not ODTC', ''],
    ['another identifier', flatbuffer([2, { table: [[w], []] }], 'ORTM'), 'INVALID', 'bytes 4 to 7 are not ODTC', ''],
    ['no version', flatbuffer([]), 'UNSUPPORTED', 'has version 0, ddrc reads 1 and 2', ', version'],
    ['a later version', flatbuffer([3, { table: [[w], []] }]), 'UNSUPPORTED', 'has version 3', ', version'],
    ['no module state', flatbuffer([2]), 'INVALID', 'it is missing', ', module_state'],
    ['no trainable parameters', checkpoint(undefined), 'INVALID', 'it is missing', ', module_state.requires_grad_params'],
    ['a nominal state', checkpoint([w], true), 'UNSUPPORTED', 'names its tensors only', ', module_state.is_nominal_state'],
    [
      'external data',
      checkpoint([w], false, true),
      'UNSUPPORTED',
      'has its data in another file',
      ', module_state.has_external_data',
    ],
    [
      'an external tensor',
      checkpoint([[...changed(4, undefined), undefined, 64n]]),
      'UNSUPPORTED',
      "has the data of tensor 'w' in another file",
      ", tensor 'w'",
    ],
    [
      'a tensor without name',
      checkpoint([changed(0, undefined)]),
      'INVALID',
      'it is missing',
      ', module_state.requires_grad_params[0].name',
    ],
    [
      'a tensor without shape',
      checkpoint([w, changed(2, undefined).with(0, 'x')]),
      'INVALID',
      'missing',
      ', module_state.requires_grad_params[1].dims',
    ],
    [
      'a tensor without data',
      checkpoint([changed(4, undefined)]),
      'INVALID',
      'it is missing',
      ', module_state.requires_grad_params[0].raw_data',
    ],
    ['a half-precision tensor', checkpoint([changed(3, 10)]), 'UNSUPPORTED', "ONNX's type 10 in tensor 'w'", ", tensor 'w'"],
    ['a trainable integer', checkpoint([w.with(2, sizes(1)).with(3, 7)]), 'INVALID', "tensor 'w' is int64, not float32", ", 'w'"],
    [
      'too few bytes',
      checkpoint([changed(2, sizes(3))]),
      'INVALID',
      "tensor 'w' [3] has 8 bytes, its shape needs 12",
      '.raw_data',
    ],
    ['a negative size', checkpoint([changed(2, sizes(-2, -1))]), 'INVALID', "tensor 'w' has no valid shape ([-2,-1])", '.dims'],
    ['a size beyond 2^53', checkpoint([changed(2, sizes(0, 2n ** 62n))]), 'INVALID', 'no valid shape', '.dims'],
    [
      'a product that overflows 64 bits to 2',
      checkpoint([changed(2, sizes(2n ** 33n, 2n ** 32n, 2))]),
      'INVALID',
      'its shape needs',
      '.raw_data',
    ],
    [
      'a shape of 65 axes',
      checkpoint([changed(2, new BigInt64Array(65).fill(1n))]),
      'INVALID',
      'it has 65 elements, more than 64',
      '.dims',
    ],
    [
      'more tables than are believed',
      checkpoint(bytesAsTables(100_001)),
      'INVALID',
      'it has 100001 elements, more than 100000',
      ', module_state.requires_grad_params',
    ],
    [
      'a name that stands twice',
      checkpoint([w, w]),
      'INVALID',
      "there is another 'w'",
      ', module_state.requires_grad_params[1].name',
    ],
    ['a name in both lists', flatbuffer([2, { table: [[w], [w]] }]), 'INVALID', "'w' is both trainable and frozen", ", 'w'"],
    [
      'another optimizer group',
      optimizer('group1'),
      'UNSUPPORTED',
      "has an optimizer group 'group1'",
      ', optimizer_groups[0].group_name',
    ],
    ['a negative step', optimizer('group0', -1n), 'INVALID', '-1 is no number of steps', ', optimizer_groups[0].step'],
    [
      'a momentum of another name',
      optimizer('group0', 0n, 0, [['w', [momentum('m')]]]),
      'UNSUPPORTED',
      "a momentum called 'm'",
      '.momentums[0].name',
    ],
    [
      'the second momentum only',
      optimizer('group0', 0n, 0, [['w', [momentum('momentum1')]]]),
      'INVALID',
      "'momentum0' is missing",
      '.momentums',
    ],
    [
      'moments of no parameter',
      optimizer('group0', 0n, 0, [
        ['w', []],
        ['x', []],
      ]),
      'INVALID',
      "state for 'x', which is no trainable",
      ", 'x'",
    ],
    [
      'a property that stands twice',
      bag([['a', 1n]], [['a', 1]]),
      'INVALID',
      "there is another property 'a'",
      ', property_bag.floats',
    ],
    ['a text without value', bag([], [], [['a']]), 'INVALID', "property 'a' has no value", ', property_bag.strings'],
  ];
  it.each(wrong)('refuses %s', (_, bytes, code, sentence, place) => {
    const error = parseFailure(bytes);
    expect(error.code).toBe(`ORT_CHECKPOINT_${code}`);
    expect(error.message).toContain(sentence);
    expect(error.where).toMatch(/^some\.ckpt/);
    expect(error.where!.endsWith(place)).toBe(true);
    expect(error.hint).toBeTruthy();
  });

  it('refuses every proper prefix of a file', () => {
    const bytes = serializeOrtCheckpoint(full);
    // Less than what alignment leaves empty at the end is not missed.
    for (let length = 0; length < bytes.length - 8; length++)
      expect(parseFailure(bytes.subarray(0, length)).code).toBe('ORT_CHECKPOINT_INVALID');
  });

  /** A file whose word at this place is changed; `at` finds the place from the bytes. */
  function patched(at: (view: DataView) => number, value: number, bytes = checkpoint([w, w.with(0, 'x')])): Uint8Array {
    const copy = Uint8Array.from(bytes);
    const view = new DataView(copy.buffer);
    view.setUint32(at(view), value, true);
    return copy;
  }
  /** The place of the offset in a slot of the table at `start`. */
  const slot = (view: DataView, start: number, index: number) =>
    start + view.getUint16(start - view.getInt32(start, true) + 4 + 2 * index, true);
  const follow = (view: DataView, at: number) => at + view.getUint32(at, true);
  const root = (view: DataView) => follow(view, 0);
  const vector = (view: DataView) => follow(view, slot(view, follow(view, slot(view, root(view), 1)), 0));
  const tensor = (view: DataView, i: number) => follow(view, vector(view) + 4 + 4 * i);

  it.each<[string, Uint8Array, string]>([
    ['a root beyond the end', patched(() => 0, 0x7fffffff), 'it would be at bytes 2147483647 to'],
    ['a root of offset 0', patched(() => 0, 0), 'its offset is 0'],
    ['a root at no multiple of 4', patched(() => 0, 13), 'is no place for it'],
    ['a virtual table before the start', patched(root, 0x7fffffff), 'it would be at bytes -'],
    ['a virtual table in the table itself', patched(root, 0), 'its virtual table has 0 bytes'],
    ['a vector of 4 billion tables', patched(vector, 0xffffffff), 'it would be at bytes'],
    [
      'a name of 4 billion letters',
      patched((view) => follow(view, slot(view, tensor(view, 0), 0)), 0xffffffff),
      'it would be at bytes',
    ],
    [
      'data of 4 billion bytes',
      patched((view) => follow(view, slot(view, tensor(view, 0), 4)), 0xfffffffe),
      'it would be at bytes',
    ],
    ['an element of offset 0', patched((view) => vector(view) + 8, 0), 'its offset is 0'],
  ])('refuses %s', (_, bytes, sentence) => {
    const error = parseFailure(bytes);
    expect(error.code).toBe('ORT_CHECKPOINT_INVALID');
    expect(error.message).toContain(sentence);
  });

  it('refuses what is reached by two ways: a table, the data of a tensor, a stretch within another', () => {
    const long = w.with(2, sizes(4)).with(4, Uint8Array.of(0, 0, 0, 0, 8, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8));
    const bytes = checkpoint([long, w.with(0, 'x')]);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const redirected = (at: number, to: number) => {
      const copy = Uint8Array.from(bytes);
      new DataView(copy.buffer).setUint32(at, to - at, true);
      return parseFailure(copy);
    };
    const place = 'some.ckpt, module_state.requires_grad_params[1]';
    const data = (i: number) => slot(view, tensor(view, i), 4);
    expect(redirected(vector(view) + 8, tensor(view, 0))).toMatchObject({
      where: place,
      message: expect.stringContaining('is the start of something else already'),
    });
    // The shape [2] of x would need 8 bytes, and has 16 where the data of w are.
    expect(redirected(data(1), follow(view, data(0))).message).toContain('is the start of something else already');
    // The second word of w's data is the length of a vector that ends where they end.
    expect(redirected(data(1), follow(view, data(0)) + 8)).toMatchObject({
      where: `${place}.raw_data`,
      message: expect.stringContaining('belongs to module_state.requires_grad_params[0].raw_data too'),
    });
  });
});
