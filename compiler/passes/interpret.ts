import { DdrcError } from '../../diagnostics/error.ts';
import { describe, type Graph, type Node, type Value } from '../ir/graph.ts';
import type { NDArray } from '../ir/ndarray.ts';

/**
 * Computes values of `graph` in double precision by its operators' reference implementations: what gradients are judged by. Only the
 * nodes that `wanted` depends on are run.
 *
 * @param feeds arrays for the inputs (or for any other values, which are then not computed); constants need none
 * @returns an array for each value of `wanted`
 * @throws DdrcError GRAPH_INVALID where an input that is needed has no array
 */
export function interpret(graph: Graph, feeds: ReadonlyMap<Value, NDArray>, wanted: readonly Value[]): NDArray[] {
  const known = new Map(feeds);
  const arrayOf = (value: Value): NDArray => {
    const array = known.get(value) ?? value.constant;
    if (!array) {
      const message = `${describe(value)}: has no array to compute with`;
      throw new DdrcError({ code: 'GRAPH_INVALID', message, where: `graph ${graph.name}`, hint: 'feed an array for each input' });
    }
    return array;
  };
  const needed = nodesBehind(wanted, known);
  for (const node of graph.nodes) {
    if (!needed.has(node)) continue;
    const results = node.op.evaluate(node.inputs.map(arrayOf), node.attrs);
    node.outputs.forEach((output, i) => {
      if (!known.has(output)) known.set(output, results[i]);
    });
  }
  return wanted.map(arrayOf);
}

/** The nodes that `values` depend on, not looking behind values that are known. */
function nodesBehind(values: readonly Value[], known: ReadonlyMap<Value, NDArray>): Set<Node> {
  const nodes = new Set<Node>();
  const open = [...values];
  for (let value = open.pop(); value; value = open.pop()) {
    const node = value.producer;
    if (!node || known.has(value) || nodes.has(node)) continue;
    nodes.add(node);
    open.push(...node.inputs);
  }
  return nodes;
}
