import { DdrcError } from '../../diagnostics/error.ts';
import type { Graph, Node, Phase, Value } from '../ir/graph.ts';
import { intoConvolution, runsBlocked } from './blocked.ts';
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
 * Emits every node of `graph` for `target` by the lowering that {@link choose} takes. `bind` may give some inputs other names first.
 */
export function lowerGraph(
  graph: Graph,
  target: Target,
  bind?: (emitter: Emitter) => void,
): { emitter: Emitter; choices: Choice[] } {
  const emitter = new Emitter(target, graph);
  const situation = { ...target, mode: graph.mode };
  const choices: Choice[] = [];
  /** The list of nodes that a node stands in. */
  const owners = new Map<string, string[]>();
  for (const input of graph.inputs) {
    emitter.unique(input.name!);
    emitter.setPlanar(input, input.name!);
  }
  bind?.(emitter);
  for (const node of graph.nodes) {
    const { taken: lowering, measured, others } = choose(node, situation);
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
    const merged = lowerWith(emitter, node, lowering);
    const nodes: string[] = [];
    for (const { name } of emitter.nodes.slice(before)) {
      const origin = owners.get(emitter.originOf(name)) ?? nodes;
      origin.push(name);
      owners.set(name, origin);
    }
    choices.push({
      scope: node.scope,
      phase: node.phase,
      op: node.op.name,
      lowering: merged ? 'in the convolution before it' : lowering.name,
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

/**
 * Emits one node by a given lowering; in the blocked layout where its inputs are there and it can.
 * @returns whether a convolution took it over
 */
export function lowerWith(emitter: Emitter, node: Graph['nodes'][number], lowering: Lowering): boolean {
  const { inputs, outputs, attrs } = node;
  const blocked = runsBlocked(emitter, node);
  const merged = blocked ? intoConvolution(emitter, node) : null;
  const read = (input: Value) => (blocked && emitter.isBlocked(input) ? emitter.blocked(input) : emitter.planar(input));
  const names = merged ?? lowering.emit(emitter, node, inputs.map(read), attrs);
  const list = typeof names === 'string' ? [names] : names;
  list.forEach((name, i) => {
    if (name === '') return;
    if (blocked) emitter.setBlocked(outputs[i], name);
    else emitter.setPlanar(outputs[i], name);
  });
  return merged !== null;
}
