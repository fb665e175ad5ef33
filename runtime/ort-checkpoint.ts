import { Builder } from 'flatbuffers';
import { DdrcError, type ErrorCode } from '../diagnostics/error.ts';
import { printable } from '../diagnostics/printable.ts';
import { readBytes } from './files.ts';
import { type FlatTable, longestFlatbuffer, mostTables, openFlatbuffer, type Stretch } from './flatbuffer.ts';
import type { TensorData } from './tensor.ts';

/** What a checkpoint of ONNX Runtime's on-device training holds (`orttraining`, the file that its TrainingSession starts from). */
export interface OrtCheckpoint {
  /** 2 for ONNX Runtime 1.18 and later, 1 for 1.17: each reads its own only. */
  readonly version: 1 | 2;
  /** The parameters that are trained, by name: float32. */
  readonly trainable: ReadonlyMap<string, TensorData>;
  /** Everything else that is state, by name: frozen parameters and running statistics, float32 or int64. */
  readonly frozen: ReadonlyMap<string, TensorData>;
  /** The optimizer's state, `group0`; null where there is none, and training starts at step 0 with moments of 0. */
  readonly optimizer: OrtOptimizer | null;
  /** What a program stored beside: bigint for an integer of 64 bits, number for a float32. Integers come first in the file, then floats, then texts. */
  readonly properties: ReadonlyMap<string, bigint | number | string>;
}

/** The state of an optimizer of ONNX Runtime's on-device training. */
export interface OrtOptimizer {
  /** The number of steps taken so far. */
  readonly step: number;
  /** What a schedule of that runtime starts from, as float32; it is not the rate of the next step. */
  readonly initialLearningRate: number;
  /** By trainable parameter: `momentum0`, `momentum1` (AdamW's m and v) in its shape, equally many for all. Empty: zeros when training starts. */
  readonly moments: ReadonlyMap<string, readonly TensorData[]>;
}

const identifier = 'ODTC';
const group = 'group0';
const momentNames = ['momentum0', 'momentum1'];

/** The tables of ONNX Runtime's `ort_training_checkpoint.fbs` and `ort.fbs`: the fields in the order of their slots. */
const tables = {
  Checkpoint: ['version', 'module_state', 'optimizer_groups', 'property_bag'],
  ModuleState: ['requires_grad_params', 'frozen_params', 'is_nominal_state', 'has_external_data'],
  OptimizerGroup: ['group_name', 'step', 'initial_learning_rate', 'optimizer_states'],
  ParameterOptimizerState: ['param_name', 'momentums'],
  PropertyBag: ['ints', 'floats', 'strings'],
  Property: ['name', 'value'],
  Tensor: ['name', 'doc_string', 'dims', 'data_type', 'raw_data', 'string_data', 'external_data_offset'],
} as const;

type Tables = typeof tables;
type Table<T extends keyof Tables> = FlatTable<Tables[T][number]>;

/** ONNX's numbers of the element types that are read and written, with the bytes of an element. */
const kinds = { float32: { number: 1, bytes: 4 }, int64: { number: 7, bytes: 8 } } as const;
type Kind = keyof typeof kinds;

/** The most axes that are believed. */
const longestShape = 64;

/** Whether these bytes are meant to be a checkpoint of ONNX Runtime's on-device training. */
export function isOrtCheckpoint(bytes: Uint8Array): boolean {
  return new TextDecoder('latin1').decode(bytes.subarray(4, 8)) === identifier;
}

/**
 * Reads a checkpoint of ONNX Runtime's on-device training.
 * @throws DdrcError FILE_MISSING, FILE_UNREADABLE, and those of {@link parseOrtCheckpoint}
 */
export function readOrtCheckpoint(path: string): OrtCheckpoint {
  return parseOrtCheckpoint(readBytes(path), path);
}

/**
 * Takes the bytes of a checkpoint apart; the tensors are copies. Every offset and length is checked before it is followed, tensors may not share
 * bytes, and what ONNX Runtime demands of names, shapes and moments is demanded here. The format has no checksum: a changed weight is not found.
 * @param where the file's name, for messages
 * @throws DdrcError ORT_CHECKPOINT_INVALID, ORT_CHECKPOINT_UNSUPPORTED
 */
export function parseOrtCheckpoint(bytes: Uint8Array, where: string): OrtCheckpoint {
  const file: OrtFile = { bytes, where };
  const fault = (message: string, place: string) => damaged(file, message, place);
  if (!isOrtCheckpoint(bytes)) throw damaged(file, `bytes 4 to 7 are not ${identifier}`);
  const opened = openFlatbuffer(bytes, identifier, tables.Checkpoint, fault);
  const { root } = opened;
  const version = root.int32('version', 0);
  if (version !== 1 && version !== 2) throw unsupported(file, `has version ${version}, ddrc reads 1 and 2`, 'version');
  const state = root.table('module_state', tables.ModuleState);
  if (!state) throw damaged(file, 'it is missing', 'module_state');
  if (state.bool('is_nominal_state'))
    throw unsupported(file, 'names its tensors only (a nominal checkpoint)', state.at('is_nominal_state'));
  if (state.bool('has_external_data')) throw unsupported(file, 'has its data in another file', state.at('has_external_data'));
  const trainable = tensorsOf(file, state, 'requires_grad_params');
  const frozen = tensorsOf(file, state, 'frozen_params');
  const optimizer = optimizerOf(file, root);
  const properties = propertiesOf(file, root);
  // Before the copies, so that what is copied is never more than the file.
  opened.file.checkOverlaps();
  const copies = (found: ReadonlyMap<string, Found>) =>
    new Map([...found].map(([name, tensor]) => [name, copied(bytes, tensor)]));
  const checkpoint: OrtCheckpoint = {
    version,
    trainable: copies(trainable),
    frozen: copies(frozen),
    optimizer: optimizer && {
      ...optimizer,
      moments: new Map([...optimizer.moments].map(([name, found]) => [name, found.map((one) => copied(bytes, one))])),
    },
    properties,
  };
  checkState(checkpoint, where);
  return checkpoint;
}

/**
 * The bytes of a checkpoint; the same input gives the same bytes.
 * @param where the file that they are for, for messages
 * @throws DdrcError ORT_CHECKPOINT_INVALID for a state that ONNX Runtime would not take: other types or shapes than {@link OrtCheckpoint} says, a name that
 * stands twice; ORT_CHECKPOINT_UNSUPPORTED where it would be larger than 2 GiB
 */
export function serializeOrtCheckpoint(checkpoint: OrtCheckpoint, where = 'the checkpoint'): Uint8Array {
  checkState(checkpoint, where);
  const { version, trainable, frozen, optimizer, properties } = checkpoint;
  const most = Math.max(trainable.size, frozen.size, properties.size);
  if (most > mostTables) throw unsupported({ where }, `would have ${most} entries in a list, more than ${mostTables}`);
  const length = roomFor(checkpoint);
  if (length > longestFlatbuffer) {
    throw unsupported({ where }, `would have ${length} bytes, more than the 2 GiB of a flatbuffer`);
  }
  const out = new Builder(length);
  // A flatbuffer is written from its end: whatever an offset leads to comes first.
  const bag = properties.size > 0 ? writeProperties(out, properties) : 0;
  const groups = optimizer ? writeVector(out, [writeOptimizer(out, optimizer)]) : 0;
  const frozenVector = writeTensors(out, frozen);
  const trainableVector = writeTensors(out, trainable);
  const state = writeTable(out, 'ModuleState', { requires_grad_params: trainableVector, frozen_params: frozenVector });
  const root = writeTable(out, 'Checkpoint', {
    version: () => out.addInt32(version),
    module_state: state,
    optimizer_groups: groups,
    property_bag: bag,
  });
  out.finish(root, identifier);
  return out.asUint8Array();
}

interface OrtFile {
  readonly where: string;
  readonly bytes: Uint8Array;
}

/** A tensor whose elements are still in the file. */
interface Found {
  readonly dtype: Kind;
  readonly shape: number[];
  readonly data: Stretch;
}

function failure(code: ErrorCode, message: string, where: string, hint: string): DdrcError {
  // Names in a damaged file may be anything.
  return new DdrcError({ code, message: printable(message), where: printable(where), hint });
}

function damaged({ where, bytes }: OrtFile, message: string, place = ''): DdrcError {
  return failure(
    'ORT_CHECKPOINT_INVALID',
    place === ''
      ? `${where} is no checkpoint of ONNX Runtime training: ${message}`
      : `${place} of ${where} cannot be read: ${message}`,
    place === '' ? where : `${where}, ${place}`,
    bytes.length === 0
      ? 'the file is empty'
      : 'the file was cut off, is damaged or is another kind of file: write it again, or take another copy',
  );
}

function unsupported({ where }: Pick<OrtFile, 'where'>, message: string, place = ''): DdrcError {
  const hint =
    'ddrc reads and writes checkpoints of version 1 and 2 in one file, float32 with int64 among the frozen, one optimizer group';
  return failure('ORT_CHECKPOINT_UNSUPPORTED', `${where} ${message}`, place === '' ? where : `${where}, ${place}`, hint);
}

function tensorsOf(
  file: OrtFile,
  state: Table<'ModuleState'>,
  field: 'requires_grad_params' | 'frozen_params',
): Map<string, Found> {
  const vector = state.tables(field, tables.Tensor);
  if (!vector) throw damaged(file, 'it is missing', state.at(field));
  return byName(file, vector, 'name', (table, name) => tensorOf(file, table, name));
}

/** What a vector of tables holds, by the name that each has. */
function byName<F extends string, T>(
  file: OrtFile,
  vector: Iterable<FlatTable<F>>,
  field: F,
  read: (table: FlatTable<F>, name: string) => T,
): Map<string, T> {
  const all = new Map<string, T>();
  for (const table of vector) {
    const name = table.string(field);
    if (name === null) throw damaged(file, 'it is missing', table.at(field));
    if (all.has(name)) throw damaged(file, `there is another '${name}'`, table.at(field));
    all.set(name, read(table, name));
  }
  return all;
}

function tensorOf(file: OrtFile, table: Table<'Tensor'>, name: string): Found {
  const place = `tensor '${name}'`;
  const number = table.int32('data_type', 0);
  const dtype = (Object.keys(kinds) as Kind[]).find((kind) => kinds[kind].number === number);
  if (!dtype)
    throw unsupported(file, `has elements of ONNX's type ${number} in tensor '${name}', which ddrc does not read`, place);
  const dims = table.int64Vector('dims', longestShape);
  if (!dims) throw damaged(file, 'it is missing', table.at('dims'));
  const shape = dims.map(Number);
  if (!shape.every((size) => Number.isSafeInteger(size) && size >= 0)) {
    throw damaged(file, `tensor '${name}' has no valid shape ([${dims}])`, table.at('dims'));
  }
  const data = table.byteVector('raw_data');
  if (!data) {
    if (table.int64('external_data_offset', -1n) !== -1n)
      throw unsupported(file, `has the data of tensor '${name}' in another file`, place);
    throw damaged(file, 'it is missing', table.at('raw_data'));
  }
  const needed = elementCount(shape) * kinds[dtype].bytes;
  if (data.end - data.begin !== needed) {
    throw damaged(
      file,
      `tensor '${name}' [${shape}] has ${data.end - data.begin} bytes, its shape needs ${needed}`,
      table.at('raw_data'),
    );
  }
  return { dtype, shape, data };
}

/** The product of the sizes; a 0 among them counts however large the others are. */
function elementCount(shape: readonly number[]): number {
  return shape.includes(0) ? 0 : shape.reduce((product, size) => product * size, 1);
}

function copied(bytes: Uint8Array, { dtype, shape, data }: Found): TensorData {
  // A copy, because elements need an aligned start and the file gives none.
  const { buffer } = new Uint8Array(bytes.subarray(data.begin, data.end));
  return { dtype, shape, data: dtype === 'float32' ? new Float32Array(buffer) : new BigInt64Array(buffer) };
}

function optimizerOf(
  file: OrtFile,
  root: Table<'Checkpoint'>,
): (Omit<OrtOptimizer, 'moments'> & { readonly moments: Map<string, Found[]> }) | null {
  const groups = byName(file, root.tables('optimizer_groups', tables.OptimizerGroup) ?? [], 'group_name', (table, name) => {
    if (name !== group) throw unsupported(file, `has an optimizer group '${name}'`, table.at('group_name'));
    const step = Number(table.int64('step', 0n));
    if (!Number.isSafeInteger(step) || step < 0) throw damaged(file, `${step} is no number of steps`, table.at('step'));
    const states = table.tables('optimizer_states', tables.ParameterOptimizerState) ?? [];
    return {
      step,
      initialLearningRate: table.float32('initial_learning_rate', 0),
      moments: byName(file, states, 'param_name', (state) => momentsOf(file, state)),
    };
  });
  return groups.get(group) ?? null;
}

/** `momentum0`, `momentum1` of one parameter; they may stand in any order. */
function momentsOf(file: OrtFile, state: Table<'ParameterOptimizerState'>): Found[] {
  const found = byName(file, state.tables('momentums', tables.Tensor) ?? [], 'name', (table, name) => {
    if (!momentNames.includes(name)) throw unsupported(file, `has a momentum called '${name}'`, table.at('name'));
    return tensorOf(file, table, name);
  });
  return momentNames.slice(0, found.size).map((name) => {
    const moment = found.get(name);
    if (!moment) throw damaged(file, `'${name}' is missing`, state.at('momentums'));
    return moment;
  });
}

function propertiesOf(file: OrtFile, root: Table<'Checkpoint'>): Map<string, bigint | number | string> {
  const bag = root.table('property_bag', tables.PropertyBag);
  const all = new Map<string, bigint | number | string>();
  const add = (field: Tables['PropertyBag'][number], read: (table: Table<'Property'>) => bigint | number | string | null) => {
    for (const [name, value] of byName(file, bag?.tables(field, tables.Property) ?? [], 'name', read)) {
      if (value === null) throw damaged(file, `property '${name}' has no value`, bag!.at(field));
      if (all.has(name)) throw damaged(file, `there is another property '${name}'`, bag!.at(field));
      all.set(name, value);
    }
  };
  add('ints', (table) => table.int64('value', 0n));
  add('floats', (table) => table.float32('value', 0));
  add('strings', (table) => table.string('value'));
  return all;
}

/** What the types of {@link OrtCheckpoint} do not say. */
function checkState({ trainable, frozen, optimizer, properties }: OrtCheckpoint, where: string): void {
  const invalid = (message: string, name: string) =>
    failure(
      'ORT_CHECKPOINT_INVALID',
      `${message} in ${where}`,
      `${where}, '${name}'`,
      'ONNX Runtime takes no such checkpoint: write it anew',
    );
  const checkText = (text: string) => {
    if (/\p{Surrogate}/u.test(text)) throw invalid(`'${text}' is no text (half of a surrogate pair)`, text);
  };
  const checkTensor = (name: string, { dtype, shape, data }: TensorData, allowed: readonly Kind[]) => {
    if (!allowed.some((kind) => kind === dtype)) throw invalid(`tensor '${name}' is ${dtype}, not ${allowed.join(' or ')}`, name);
    if (elementCount(shape) !== data.length) throw invalid(`tensor '${name}' [${shape}] has ${data.length} elements`, name);
  };
  for (const [name, tensor] of trainable) {
    checkText(name);
    checkTensor(name, tensor, ['float32']);
  }
  for (const [name, tensor] of frozen) {
    checkText(name);
    checkTensor(name, tensor, ['float32', 'int64']);
    if (trainable.has(name)) throw invalid(`'${name}' is both trainable and frozen`, name);
  }
  for (const [name, value] of properties) {
    checkText(name);
    if (typeof value === 'string') checkText(value);
    if (typeof value === 'bigint' && BigInt.asIntN(64, value) !== value)
      throw invalid(`property '${name}' has more than 64 bits`, name);
  }
  if (!optimizer) return;
  const { step, moments } = optimizer;
  if (!Number.isSafeInteger(step) || step < 0) throw invalid(`${step} is no number of steps`, 'step');
  if (moments.size === 0) return;
  const [[firstName, first]] = moments;
  for (const [name, parameter] of trainable) {
    const own = moments.get(name);
    if (!own) throw invalid(`the optimizer has state for other parameters but none for '${name}'`, name);
    const others = own.length > momentNames.length ? `more than ${momentNames.length}` : `'${firstName}' has ${first.length}`;
    if (own.length !== first.length || own.length > momentNames.length) {
      throw invalid(`'${name}' has ${own.length} moments, ${others}`, name);
    }
    for (const moment of own) {
      checkTensor(`${name}: moment`, moment, ['float32']);
      if (String(moment.shape) !== String(parameter.shape)) {
        throw invalid(`'${name}' is [${parameter.shape}], its moment [${moment.shape}]`, name);
      }
    }
  }
  for (const name of moments.keys()) {
    if (!trainable.has(name)) throw invalid(`the optimizer has state for '${name}', which is no trainable parameter`, name);
  }
}

/** An upper bound of the bytes of the file, so that the builder need not copy what it has when it runs out of room. */
function roomFor({ trainable, frozen, optimizer, properties }: OrtCheckpoint): number {
  // Offsets, lengths, the table, and what alignment leaves empty; a virtual table is shared.
  const each = 128;
  const text = (value: string) => 3 * value.length + each;
  const tensor = (name: string, { shape, data }: TensorData) => text(name) + 8 * shape.length + data.byteLength;
  let length = 1024;
  for (const map of [trainable, frozen]) for (const [name, one] of map) length += tensor(name, one);
  for (const [name, own] of optimizer?.moments ?? []) {
    length += text(name);
    for (const moment of own) length += tensor(momentNames[0], moment);
  }
  for (const [name, value] of properties) length += text(name) + text(String(value));
  return length;
}

/** What a field of a table is: an offset (0: the field is left out), or a call that writes the value. */
type Field = number | (() => void);

function writeTable<T extends keyof Tables>(
  out: Builder,
  table: T,
  fields: Readonly<Partial<Record<Tables[T][number], Field>>>,
): number {
  const names: readonly string[] = tables[table];
  out.startObject(names.length);
  for (const [name, field] of Object.entries(fields) as [string, Field][]) {
    if (field === 0) continue;
    if (typeof field === 'number') out.addOffset(field);
    else field();
    out.slot(names.indexOf(name));
  }
  return out.endObject();
}

function writeVector(out: Builder, offsets: readonly number[]): number {
  out.startVector(4, offsets.length, 4);
  for (const offset of offsets.toReversed()) out.addOffset(offset);
  return out.endVector();
}

/** A text, once for all who have it. */
function writeText(out: Builder, text: string): number {
  // The package's own sharing leaves out empty texts.
  return text === '' ? out.createString(text) : out.createSharedString(text);
}

function writeTensors(out: Builder, tensors: ReadonlyMap<string, TensorData>): number {
  return writeVector(
    out,
    [...tensors].map(([name, tensor]) => writeTensor(out, name, tensor)),
  );
}

function writeTensor(out: Builder, name: string, { dtype, shape, data }: TensorData): number {
  const raw = out.createByteVector(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  out.startVector(8, shape.length, 8);
  for (const size of shape.toReversed()) out.addInt64(BigInt(size));
  const dims = out.endVector();
  const text = writeText(out, name);
  return writeTable(out, 'Tensor', {
    name: text,
    dims,
    data_type: () => out.addInt32(kinds[dtype as Kind].number),
    raw_data: raw,
  });
}

function writeOptimizer(out: Builder, { step, initialLearningRate, moments }: OrtOptimizer): number {
  const states = [...moments].map(([name, own]) => {
    const momentums = writeVector(
      out,
      own.map((moment, i) => writeTensor(out, momentNames[i], moment)),
    );
    return writeTable(out, 'ParameterOptimizerState', { param_name: writeText(out, name), momentums });
  });
  const vector = writeVector(out, states);
  const name = writeText(out, group);
  return writeTable(out, 'OptimizerGroup', {
    group_name: name,
    step: () => out.addInt64(BigInt(step)),
    initial_learning_rate: () => out.addFloat32(initialLearningRate),
    optimizer_states: vector,
  });
}

function writeProperties(out: Builder, properties: OrtCheckpoint['properties']): number {
  const write = (type: 'bigint' | 'number' | 'string') => {
    const all = [...properties].filter(([, value]) => typeof value === type);
    if (all.length === 0) return 0;
    const written = all.map(([key, value]) => {
      const text = typeof value === 'string' ? writeText(out, value) : 0;
      const name = writeText(out, key);
      const number = () => (typeof value === 'bigint' ? out.addInt64(value) : out.addFloat32(value as number));
      return writeTable(out, 'Property', { name, value: text === 0 ? number : text });
    });
    return writeVector(out, written);
  };
  const [ints, floats, strings] = [write('bigint'), write('number'), write('string')];
  return writeTable(out, 'PropertyBag', { ints, floats, strings });
}
