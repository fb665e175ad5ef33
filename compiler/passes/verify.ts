import { DdrcError } from '../../diagnostics/error.ts';
import { describe, type Graph, type Value } from '../ir/graph.ts';
import { formatType, sameType } from '../ir/types.ts';

/**
 * Checks what every pass relies on, and throws GRAPH_INVALID otherwise:
 *
 * 1. Every input of a node is an input of the graph, a constant, or an output of an earlier node.
 * 2. Every node's operator is the table's, and its outputs have the types that the operator's shape rule gives.
 * 3. Input names differ, and every output of the graph is a value of the graph.
 */
export function verify(graph: Graph): void {
  const known = new Set<Value>(graph.inputs);
  const fail = (message: string, scope: string) =>
    new DdrcError({
      code: 'GRAPH_INVALID',
      message,
      where: `scope ${scope || '(top)'}`,
      hint: 'this is a defect of ddrc, please report it',
    });
  for (const node of graph.nodes) {
    const { op, inputs, outputs, scope } = node;
    const stray = inputs.find((input) => !input.constant && !known.has(input));
    if (stray) throw fail(`${op.name}: its input ${describe(stray)} is not made before it`, scope);
    if (graph.operators.get(op.name) !== op) throw fail(`${op.name}: is not in the table of operators`, scope);
    const types = op.infer(
      inputs.map((input) => input.type),
      node.attrs,
      { op: op.name, scope, labels: inputs.map(describe) },
    );
    outputs.forEach((output, i) => {
      if (!types[i] || !sameType(types[i], output.type)) {
        throw fail(
          `${op.name}: output ${i} is ${formatType(output.type)}, its shape rule says ${types[i] ? formatType(types[i]) : 'nothing'}`,
          scope,
        );
      }
      known.add(output);
    });
  }
  const names = new Set(graph.inputs.map((input) => input.name));
  if (names.size !== graph.inputs.length) throw fail('two inputs have the same name', '');
  for (const [name, value] of graph.outputs) {
    if (!value.constant && !known.has(value)) throw fail(`output ${name} is not a value of the graph`, '');
  }
}
