import onnxProto from 'onnx-proto';

const { onnx } = onnxProto;
const elementTypes = { float32: 1, uint8: 2, int64: 7 };

/** An input or output: name, element type, sizes. */
export type TinyPort = readonly [name: string, dtype: keyof typeof elementTypes, shape: readonly (number | string)[]];

/** A node: operator, inputs, output, integer attributes, name. */
export type TinyNode = readonly [
  op: string,
  inputs: readonly string[],
  outputs: readonly string[],
  attrs?: Readonly<Record<string, number | readonly number[]>>,
  name?: string,
];

export interface TinyModel {
  readonly nodes: readonly TinyNode[];
  readonly inputs: readonly TinyPort[];
  readonly outputs: readonly TinyPort[];
  readonly floats?: Readonly<Record<string, number | readonly number[]>>;
  readonly integers?: Readonly<Record<string, number | readonly number[]>>;
  readonly metadata?: Readonly<Record<string, string>>;
}

/** An ONNX file (opset 17) written by hand, so that tests of the runtime need no compiler. */
export function tinyModel({ nodes, inputs, outputs, floats = {}, integers = {}, metadata = {} }: TinyModel): Uint8Array {
  const { INT, INTS } = onnx.AttributeProto.AttributeType;
  const port = ([name, dtype, shape]: TinyPort) => ({
    name,
    type: {
      tensorType: {
        elemType: elementTypes[dtype],
        shape: { dim: shape.map((size) => (typeof size === 'number' ? { dimValue: size } : { dimParam: size })) },
      },
    },
  });
  const dims = (value: number | readonly number[]) => (typeof value === 'number' ? [] : [value.length]);
  const list = (value: number | readonly number[]) => (typeof value === 'number' ? [value] : [...value]);
  const model = onnx.ModelProto.create({
    irVersion: 8,
    opsetImport: [{ domain: '', version: 17 }],
    metadataProps: Object.entries(metadata).map(([key, value]) => ({ key, value })),
    graph: {
      name: 'tiny',
      node: nodes.map(([opType, input, output, attrs = {}, name = '']) => ({
        opType,
        name,
        input: [...input],
        output: [...output],
        attribute: Object.entries(attrs).map(([key, value]) =>
          typeof value === 'number' ? { name: key, type: INT, i: value } : { name: key, type: INTS, ints: [...value] },
        ),
      })),
      initializer: [
        ...Object.entries(floats).map(([name, value]) => ({ name, dataType: 1, dims: dims(value), floatData: list(value) })),
        ...Object.entries(integers).map(([name, value]) => ({ name, dataType: 7, dims: dims(value), int64Data: list(value) })),
      ],
      input: inputs.map(port),
      output: outputs.map(port),
    },
  });
  return onnx.ModelProto.encode(model).finish();
}
