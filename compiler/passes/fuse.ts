import type { Graph } from '../ir/graph.ts';
import { liveNodes, rewrite } from './rewrite.ts';

/**
 * Inference fusion. Requires constant parameters. A node that scales and shifts channels (batch norm with its running statistics) right
 * behind one that can absorb this into its weights (a convolution), whose result nothing else reads, disappears into it.
 */
export function fuse(graph: Graph): Graph {
  const readers = new Map<unknown, number>();
  for (const node of liveNodes(graph)) for (const input of node.inputs) readers.set(input, (readers.get(input) ?? 0) + 1);
  for (const output of graph.outputs.values()) readers.set(output, (readers.get(output) ?? 0) + 1);
  return rewrite(graph, (target, node, inputs) => {
    const before = inputs[0]?.producer;
    const affine = before?.op.absorb && readers.get(node.inputs[0]) === 1 ? (node.op.affine?.(node) ?? null) : null;
    const merged = affine && before?.op.absorb ? before.op.absorb(target, before, before.inputs, affine) : null;
    return merged && [merged];
  });
}
