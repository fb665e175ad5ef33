import { DdrcError } from '../../diagnostics/error.ts';
import type { Graph, Node, Value } from '../ir/graph.ts';
import type { Program } from '../ir/program.ts';
import { liveNodes } from '../passes/rewrite.ts';
import type { ExplainRequest } from './explain.ts';
import { emitWithWeights, type TunableGraph } from './tunable.ts';

/**
 * `features.onnx`: takes the model's inputs; gives for each scope at the top of the model (`stem`, `drdb`, …) the last feature map [N,C,h,w] that it hands on,
 * under the scope's name and in the order of the model. Scopes that hand on no map of more than one place are left out.
 * @throws DdrcError MODEL_INVALID where no scope hands on a feature map, or one is called as an input or a parameter is
 */
export function emitFeatures(program: Program, { target, batch, weights }: ExplainRequest): TunableGraph {
  const refused = (message: string, hint: string) =>
    new DdrcError({ code: 'MODEL_INVALID', message: `${program.name}: ${message}`, hint });
  const { graph, outputs } = program.build({ mode: 'inference', batch, loss: false });
  for (const [name, value] of outputs) graph.outputs.set(name, value);
  const maps = mapsByScope(graph);
  graph.outputs.clear();
  if (maps.size === 0)
    throw refused('no scope of it hands on a feature map [N,C,H,W], so there is none to show', 'name its parts by scope(x, …)');
  for (const [scope, map] of maps) {
    if (graph.inputs.some(({ name }) => name === scope))
      throw refused(`the scope ${scope} is called as one of its inputs or parameters`, 'give the scope another name');
    graph.outputs.set(scope, map);
  }
  return emitWithWeights(graph, target, weights);
}

/** Of each scope at the top the last map that a node outside it reads, or that is an output. */
function mapsByScope(graph: Graph): Map<string, Value> {
  const live = liveNodes(graph);
  const handedOn = new Set<Value>(graph.outputs.values());
  for (const node of live)
    for (const input of node.inputs) if (input.producer && top(input.producer) !== top(node)) handedOn.add(input);
  const maps = new Map<string, Value>();
  for (const node of graph.nodes) {
    if (!live.has(node) || top(node) === '') continue;
    for (const output of node.outputs) if (handedOn.has(output) && isMap(output)) maps.set(top(node), output);
  }
  return maps;
}

function top({ scope }: Node): string {
  return scope.split('.', 1)[0];
}

/** Whether a value is a feature map [N,C,H,W] with more than one place. */
export function isMap({ type: { dtype, shape } }: Value): boolean {
  return dtype === 'float32' && shape.length === 4 && (shape[2] !== 1 || shape[3] !== 1);
}
