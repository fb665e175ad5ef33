/*
 * `tunable.onnx`: the inference graph with every parameter and running statistic as an initializer of its own name, nothing folded into another, so that a program
 * without a compiler can put trained weights into the file, byte for byte.
 */
import protobuf from 'protobufjs/minimal.js';
import type { ManifestFile, WeightPlace } from '../../contract/manifest.ts';
import { encodeModel, type Port } from '../emit/encode.ts';
import { lowerGraph } from '../emit/lower.ts';
import type { Target } from '../emit/lowering.ts';
import type { Graph } from '../ir/graph.ts';
import type { NDArray } from '../ir/ndarray.ts';
import type { Program } from '../ir/program.ts';
import { simplify } from '../passes/simplify.ts';
import { verify } from '../passes/verify.ts';
import type { EmittedGraph } from './emit-graph.ts';
import { appendProbabilities, type InferenceRequest } from './inference.ts';

/** Numbers of fields in onnx.proto. */
const fields = { graph: 7, initializer: 5, name: 8, rawData: 9, metadataProps: 14 };
const delimited = 2;

/** The inference graph with float32 images, whose weights lie at known places. */
export function emitTunable(
  program: Program,
  { target, batch, weights, metadata }: Omit<InferenceRequest, 'input'>,
): TunableGraph {
  const { graph, outputs } = program.build({ mode: 'inference', batch, loss: false });
  for (const [name, value] of outputs) graph.outputs.set(name, value);
  appendProbabilities(program, graph, outputs);
  const emitted = emitWithWeights(graph, target, weights, metadata);
  return { ...emitted, seal: { covers: placesOf(emitted.bytes).covers, entries: JSON.stringify(Object.entries(metadata)) } };
}

/** A graph whose file can be given other weights. */
export type TunableGraph = EmittedGraph & Pick<ManifestFile, 'weights' | 'seal'>;

/** Emits a graph with its parameters and statistics, which are inputs of the IR's graph, as initializers of their names. */
export function emitWithWeights(
  graph: Graph,
  target: Target,
  weights: ReadonlyMap<string, NDArray>,
  metadata: Readonly<Record<string, string>> = {},
): TunableGraph {
  const simple = simplify(graph);
  verify(simple);
  const { emitter, choices } = lowerGraph(simple, target);
  const inputs: (Port & { role: string })[] = [];
  for (const { name, type, role } of simple.inputs) {
    if (role === 'parameter' || role === 'statistic') emitter.initializers.set(name!, weights.get(name!)!);
    else inputs.push({ name: name!, type, role: role! });
  }
  const given = [...simple.outputs].map(([name, value]) => ({ name, type: value.type, value: emitter.planar(value) }));
  const model = { name: graph.name, emitter, inputs, outputs: given, metadata };
  const bytes = encodeModel(model);
  const places = placesOf(bytes).places.filter(({ name }) => weights.has(name));
  return { bytes, inputs, outputs: given.map(({ name, type }) => ({ name, type })), choices, model, weights: places };
}

/** Where the values of each initializer begin, in the order of the file, and where its metadata do. */
function placesOf(bytes: Uint8Array): { places: WeightPlace[]; covers: number } {
  const places: WeightPlace[] = [];
  let covers = bytes.length;
  const reader = protobuf.Reader.create(bytes);
  eachField(reader, bytes.length, (field, start) => {
    if (field === fields.metadataProps) covers = Math.min(covers, start);
    if (field !== fields.graph) return false;
    eachField(reader, reader.uint32() + reader.pos, (field) => {
      if (field !== fields.initializer) return false;
      let name = '';
      let offset = 0;
      eachField(reader, reader.uint32() + reader.pos, (field) => {
        if (field === fields.name) name = reader.string();
        else if (field === fields.rawData) {
          const length = reader.uint32();
          offset = reader.pos;
          reader.skip(length);
        } else return false;
        return true;
      });
      places.push({ name, offset });
      return true;
    });
    return true;
  });
  return { places, covers };
}

/** Goes over the fields up to `end`; `read` reads one that is delimited, or says that it is to be stepped over. `start` is where it begins. */
function eachField(reader: protobuf.Reader, end: number, read: (field: number, start: number) => boolean): void {
  while (reader.pos < end) {
    const start = reader.pos;
    const tag = reader.uint32();
    if ((tag & 7) !== delimited || !read(tag >>> 3, start)) reader.skipType(tag & 7);
  }
}
