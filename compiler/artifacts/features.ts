import { DdrcError } from '../../diagnostics/error.ts';
import type { Graph, Node, Value } from '../ir/graph.ts';
import type { Program } from '../ir/program.ts';
import { liveNodes } from '../passes/rewrite.ts';
import type { ExplainRequest } from './explain.ts';
import { emitWithWeights, type TunableGraph } from './tunable.ts';

/** As many maps as tell something of the way through a model: with fewer at the top, the scopes within these are looked at. */
const fewest = 3;
/** The most maps of inner scopes. */
const most = 8;

/**
 * `features.onnx`: takes the model's inputs; gives for each scope at the top of the model (`stem`, `drdb`, …) the last feature map [N,C,h,w] that it hands on,
 * under the scope's name and in the order of the model. Scopes that hand on no map of more than one place are left out. Where fewer than three are left, the
 * scopes within them stand in their place (`features.0`, `features.3`, …), at most eight, evenly spaced.
 * @throws DdrcError MODEL_MAPLESS where no scope hands on a feature map of more than one place, MODEL_INVALID where one is called as an input or a parameter is
 */
export function emitFeatures(program: Program, { target, batch, weights }: ExplainRequest): TunableGraph {
  const { graph, outputs } = program.build({ mode: 'inference', batch, loss: false });
  for (const [name, value] of outputs) graph.outputs.set(name, value);
  const maps = chosenMaps(graph);
  if (maps.size === 0) throw mapless(program, graph);
  graph.outputs.clear();
  for (const [scope, map] of maps) {
    if (graph.inputs.some(({ name }) => name === scope)) {
      throw new DdrcError({
        code: 'MODEL_INVALID',
        message: `${program.name}: the scope ${scope} is called as one of its inputs or parameters`,
        hint: 'give the scope another name',
      });
    }
    graph.outputs.set(scope, map);
  }
  return emitWithWeights(graph, target, weights);
}

/** The maps of the scopes at the top, or, where these are few, of the first level below that has enough; of the one with most where none has. */
function chosenMaps(graph: Graph): Map<string, Value> {
  const deepest = Math.max(...graph.nodes.map(({ scope }) => scope.split('.').length));
  let maps = mapsByScope(graph, 1);
  if (maps.size >= fewest) return maps;
  for (let depth = 2; depth <= deepest && maps.size < fewest; depth++) {
    const deeper = mapsByScope(graph, depth);
    if (deeper.size > maps.size) maps = deeper;
  }
  const all = [...maps];
  if (all.length <= most) return maps;
  return new Map(Array.from({ length: most }, (_, i) => all[Math.round((i * (all.length - 1)) / (most - 1))]));
}

/** Of each scope down to a depth the last map that a node outside it reads, or that is an output. */
function mapsByScope(graph: Graph, depth: number): Map<string, Value> {
  const scopeOf = ({ scope }: Node) => scope.split('.', depth).join('.');
  const live = liveNodes(graph);
  const handedOn = new Set<Value>(graph.outputs.values());
  for (const node of live)
    for (const input of node.inputs)
      if (input.producer && !`${scopeOf(node)}.`.startsWith(`${scopeOf(input.producer)}.`)) handedOn.add(input);
  const maps = new Map<string, Value>();
  for (const node of graph.nodes) {
    const scope = scopeOf(node);
    if (!live.has(node) || scope === '') continue;
    for (const output of node.outputs) {
      if (!handedOn.has(output) || !isMap(output)) continue;
      // A scope stands where its last map does.
      maps.delete(scope);
      maps.set(scope, output);
    }
  }
  return maps;
}

function mapless({ name }: Program, graph: Graph): DdrcError {
  const live = liveNodes(graph);
  const hasMaps = graph.nodes.some((node) => live.has(node) && node.outputs.some(isSinglePlace));
  return hasMaps
    ? new DdrcError({
        code: 'MODEL_MAPLESS',
        message: `${name}: its feature maps have 1×1 places at this size, so there is none to show`,
        hint: 'train it with a larger --size',
      })
    : new DdrcError({
        code: 'MODEL_MAPLESS',
        message: `${name}: no scope of it hands on a feature map [N,C,H,W], so there is none to show`,
        hint: 'name its parts by scope(x, …)',
      });
}

function isSinglePlace({ type: { shape } }: Value): boolean {
  return shape.length === 4 && shape[2] === 1 && shape[3] === 1;
}

/** Whether a value is a feature map [N,C,H,W] with more than one place. */
export function isMap({ type: { dtype, shape } }: Value): boolean {
  return dtype === 'float32' && shape.length === 4 && (shape[2] !== 1 || shape[3] !== 1);
}
