import { DdrcError } from '../../diagnostics/error.ts';
import type { Graph, Node, Phase } from '../ir/graph.ts';
import { Emitter } from './emitter.ts';
import { choose, type Lowering, type Rejection, signature, type Target } from './lowering.ts';

/** Which lowering a node got, why not another, and what became of it: for `--explain` and profiles. */
export interface Choice {
  readonly scope: string;
  readonly phase: Phase;
  readonly op: string;
  readonly lowering: string;
  /** The signature of a node whose lowering was chosen by a measurement. */
  readonly measured?: string;
  readonly others: readonly Rejection[];
  /** Floating-point operations of a convolution or a matrix product, a multiply-add counted as two; 0 for other operators. */
  readonly flops: number;
  /** Names of the ONNX nodes that were made for it; one that an earlier node had made already is that one's. */
  readonly nodes: readonly string[];
}

/**
 * Emits every node of `graph` for `target` by the first of its operator's lowerings that fits. `bind` may give some inputs other names first.
 */
export function lowerGraph(
  graph: Graph,
  target: Target,
  bind?: (emitter: Emitter) => void,
): { emitter: Emitter; choices: Choice[] } {
  const emitter = new Emitter(target, graph);
  const choices: Choice[] = [];
  for (const input of graph.inputs) {
    emitter.unique(input.name!);
    emitter.setPlanar(input, input.name!);
  }
  bind?.(emitter);
  for (const node of graph.nodes) {
    const { taken: lowering, measured, others } = choose(node, target);
    if (!lowering) {
      throw new DdrcError({
        code: 'LOWERING_MISSING',
        message: `${node.op.name}: no lowering fits ${target.provider} at opset ${target.opset}`,
        where: `scope ${node.scope || '(top)'}`,
        hint: 'raise --opset',
      });
    }
    emitter.scope = node.scope || node.op.name;
    const before = emitter.nodes.length;
    lowerWith(emitter, node, lowering);
    const nodes = emitter.nodes.slice(before).map(({ name }) => name);
    choices.push({
      scope: node.scope,
      phase: node.phase,
      op: node.op.name,
      lowering: lowering.name,
      flops: productFlops(node),
      ...(measured && { measured: signature(node) }),
      others,
      nodes,
    });
  }
  return { emitter, choices };
}

function productFlops({ op, inputs, outputs, attrs }: Node): number {
  if (!op.properties.products) return 0;
  return op.flops(
    inputs.map(({ type }) => type),
    outputs.map(({ type }) => type),
    attrs,
  );
}

/** Emits one node by a given lowering. */
export function lowerWith(emitter: Emitter, node: Graph['nodes'][number], lowering: Lowering): void {
  const names = lowering.emit(
    emitter,
    node,
    node.inputs.map((input) => emitter.planar(input)),
    node.attrs,
  );
  const list = typeof names === 'string' ? [names] : names;
  list.forEach((name, i) => {
    if (name !== '') emitter.setPlanar(node.outputs[i], name);
  });
}
