import { DdrcError } from '../../diagnostics/error.ts';
import { describe, type Graph, type Node, type Value } from '../ir/graph.ts';
import { full } from '../ir/ndarray.ts';

/**
 * Reverse-mode differentiation. Appends to `graph` the nodes that compute the gradient of the scalar `loss` by each value of `wanted`:
 *
 * 1. A value is active when it depends on one of `wanted` other than through an operator whose gradient is zero.
 * 2. The loss's own gradient is 1.
 * 3. Nodes are visited from last to first. A node with an active output that has a gradient asks its operator's vjp for the gradients of its
 *    active inputs; contributions to one value are added in the order in which they come.
 * 4. A wanted value that the loss does not depend on has the gradient 0.
 *
 * @throws DdrcError GRADIENT_MISSING where a gradient would have to pass an operator that has none.
 */
export function differentiate(graph: Graph, loss: Value, wanted: readonly Value[]): Map<Value, Value> {
  const active = new Set<Value>(wanted);
  const forward = [...graph.nodes];
  for (const node of forward) {
    const flat = 'zero' in node.op.vjp;
    if (!flat && node.inputs.some((input) => active.has(input))) for (const output of node.outputs) active.add(output);
  }
  const grads = new Map<Value, Value>();
  grads.set(loss, graph.constant(full([], 1)));
  for (const node of forward.reverse()) {
    const outputs = node.outputs.map((output) => grads.get(output) ?? null);
    if (outputs.every((grad) => grad === null) || !node.inputs.some((input) => active.has(input))) continue;
    graph.at(node.scope, () => visit(graph, node, outputs, active, grads));
  }
  const result = new Map<Value, Value>();
  for (const value of wanted) {
    result.set(value, grads.get(value) ?? graph.constant(full(value.type.shape as readonly number[], 0)));
  }
  return result;
}

function visit(
  graph: Graph,
  node: Node,
  grads: readonly (Value | null)[],
  active: ReadonlySet<Value>,
  into: Map<Value, Value>,
): void {
  const { vjp } = node.op;
  const wanted = node.inputs.map((input) => active.has(input) && input.type.dtype === 'float32');
  if (!wanted.includes(true)) return;
  if (typeof vjp !== 'function') {
    if ('zero' in vjp) return;
    throw new DdrcError({
      code: 'GRADIENT_MISSING',
      message: `${node.op.name}: has no gradient, ${vjp.none}`,
      where: `scope ${node.scope || '(top)'}`,
      notes: node.inputs.map((input) => ({ label: 'input', text: describe(input) })),
      hint: 'the loss must not depend on parameters through it',
    });
  }
  const contributions = vjp(graph, { node, inputs: node.inputs, outputs: node.outputs, grads, wanted });
  node.inputs.forEach((input, i) => {
    const grad = contributions[i];
    if (!grad || !wanted[i]) return;
    const before = into.get(input);
    into.set(input, before ? graph.op('add', [before, grad]) : grad);
  });
}
