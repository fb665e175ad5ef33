import type { Target } from '../emit/lowering.ts';
import { Graph, type Value } from '../ir/graph.ts';
import { type NDArray, scalar } from '../ir/ndarray.ts';
import type { Program } from '../ir/program.ts';
import type { Attrs, Dim } from '../ir/types.ts';
import { fuse } from '../passes/fuse.ts';
import { rewrite } from '../passes/rewrite.ts';
import { simplify } from '../passes/simplify.ts';
import { type EmittedGraph, emitGraph } from './emit-graph.ts';

/** Attributes of the operators that make probabilities of scores [N,classes]. */
const activationAttrs: Readonly<Record<'softmax' | 'sigmoid', Attrs>> = { softmax: { axis: -1 }, sigmoid: {} };

/** How an inference graph is to be written. */
export interface InferenceRequest {
  readonly target: Target;
  /** Size of the first axis of inputs and outputs; a name for one that is known only when the graph runs. */
  readonly batch: Dim;
  /** Parameters and statistics by name; all of the program's. */
  readonly weights: ReadonlyMap<string, NDArray>;
  /** `float32`: images [N,3,S,S] in [0,1]; `uint8`: a decoder's bytes [N,S,S,3]. */
  readonly input: 'float32' | 'uint8';
  /** `metadata_props` of the file. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** The graph that deployment runs: parameters as constants, outputs of `forward` and `probabilities`. */
export function emitInference(program: Program, { target, batch, weights, input, metadata }: InferenceRequest): EmittedGraph {
  const { graph, outputs } = program.build({ mode: 'inference', batch, loss: false, weights });
  for (const [name, value] of outputs) graph.outputs.set(name, value);
  appendProbabilities(program, graph, outputs);
  const fused = fuse(simplify(graph));
  const images = program.inputs.filter((port) => port.kind === 'image').map((port) => port.name);
  return emitGraph(input === 'uint8' ? fromBytes(fused, images) : fused, target, undefined, metadata);
}

/** Sets the output `probabilities` of a program that has scores. */
export function appendProbabilities({ scores }: Program, graph: Graph, outputs: ReadonlyMap<string, Value>): void {
  if (!scores) return;
  const { output, activation } = scores;
  graph.outputs.set('probabilities', graph.op(activation, [outputs.get(output)!], activationAttrs[activation]));
}

/** Puts cast, scale and transpose in front of the image inputs: bytes [N,H,W,C] become float32 [N,C,H,W] in [0,1]. */
function fromBytes(graph: Graph, images: readonly string[]): Graph {
  const copy = new Graph(graph.name, graph.mode, graph.operators);
  const moved = new Map<Value, Value>();
  for (const input of graph.inputs) {
    if (!images.includes(input.name!)) {
      moved.set(input, copy.input(input.name!, input.type, input.role!));
      continue;
    }
    const [n, c, h, w] = input.type.shape;
    const bytes = copy.input(input.name!, { dtype: 'uint8', shape: [n, h, w, c] }, 'data');
    const scaled = copy.op('mul', [copy.op('cast', [bytes], { to: 'float32' }), copy.constant(scalar(1 / 255))]);
    moved.set(input, copy.op('transpose', [scaled], { perm: [0, 3, 1, 2] }));
  }
  return rewrite(graph, () => null, { graph: copy, moved });
}
