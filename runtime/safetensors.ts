import { DdrcError, type ErrorCode } from '../diagnostics/error.ts';
import type { TensorData } from './tensor.ts';

/** What a safetensors file holds. */
export interface Safetensors {
  /** The tensors by name, in the order of the file's header. */
  readonly tensors: Map<string, TensorData>;
  /** The texts under `__metadata__`; empty where the file has none. */
  readonly metadata: Record<string, string>;
}

type Dtype = TensorData['dtype'];

/** safetensors' names of the element types that are read and written, with ours and the bytes of an element. */
const kinds: Record<string, { dtype: Dtype; bytes: number }> = {
  F32: { dtype: 'float32', bytes: 4 },
  F64: { dtype: 'float64', bytes: 8 },
  I64: { dtype: 'int64', bytes: 8 },
  I32: { dtype: 'int32', bytes: 4 },
  U8: { dtype: 'uint8', bytes: 1 },
  BOOL: { dtype: 'bool', bytes: 1 },
};

const kindOf = Object.fromEntries(Object.entries(kinds).map(([kind, { dtype }]) => [dtype, kind])) as Record<Dtype, string>;

/** The longest header that is believed, in bytes: the limit of the format's own library. */
const longestHeader = 100_000_000;

/**
 * Takes the bytes of a safetensors file apart; the tensors are copies. Everything that the format demands is checked: that the tensors cover the
 * data without gap or overlap, that each has the bytes of its shape, that no name stands twice.
 * @param where the file's name, for messages
 * @throws DdrcError SAFETENSORS_TRUNCATED, SAFETENSORS_INVALID, SAFETENSORS_DTYPE
 */
export function parseSafetensors(bytes: Uint8Array, where: string): Safetensors {
  const header = readHeader(bytes, where);
  let metadata: Record<string, string> = {};
  const entries: Entry[] = [];
  for (const name of header.names) {
    const value = header.json[name];
    if (name === '__metadata__') metadata = checkedMetadata(value, where);
    else entries.push(checkedEntry(name, value, where));
  }
  checkCover(entries, bytes.length - header.end, where);
  const tensors = new Map<string, TensorData>();
  for (const { name, dtype, shape, begin, end } of entries) {
    // A copy, because elements need an aligned start and the file gives none.
    const own = new Uint8Array(bytes.subarray(header.end + begin, header.end + end));
    tensors.set(name, { dtype, shape, data: elements(dtype, own.buffer) });
  }
  return { tensors, metadata };
}

/**
 * The bytes of a safetensors file with these tensors, in the order of the map, metadata first; the same input gives the same bytes.
 * @throws DdrcError SAFETENSORS_INVALID where a tensor does not have as many elements as its shape says, or is called `__metadata__`
 */
export function serializeSafetensors(
  tensors: ReadonlyMap<string, TensorData>,
  metadata: Record<string, string> = {},
): Uint8Array {
  const parts: string[] = [];
  if (Object.keys(metadata).length > 0) parts.push(`"__metadata__":${JSON.stringify(metadata)}`);
  let length = 0;
  for (const [name, { dtype, shape, data }] of tensors) {
    const count = shape.reduce((product, size) => product * size, 1);
    const fault =
      name === '__metadata__' ? 'has a reserved name' : count === data.length ? '' : `has ${data.length} elements for ${count}`;
    if (fault)
      throw failure(
        'SAFETENSORS_INVALID',
        `tensor '${name}' [${shape}] cannot be stored: it ${fault}`,
        name,
        'fix its name or shape',
      );
    const end = length + data.byteLength;
    parts.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype: kindOf[dtype], shape, data_offsets: [length, end] })}`);
    length = end;
  }
  const text = new TextEncoder().encode(`{${parts.join(',')}}`);
  const padded = Math.ceil(text.length / 8) * 8;
  const bytes = new Uint8Array(8 + padded + length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(padded), true);
  bytes.fill(0x20, 8 + text.length, 8 + padded);
  bytes.set(text, 8);
  let at = 8 + padded;
  for (const { data } of tensors.values()) {
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return bytes;
}

interface Entry {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: number[];
  /** First byte and the byte behind the last one, counted from the end of the header. */
  readonly begin: number;
  readonly end: number;
}

function failure(code: ErrorCode, message: string, where: string, hint: string): DdrcError {
  return new DdrcError({ code, message, where, hint });
}

function invalid(message: string, where: string, tensor?: string): DdrcError {
  const place = tensor === undefined ? where : `${where}, tensor '${tensor}'`;
  return failure(
    'SAFETENSORS_INVALID',
    message,
    place,
    'the file is damaged or is not safetensors: write it again, or take another copy',
  );
}

function truncated(message: string, where: string): DdrcError {
  return failure(
    'SAFETENSORS_TRUNCATED',
    message,
    where,
    'the file was cut off while it was written or copied: take another copy',
  );
}

function readHeader(bytes: Uint8Array, where: string): { json: Record<string, unknown>; names: string[]; end: number } {
  if (bytes.length < 8) throw truncated(`${where} has only ${bytes.length} bytes, too few for safetensors`, where);
  const declared = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigUint64(0, true);
  if (declared > BigInt(longestHeader))
    throw invalid(`${where} is not safetensors: its first eight bytes give no sensible header length`, where);
  const end = 8 + Number(declared);
  if (end > bytes.length) throw truncated(`${where} ends after ${bytes.length} bytes, within its header of ${declared}`, where);
  let text: string;
  let json: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes.subarray(8, end));
    json = JSON.parse(text);
  } catch {
    throw invalid(`the header of ${where} is not JSON`, where);
  }
  if (!isObject(json)) throw invalid(`the header of ${where} is not a JSON object`, where);
  const names: string[] = [];
  for (const { key, depth, first } of keysOf(text)) {
    if (!first) throw invalid(`the header of ${where} has '${key}' twice`, where, depth === 1 ? key : names[names.length - 1]);
    if (depth === 1) names.push(key);
  }
  return { json, names, end };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * The keys of all objects in a text of valid JSON, in the order of the text, with whether the object has that key for the first time:
 * `JSON.parse` keeps the last of two equal keys and moves whole numbers to the front.
 */
function* keysOf(text: string): Generator<{ key: string; depth: number; first: boolean }> {
  const seen: Set<string>[] = [];
  // Strings whole, so that a bracket inside one does not count; a string before a colon is a key.
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"\s*:?|[{}]/gs)) {
    if (token === '{') seen.push(new Set());
    else if (token === '}') seen.pop();
    else if (token.endsWith(':')) {
      const key: string = JSON.parse(token.slice(0, -1));
      const keys = seen[seen.length - 1];
      yield { key, depth: seen.length, first: !keys.has(key) };
      keys.add(key);
    }
  }
}

function checkedMetadata(value: unknown, where: string): Record<string, string> {
  if (!isObject(value) || Object.values(value).some((text) => typeof text !== 'string')) {
    throw invalid(`the metadata of ${where} is not an object of texts`, where);
  }
  return value as Record<string, string>;
}

function checkedEntry(name: string, value: unknown, where: string): Entry {
  if (!isObject(value)) throw invalid(`tensor '${name}' has no description`, where, name);
  const { dtype, shape, data_offsets: offsets } = value;
  if (!isSizes(shape)) throw invalid(`tensor '${name}' has no valid shape`, where, name);
  if (!isSizes(offsets) || offsets.length !== 2 || offsets[0] > offsets[1])
    throw invalid(`tensor '${name}' has no valid offsets`, where, name);
  const kind = typeof dtype === 'string' && Object.hasOwn(kinds, dtype) ? kinds[dtype] : undefined;
  if (!kind) {
    const message = `tensor '${name}' has elements of type ${JSON.stringify(dtype)}, which ddrc does not read`;
    throw failure(
      'SAFETENSORS_DTYPE',
      message,
      `${where}, tensor '${name}'`,
      `store it as one of ${Object.keys(kinds).join(', ')}`,
    );
  }
  const needed = shape.reduce((product, size) => product * size, kind.bytes);
  const [begin, end] = offsets;
  if (end - begin !== needed)
    throw invalid(`tensor '${name}' [${shape}] has ${end - begin} bytes, its shape needs ${needed}`, where, name);
  return { name, dtype: kind.dtype, shape, begin, end };
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

/** Demands that the tensors, by place, follow each other without gap or overlap up to the end of the data. */
function checkCover(entries: Entry[], length: number, where: string): void {
  let covered = 0;
  for (const { name, begin, end } of entries.toSorted((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin < covered) throw invalid(`tensor '${name}' overlaps another one`, where, name);
    if (begin > covered) throw invalid(`${begin - covered} bytes before tensor '${name}' belong to no tensor`, where, name);
    covered = end;
  }
  const last = entries.reduce((a, b) => (b.end >= a.end ? b : a), { name: '', end: 0 });
  if (covered > length) {
    throw truncated(`${where} has ${length} bytes of data, its header describes ${covered}`, `${where}, tensor '${last.name}'`);
  }
  if (covered < length) throw invalid(`${where} has ${length - covered} bytes behind its last tensor`, where);
}

function elements(dtype: Dtype, buffer: ArrayBuffer): TensorData['data'] {
  switch (dtype) {
    case 'float32':
      return new Float32Array(buffer);
    case 'float64':
      return new Float64Array(buffer);
    case 'int64':
      return new BigInt64Array(buffer);
    case 'int32':
      return new Int32Array(buffer);
    default:
      return new Uint8Array(buffer);
  }
}
