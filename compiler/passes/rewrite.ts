import { Graph, type Node, type Value } from '../ir/graph.ts';

/**
 * Copies `graph` node by node. `visit` gets each node with its inputs in the new graph, and returns the values that take the place of its
 * outputs, or null to copy the node as it is; `start` may bring other inputs. Inputs are kept, also unused ones; nodes that no output needs are left out.
 */
export function rewrite(
  graph: Graph,
  visit: (target: Graph, node: Node, inputs: readonly Value[]) => readonly Value[] | null,
  start: Start = copyInputs(graph),
): Graph {
  const { graph: copy, moved } = start;
  const carry = (value: Value): Value => {
    let known = moved.get(value);
    if (!known) {
      known = copy.constant(value.constant!, value.name);
      moved.set(value, known);
    }
    return known;
  };
  const needed = liveNodes(graph);
  for (const node of graph.nodes) {
    if (!needed.has(node)) continue;
    const inputs = node.inputs.map(carry);
    const make = () => visit(copy, node, inputs) ?? copy.add(node.op, inputs, node.attrs);
    const outputs = copy.during(node.phase, () => copy.at(node.scope, make));
    node.outputs.forEach((output, i) => {
      moved.set(output, outputs[i]);
    });
  }
  for (const [name, value] of graph.outputs) copy.outputs.set(name, carry(value));
  return copy;
}

/** A graph to copy into, and what stands in it for each input of the graph that is copied. */
export interface Start {
  readonly graph: Graph;
  readonly moved: Map<Value, Value>;
}

function copyInputs(graph: Graph): Start {
  const copy = new Graph(graph.name, graph.mode, graph.operators);
  return { graph: copy, moved: new Map(graph.inputs.map((input) => [input, copy.input(input.name!, input.type, input.role!)])) };
}

/** The nodes that an output of the graph depends on. */
export function liveNodes(graph: Graph): Set<Node> {
  const live = new Set<Node>();
  const open = [...graph.outputs.values()];
  for (let value = open.pop(); value; value = open.pop()) {
    const node = value.producer;
    if (!node || live.has(node)) continue;
    live.add(node);
    open.push(...node.inputs);
  }
  return live;
}
