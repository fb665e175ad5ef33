import { createHash } from 'node:crypto';
import onnxProto from 'onnx-proto';
import type { NDArray } from '../ir/ndarray.ts';
import type { DType, TensorType } from '../ir/types.ts';
import { type Emitter, MICROSOFT, NCHWC, type OnnxAttr, type OnnxNode } from './emitter.ts';

const { onnx } = onnxProto;

const dataTypes: Record<DType, number> = { float32: 1, uint8: 2, int32: 6, int64: 7, bool: 9 };

/** Elements of a shape, as far as its sizes are known, from which on it is large. */
const LARGE = 4096;

/** A named input or output of a model. */
export interface Port {
  readonly name: string;
  readonly type: TensorType;
}

export interface ModelDescription {
  readonly name: string;
  readonly emitter: Emitter;
  readonly inputs: readonly Port[];
  /** Outputs, with the value that each one takes; a value that already has another name passes through Identity. */
  readonly outputs: readonly (Port & { readonly value: string })[];
  readonly metadata?: Readonly<Record<string, string>>;
  /** Whether memory is to be given back as soon as it can, see {@link withOpenShapes}, in place of being planned; false by default. */
  readonly openShapes?: boolean;
}

/**
 * Serialises the emitted nodes that the outputs need, as an ONNX ModelProto. IR version 8 up to opset 18, then the version that came with the opset.
 * Equal input gives equal bytes.
 */
export function encodeModel(description: ModelDescription): Uint8Array {
  const { emitter, inputs, outputs, metadata = {} } = description;
  const nodes = orderedNodes(description);
  const input = inputs.map(encodePort);
  const output = outputs.map(encodePort);
  const node = nodes.map(encodeNode);
  return sealed(
    encodeProto(description, nodes, { node, input, output, initializer: encodeInitializers(emitter, nodes) }),
    metadata,
  );
}

/** An ONNX ModelProto of the description's name and opset around a GraphProto; `nodes` are all that are in it, for their domains. */
export function encodeProto({ name, emitter }: ModelDescription, nodes: readonly OnnxNode[], graph: object): Uint8Array {
  const domains = new Set(nodes.map((node) => node.domain));
  const { opset } = emitter.target;
  const model = onnx.ModelProto.create({
    irVersion: irVersion(opset),
    producerName: 'ddrc',
    opsetImport: [
      { domain: '', version: opset },
      ...[MICROSOFT, NCHWC].filter((domain) => domains.has(domain)).map((domain) => ({ domain, version: 1 })),
    ],
    graph: { name, ...graph },
  });
  return plain(onnx.ModelProto.encode(model).finish());
}

/** Bytes that protobufjs made under Node, where it makes a Buffer, whose `slice` shares memory. */
function plain({ buffer, byteOffset, length }: Uint8Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, length);
}

/** The nodes of a description in the order in which they are run, up to an Identity for each output. */
export function orderedNodes({ emitter, outputs, openShapes }: ModelDescription): OnnxNode[] {
  const ends: OnnxNode[] = outputs.map((output) => ({
    op: 'Identity',
    domain: '',
    name: emitter.unique(`output/${output.name}`),
    inputs: [output.value],
    outputs: [output.name],
    attrs: {},
  }));
  const made = [...needed(emitter.nodes, ends), ...ends];
  return openShapes ? withOpenShapes(made, emitter) : made;
}

/** The constants that nodes read, each as a TensorProto. */
export function encodeInitializers(emitter: Emitter, nodes: readonly OnnxNode[]): object[] {
  const read = new Set(nodes.flatMap((node) => node.inputs));
  return [...emitter.initializers].filter(([key]) => read.has(key)).map(([key, array]) => encodeTensor(key, array));
}

/**
 * The model with its metadata behind it, and among this, where there is any, `ddrc.sha256`: of the model's bytes, then of the other entries as JSON. A reader
 * finds out by it that a bit was flipped, which a graph of numbers would not show.
 */
function sealed(model: Uint8Array, metadata: Readonly<Record<string, string>>): Uint8Array {
  const entries = Object.entries(metadata);
  if (entries.length === 0) return model;
  const sha256 = createHash('sha256').update(model).update(JSON.stringify(entries)).digest('hex');
  const metadataProps = [...entries, ['ddrc.sha256', sha256]].map(([key, value]) => ({ key, value }));
  return plain(Buffer.concat([model, onnx.ModelProto.encode(onnx.ModelProto.create({ metadataProps })).finish()]));
}

/** Those of `nodes` that the `ends` depend on, in their order. */
function needed(nodes: readonly OnnxNode[], ends: readonly OnnxNode[]): OnnxNode[] {
  const wanted = new Set(ends.flatMap((end) => end.inputs));
  const kept: OnnxNode[] = [];
  for (let i = nodes.length - 1; i >= 0; i--) {
    const node = nodes[i];
    if (!node.outputs.some((output) => wanted.has(output))) continue;
    for (const input of node.inputs) wanted.add(input);
    kept.push(node);
  }
  return kept.reverse();
}

/**
 * The nodes with every constant that is a large shape of a Reshape passed through an Identity, so that ONNX Runtime, which does not look through it, does not know
 * the shapes of most values when it plans memory. Where it knows them, it gives the memory of a value that is no longer needed to the next one of the same
 * shape, however much later that comes, and holds it until then: through the whole backward pass. Where it does not, memory is given back at once.
 * Small shapes stay known: planning takes time that grows with the square of the number of values it finds no place for.
 */
function withOpenShapes(nodes: readonly OnnxNode[], emitter: Emitter): OnnxNode[] {
  const opened = new Map<string, OnnxNode>();
  const open = (shape: string): string => {
    const sizes = emitter.initializers.get(shape)?.data;
    if (!sizes || sizes.reduce((product, size) => product * Math.max(size, 1), 1) < LARGE) return shape;
    let node = opened.get(shape);
    if (!node) {
      const name = emitter.unique('shape');
      node = { op: 'Identity', domain: '', name, inputs: [shape], outputs: [`${name}:0`], attrs: {} };
      opened.set(shape, node);
    }
    return node.outputs[0];
  };
  const opening = nodes.map((node) =>
    node.op === 'Reshape' ? { ...node, inputs: [node.inputs[0], open(node.inputs[1])] } : node,
  );
  return [...opened.values(), ...opening];
}

function irVersion(opset: number): number {
  if (opset <= 18) return 8;
  if (opset <= 20) return 9;
  if (opset <= 22) return 10;
  if (opset === 23) return 11;
  return opset === 24 ? 12 : 13;
}

/** A NodeProto. */
export function encodeNode(node: OnnxNode): object {
  return {
    opType: node.op,
    domain: node.domain,
    name: node.name,
    input: node.inputs,
    output: node.outputs,
    attribute: Object.entries(node.attrs).map(([name, value]) => encodeAttribute(name, value)),
  };
}

function encodeAttribute(name: string, value: OnnxAttr): object {
  const { AttributeType } = onnx.AttributeProto;
  if (typeof value === 'number') return { name, type: AttributeType.INT, i: value };
  if (typeof value === 'string') return { name, type: AttributeType.STRING, s: new TextEncoder().encode(value) };
  if ('float' in value) return { name, type: AttributeType.FLOAT, f: value.float };
  if ('floats' in value) return { name, type: AttributeType.FLOATS, floats: value.floats };
  return { name, type: AttributeType.INTS, ints: value };
}

/** A ValueInfoProto: name, element type and shape. */
export function encodePort(port: Port): object {
  return {
    name: port.name,
    type: {
      tensorType: {
        elemType: dataTypes[port.type.dtype],
        shape: { dim: port.type.shape.map((dim) => (typeof dim === 'number' ? { dimValue: dim } : { dimParam: dim })) },
      },
    },
  };
}

/** A TensorProto of name `name` with its values as raw little-endian bytes. */
function encodeTensor(name: string, array: NDArray): object {
  return { name, dataType: dataTypes[array.dtype], dims: array.shape, rawData: rawBytes(array) };
}

/** The values of `array` in its element type, little-endian. */
function rawBytes({ dtype, data }: NDArray): Uint8Array {
  if (dtype === 'float32') return new Uint8Array(new Float32Array(data).buffer);
  if (dtype === 'int32') return new Uint8Array(new Int32Array(data).buffer);
  if (dtype === 'int64')
    return new Uint8Array(BigInt64Array.from(data as ArrayLike<number> as number[] as never[], (v) => BigInt(v)).buffer);
  return Uint8Array.from(data);
}
