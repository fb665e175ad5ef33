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

/** The size of the axis that {@link stacked} puts in front. */
const STEPS = 'K';

/** A step that is to be repeated. */
export interface LoopDescription extends ModelDescription {
  /** The inputs that each step replaces, and the outputs, called `NAME_out`, that replace them. */
  readonly states: ReadonlySet<string>;
}

/** A port for each of K steps. */
export function stacked<P extends Port>(port: P): P {
  return { ...port, type: { ...port.type, shape: [STEPS, ...port.type.shape] } };
}

/**
 * Serialises K steps in one graph, an ONNX Loop: states go from one step to the next, and cross the border of the runtime once. Every other input and output has an
 * axis of K in front, by whose size the graph knows how many steps to take. The nodes of a step are those of {@link encodeModel}, so the numbers are the same.
 */
export function encodeLoop(description: LoopDescription): Uint8Array {
  const { emitter, inputs, outputs, states } = description;
  const step = orderedNodes(description);
  const carried = inputs.filter(({ name }) => states.has(name));
  const fed = inputs.filter(({ name }) => !states.has(name));
  const replaced = carried.map(({ name }) => outputs.find((output) => output.name === `${name}_out`)!);
  const given = outputs.filter(({ name }) => !states.has(name));
  // A name must not stand for one value within a Loop and for another around it.
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
    plain('Identity', 'each/go on', ['each/condition'], 'each/condition_out'),
    ...fed.map(({ name }) => plain('Gather', `each/Gather ${name}`, [name, 'each/iteration'], within(name))),
    ...step.map((node) => ({ ...node, inputs: node.inputs.map(within), outputs: node.outputs.map(within) })),
  ];
  const port = ({ name, type }: Port) => encodePort({ name: within(name), type });
  const bodyGraph = {
    name: 'step',
    node: body.map(encodeNode),
    initializer: encodeInitializers(emitter, body),
    input: [
      encodePort({ name: 'each/iteration', type: { dtype: 'int64', shape: [] } }),
      encodePort({ name: 'each/condition', type: { dtype: 'bool', shape: [] } }),
      ...carried.map(port),
    ],
    output: [
      encodePort({ name: 'each/condition_out', type: { dtype: 'bool', shape: [] } }),
      ...[...replaced, ...given].map(port),
    ],
  };
  const [first] = fed;
  const counting = [
    plain('Shape', 'steps/Shape', [first.name], 'steps/Shape:0'),
    plain('Gather', 'steps', ['steps/Shape:0', 'steps/first'], 'steps:0'),
  ];
  const loop = {
    opType: 'Loop',
    name: 'steps/Loop',
    input: ['steps:0', '', ...carried.map(({ name }) => name)],
    output: [...replaced, ...given].map(({ name }) => name),
    attribute: [{ name: 'body', type: onnx.AttributeProto.AttributeType.GRAPH, g: bodyGraph }],
  };
  const around = (all: readonly Port[]) => all.map((each) => encodePort(states.has(each.name) ? each : stacked(each)));
  return encodeProto(description, body, {
    node: [...counting.map(encodeNode), loop],
    initializer: [{ name: 'steps/first', dataType: onnx.TensorProto.DataType.INT64, dims: [], rawData: new Uint8Array(8) }],
    input: around(inputs),
    output: around(outputs),
  });
}
