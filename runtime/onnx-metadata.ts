import { createHash } from 'node:crypto';
import protobuf from 'protobufjs';
import { DdrcError } from '../diagnostics/error.ts';

/** Numbers of ModelProto's fields, and of StringStringEntryProto's, in onnx.proto. */
const fields = { irVersion: 1, graph: 7, metadataProps: 14, key: 1, value: 2 };
const varint = 0;
const delimited = 2;

/**
 * The metadata_props of an ONNX file, by key; where `ddrc.sha256` is among them, the file is checked by it. Only the outermost level of the file is read: the graph, with its weights, is stepped over.
 * @param where the file's name, for messages
 * @throws DdrcError ONNX_INVALID where the bytes are no ONNX model, MODEL_DAMAGED where they are not those that ddrc wrote
 */
export function readOnnxMetadata(bytes: Uint8Array, where: string): Map<string, string> {
  const metadata = new Map<string, string>();
  const seen = new Set<number>();
  const hash = createHash('sha256');
  try {
    const reader = protobuf.Reader.create(bytes);
    while (reader.pos < reader.len) {
      const start = reader.pos;
      const tag = reader.uint32();
      const field = tag >>> 3;
      if (field < 1) throw new Error('no such field');
      seen.add(field);
      if (field === fields.irVersion && (tag & 7) !== varint) throw new Error('no such version');
      if (field === fields.metadataProps && (tag & 7) === delimited) {
        const [key, value] = readEntry(reader, reader.uint32() + reader.pos);
        metadata.set(key, value);
      } else {
        reader.skipType(tag & 7);
        hash.update(bytes.subarray(start, reader.pos));
      }
    }
  } catch (cause) {
    throw notOnnx(where, cause);
  }
  if (!seen.has(fields.irVersion) || !seen.has(fields.graph)) throw notOnnx(where);
  const stated = metadata.get('ddrc.sha256');
  const others = [...metadata].filter(([key]) => key !== 'ddrc.sha256');
  if (stated !== undefined && stated !== hash.update(JSON.stringify(others)).digest('hex')) {
    const message = `${where} is not as ddrc wrote it: it was damaged or changed`;
    throw new DdrcError({ code: 'MODEL_DAMAGED', message, where, hint: 'copy it again, or build it again' });
  }
  return metadata;
}

function readEntry(reader: protobuf.Reader, end: number): [key: string, value: string] {
  const entry: [string, string] = ['', ''];
  while (reader.pos < end) {
    const tag = reader.uint32();
    if (tag >>> 3 === fields.key) entry[0] = reader.string();
    else if (tag >>> 3 === fields.value) entry[1] = reader.string();
    else reader.skipType(tag & 7);
  }
  if (reader.pos !== end) throw new Error('an entry is longer than it says');
  return entry;
}

function notOnnx(where: string, cause?: unknown): DdrcError {
  const hint = 'it may be truncated or another kind of file: build or copy it again';
  return new DdrcError({ code: 'ONNX_INVALID', message: `${where} is not an ONNX model`, where, hint, cause });
}
