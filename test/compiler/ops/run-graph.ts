import * as ort from 'onnxruntime-node';
import { encodeModel } from '../../../compiler/emit/encode.ts';
import { lowerGraph } from '../../../compiler/emit/lower.ts';
import type { Target } from '../../../compiler/emit/lowering.ts';
import type { Graph, Value } from '../../../compiler/ir/graph.ts';
import type { NDArray } from '../../../compiler/ir/ndarray.ts';
import { elementCount } from '../../../compiler/ir/types.ts';

/** What a graph made of its inputs on ONNX Runtime's CPU provider. */
export interface Run {
  /** The outputs' values, in the order in which they were asked for. */
  readonly outputs: readonly Float32Array[];
  /** How often each ONNX operator was emitted. */
  readonly counts: Readonly<Record<string, number>>;
  /** The lowerings that were chosen. */
  readonly lowerings: readonly string[];
}

/** Emits `graph` for `target` and runs it on `feeds`, by input name; all outputs are float32. */
export async function runGraph(
  graph: Graph,
  outputs: readonly Value[],
  feeds: Readonly<Record<string, NDArray>>,
  target: Target,
): Promise<Run> {
  const { emitter, choices } = lowerGraph(graph, target);
  const bytes = encodeModel({
    name: graph.name,
    emitter,
    inputs: graph.inputs.map((input) => ({ name: input.name!, type: input.type })),
    outputs: outputs.map((value, i) => ({ name: `out${i}`, type: value.type, value: emitter.planar(value) })),
  });
  const session = await ort.InferenceSession.create(bytes, { graphOptimizationLevel: 'disabled', intraOpNumThreads: 1 });
  try {
    const tensors = Object.entries(feeds).map(([name, { dtype, shape, data }]) => {
      const values = dtype === 'int64' ? BigInt64Array.from(data as unknown as number[], BigInt) : Float32Array.from(data);
      return [name, new ort.Tensor(dtype as 'float32', values as Float32Array, shape)] as const;
    });
    const results = await session.run(Object.fromEntries(tensors));
    const counts: Record<string, number> = {};
    for (const { op } of emitter.nodes) counts[op] = (counts[op] ?? 0) + 1;
    return {
      outputs: outputs.map((_, i) => results[`out${i}`].data as Float32Array),
      counts,
      lowerings: choices.map(({ lowering }) => lowering),
    };
  } finally {
    await session.release();
  }
}

/** Values rounded to float32, from a generator that is plain to read: mean + deviation · (uniform in ±2). */
export function noise(shape: readonly number[], mean: number, deviation: number, seed: number): NDArray {
  let state = seed >>> 0;
  const data = Float64Array.from({ length: elementCount(shape) }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.fround(mean + deviation * (4 * (state / 2 ** 32) - 2));
  });
  return { dtype: 'float32', shape, data };
}
