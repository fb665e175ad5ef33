import type { TableEntry } from '../../contract/manifest.ts';
import { encodeModel, type ModelDescription, type Port } from '../emit/encode.ts';
import { encodeLoop, stacked } from '../emit/loop.ts';
import { type Choice, lowerGraph } from '../emit/lower.ts';
import type { Target } from '../emit/lowering.ts';
import type { Graph } from '../ir/graph.ts';
import { simplify } from '../passes/simplify.ts';
import { verify } from '../passes/verify.ts';
import { bindFlat, lengthOf } from './table.ts';

/** An emitted file and what it takes and gives, in the order of its ONNX graph. */
export interface EmittedGraph {
  readonly bytes: Uint8Array;
  readonly inputs: readonly (Port & { readonly role: string })[];
  readonly outputs: readonly Port[];
  readonly choices: readonly Choice[];
  /** What the bytes are of, for {@link loopOf}. */
  readonly model: ModelDescription;
}

/** Where parameters and statistics lie in the flat vectors that a graph takes; an empty table stands for no such input. */
export interface FlatTables {
  readonly parameters: readonly TableEntry[];
  readonly statistics: readonly TableEntry[];
  /** What the two flat inputs are called; `parameters` and `statistics` by default. */
  readonly vectors?: { readonly parameters: string; readonly statistics: string };
}

/**
 * Simplifies, verifies, lowers and serialises `graph`. Its parameters and statistics become two flat inputs, `parameters` and `statistics` unless the
 * tables call them otherwise; without tables, an input that is called so stays as it is.
 */
export function emitGraph(
  graph: Graph,
  target: Target,
  tables: FlatTables = { parameters: [], statistics: [] },
  metadata: Readonly<Record<string, string>> = {},
): EmittedGraph {
  const simple = simplify(graph);
  verify(simple);
  const { vectors = { parameters: 'parameters', statistics: 'statistics' } } = tables;
  const { emitter, choices } = lowerGraph(simple, target, (emitter) => {
    bindFlat(emitter, vectors.parameters, tables.parameters);
    bindFlat(emitter, vectors.statistics, tables.statistics);
  });
  const split = new Set(tables.parameters.length > 0 ? [vectors.parameters] : []);
  const inputs = simple.inputs
    .filter((input) => input.role !== 'parameter' && input.role !== 'statistic' && !split.has(input.name!))
    .map((input) => ({ name: input.name!, type: input.type, role: input.role as string }));
  for (const [name, table] of [
    [vectors.statistics, tables.statistics],
    [vectors.parameters, tables.parameters],
  ] as const) {
    if (table.length > 0) inputs.push({ name, type: { dtype: 'float32', shape: [lengthOf(table)] }, role: 'state' });
  }
  const outputs = [...simple.outputs].map(([name, value]) => ({ name, type: value.type, value: emitter.planar(value) }));
  // What a training step frees is much, and soon; an inference graph keeps little. On a GPU each open shape would be fetched from it.
  const openShapes = graph.mode === 'training' && target.provider === 'cpu';
  const model = { name: graph.name, emitter, inputs, outputs, metadata, openShapes };
  return { bytes: encodeModel(model), inputs, outputs: outputs.map(({ name, type }) => ({ name, type })), choices, model };
}

/** K steps of a graph that replaces its states, in one graph. All but the states has an axis of K in front. */
export function loopOf({ inputs, outputs, choices, model }: EmittedGraph): EmittedGraph {
  const states = new Set(inputs.filter(({ role }) => role === 'state').flatMap(({ name }) => [name, `${name}_out`]));
  // Another name where the batch has this one: they are different sizes.
  const steps = inputs.some(({ type }) => type.shape.includes('K')) ? 'STEPS' : 'K';
  const around = <P extends Port>(port: P) => (states.has(port.name) ? port : stacked(port, steps));
  return {
    bytes: encodeLoop({ ...model, states, steps }),
    inputs: inputs.map(around),
    outputs: outputs.map(around),
    choices,
    model,
  };
}
