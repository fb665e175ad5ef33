import { exactText } from '../ir/exact-text.ts';
import type { Graph, Node, Value } from '../ir/graph.ts';
import type { NDArray } from '../ir/ndarray.ts';
import { elementCount, sameType } from '../ir/types.ts';
import { rewrite } from './rewrite.ts';

/** Larger constants than this are not made by folding: a file should not grow by what an engine computes quickly. */
const largestFold = 1 << 20;

/**
 * Requires a valid graph; ensures an equal one with as many nodes or fewer.
 *
 * 1. Fold: a node whose inputs are constants becomes a constant (rounded to float32 as an engine would).
 * 2. Repeat: an element-wise node reads the input of a broadcast in place of its result, where the shape of the outcome stays the same.
 * 3. Neutral: x + 0, x − 0, x · 1, x / 1 become x.
 * 4. Still: a node that only moves elements and leaves type and order as they are becomes its input.
 * 5. Share: a node with the same operator, inputs (in either order, where they commute) and attributes as an earlier one becomes that one.
 * 6. Dead: a node that no output needs is left out.
 *
 * Repeated while the number of nodes falls.
 */
export function simplify(graph: Graph): Graph {
  const simpler = once(graph);
  return simpler.nodes.length < graph.nodes.length ? simplify(simpler) : rewrite(simpler, () => null);
}

function once(graph: Graph): Graph {
  const seen = new Map<string, readonly Value[]>();
  return rewrite(graph, (target, node, given) => {
    const folded = fold(target, node, given); // 1
    if (folded) return folded;
    const inputs = withoutRepeats(node, given); // 2
    const same = neutral(node, inputs) ?? still(node, inputs); // 3, 4
    if (same) return [same];
    const key = keyOf(node, inputs); // 5
    let outputs = seen.get(key);
    if (!outputs) {
      outputs = target.add(node.op, inputs, node.attrs);
      seen.set(key, outputs);
    }
    return outputs;
  });
}

function fold(graph: Graph, node: Node, inputs: readonly Value[]): Value[] | null {
  if (inputs.length === 0 || inputs.some((input) => !input.constant)) return null;
  if (node.outputs.some((output) => elementCount(output.type.shape) > largestFold)) return null;
  const results = node.op.evaluate(
    inputs.map((input) => input.constant!),
    node.attrs,
  );
  return results.map((array) => graph.constant(rounded(array)));
}

function rounded(array: NDArray): NDArray {
  return array.dtype === 'float32' ? { ...array, data: new Float64Array(new Float32Array(array.data)) } : array;
}

function withoutRepeats(node: Node, inputs: readonly Value[]): readonly Value[] {
  if (!node.op.properties.elementwise) return inputs;
  const site = { op: node.op.name, scope: node.scope, labels: [] };
  return inputs.reduce<readonly Value[]>((current, input, i) => {
    const source = input.producer?.op.properties.repeats ? input.producer.inputs[0] : null;
    if (!source) return current;
    const tried = current.map((value, j) => (j === i ? source : value));
    const types = node.op.infer(
      tried.map((value) => value.type),
      node.attrs,
      site,
    );
    return sameType(types[0], node.outputs[0].type) ? tried : current;
  }, inputs);
}

function neutral(node: Node, inputs: readonly Value[]): Value | null {
  const rule = node.op.properties.neutral;
  if (!rule) return null;
  for (const [i, value] of rule.entries()) {
    const other = inputs[1 - i];
    const is = inputs[i].constant?.data.every((element) => element === value);
    if (value !== null && is && sameType(other.type, node.outputs[0].type)) return other;
  }
  return null;
}

function still(node: Node, inputs: readonly Value[]): Value | null {
  if (!node.op.properties.moves || inputs.length !== 1 || node.outputs.length !== 1) return null;
  const [input] = inputs;
  if (!sameType(input.type, node.outputs[0].type)) return null;
  const { perm, starts, pads } = node.attrs;
  const ordered = !Array.isArray(perm) || perm.every((axis, i) => axis === i);
  return ordered && !starts && !pads ? input : null;
}

/** Text that equal nodes have in common: small constants count by their values, other inputs by which value they are. */
function keyOf(node: Node, inputs: readonly Value[]): string {
  const operands = inputs.map(({ constant, type, id }) =>
    constant && constant.data.length <= 16 ? exactText([type, [...constant.data]]) : String(id),
  );
  if (node.op.properties.commutes) operands.sort();
  return exactText([node.op.name, operands, node.attrs]);
}
