import onnxProto from 'onnx-proto';
import type { OnnxNode } from './emitter.ts';
import {
  encodeInitializers,
  encodeNode,
  encodePort,
  encodeProto,
  type ModelDescription,
  orderedNodes,
  type Port,
} from './encode.ts';

const { onnx } = onnxProto;

/** A step that is to be repeated. */
export interface LoopDescription extends ModelDescription {
  /** The inputs that each step replaces, and the outputs, called `NAME_out`, that replace them. */
  readonly states: ReadonlySet<string>;
  /** The name of the number of steps, K. */
  readonly steps: string;
}

/** A port for each of K steps, whose number is called `steps`. */
export function stacked<P extends Port>(port: P, steps: string): P {
  return { ...port, type: { ...port.type, shape: [steps, ...port.type.shape] } };
}

/**
 * Serialises K steps in one graph, an ONNX Loop: states go from one step to the next, and cross the border of the runtime once. Every other input and output has an
 * axis of K in front, by whose size the graph knows how many steps to take. The nodes of a step are those of {@link encodeModel}, so the numbers are the same.
 */
export function encodeLoop(description: LoopDescription): Uint8Array {
  const { emitter, inputs, outputs, states, steps } = description;
  const step = orderedNodes(description);
  const carried = inputs.filter(({ name }) => states.has(name));
  const fed = inputs.filter(({ name }) => !states.has(name));
  const replaced = carried.map(({ name }) => outputs.find((output) => output.name === `${name}_out`)!);
  const given = outputs.filter(({ name }) => !states.has(name));
  // A name must not stand for one value within a Loop and for another around it. What has a space is no port's name and no emitted value's.
  const ports = new Set([...inputs, ...outputs].map(({ name }) => name));
  const within = (name: string) => (ports.has(name) ? `each/${name}` : name);
  const plain = (op: string, name: string, from: readonly string[], to: string): OnnxNode => ({
    op,
    domain: '',
    name,
    inputs: from,
    outputs: [to],
    attrs: {},
  });
  const body: OnnxNode[] = [
    plain('Identity', 'each/Identity', ['go on'], 'go on further'),
    ...fed.map(({ name }) => plain('Gather', `each/Gather ${name}`, [name, 'the step'], within(name))),
    ...step.map((node) => ({ ...node, inputs: node.inputs.map(within), outputs: node.outputs.map(within) })),
  ];
  const port = ({ name, type }: Port) => encodePort({ name: within(name), type });
  const bodyGraph = {
    name: 'step',
    node: body.map(encodeNode),
    initializer: encodeInitializers(emitter, body),
    input: [
      encodePort({ name: 'the step', type: { dtype: 'int64', shape: [] } }),
      encodePort({ name: 'go on', type: { dtype: 'bool', shape: [] } }),
      ...carried.map(port),
    ],
    output: [encodePort({ name: 'go on further', type: { dtype: 'bool', shape: [] } }), ...[...replaced, ...given].map(port)],
  };
  const [first] = fed;
  const counting = [
    plain('Shape', 'steps/Shape', [first.name], 'all steps'),
    plain('Gather', 'steps/Gather', ['all steps', 'first axis'], 'number of steps'),
  ];
  const loop = {
    opType: 'Loop',
    name: 'steps/Loop',
    input: ['number of steps', '', ...carried.map(({ name }) => name)],
    output: [...replaced, ...given].map(({ name }) => name),
    attribute: [{ name: 'body', type: onnx.AttributeProto.AttributeType.GRAPH, g: bodyGraph }],
  };
  const around = (all: readonly Port[]) => all.map((each) => encodePort(states.has(each.name) ? each : stacked(each, steps)));
  return encodeProto(description, body, {
    node: [...counting.map(encodeNode), loop],
    initializer: [{ name: 'first axis', dataType: onnx.TensorProto.DataType.INT64, dims: [], rawData: new Uint8Array(8) }],
    input: around(inputs),
    output: around(outputs),
  });
}
