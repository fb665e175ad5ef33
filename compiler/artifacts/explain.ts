/*
 * Grad-CAM (Selvaraju et al. 2017): where in an image a class comes from. With A [N,C,h,w] the last feature map before the scores s and k the class asked about,
 *
 *   α = mean of ∂s_k/∂A over the map      attention = max(0, Σ_c α_c·A_c), divided by its own maximum
 */
import { DdrcError } from '../../diagnostics/error.ts';
import type { Target } from '../emit/lowering.ts';
import type { Graph, Value } from '../ir/graph.ts';
import { type NDArray, scalar } from '../ir/ndarray.ts';
import type { Program } from '../ir/program.ts';
import type { Dim } from '../ir/types.ts';
import { differentiate } from '../passes/autodiff.ts';
import { liveNodes } from '../passes/rewrite.ts';
import { isMap } from './features.ts';
import { emitWithWeights, type TunableGraph } from './tunable.ts';

export interface ExplainRequest {
  readonly target: Target;
  readonly batch: Dim;
  /** Parameters and statistics by name; all of the program's. */
  readonly weights: ReadonlyMap<string, NDArray>;
}

/** Below this, attention is none at all and is not blown up. */
const least = 1e-12;

/**
 * `explain.onnx`: takes the model's inputs and `class` int64 [N]; gives `attention` [N,h,w] in [0,1], in the size of the feature map, rows from the top.
 * @throws DdrcError MODEL_INVALID where the model has no scores of classes, MODEL_MAPLESS where it has no feature map before them
 */
export function emitExplanation(program: Program, { target, batch, weights }: ExplainRequest): TunableGraph {
  if (!program.scores) {
    throw new DdrcError({
      code: 'MODEL_INVALID',
      message: `${program.name}: has no scores of classes, so there is no class to explain`,
      hint: 'give defineModel scores',
    });
  }
  const { graph, outputs } = program.build({ mode: 'inference', batch, loss: false });
  const scores = outputs.get(program.scores.output)!;
  graph.outputs.set('scores', scores);
  const map = lastMap(graph);
  if (!map) {
    throw new DdrcError({
      code: 'MODEL_MAPLESS',
      message: `${program.name}: has no feature map [N,C,H,W] before its scores, so there is no place to show`,
      hint: 'explain a model of images',
    });
  }
  graph.outputs.delete('scores');
  const asked = graph.input('class', { dtype: 'int64', shape: [batch] }, 'data');
  const chosen = graph.op('oneHot', [asked], { depth: scores.type.shape.at(-1) as number });
  const score = graph.op('reduceSum', [graph.op('mul', [scores, chosen])], { axes: [0, 1], keepdims: false });
  const slope = graph.during('backward', () => differentiate(graph, score, [map]).get(map)!);
  const importance = graph.op('reduceMean', [slope], { axes: [2, 3], keepdims: true });
  const weighted = graph.op('mul', [importance, map]);
  const attention = graph.op('relu', [graph.op('reduceSum', [weighted], { axes: [1], keepdims: false })]);
  const peak = graph.op('reduceMax', [attention], { axes: [1, 2], keepdims: true });
  graph.outputs.set('attention', graph.op('div', [attention, graph.op('maximum', [peak, graph.constant(scalar(least))])]));
  return emitWithWeights(graph, target, weights);
}

/** Whether a model has scores of classes, and a feature map before them. */
export function canExplain(program: Program): boolean {
  if (!program.scores) return false;
  const { graph, outputs } = program.build({ mode: 'inference', batch: 'N', loss: false });
  graph.outputs.set('scores', outputs.get(program.scores.output)!);
  return lastMap(graph) !== undefined;
}

/**
 * The last value [N,C,H,W] with a map of more than one place that the graph's outputs depend on and that was made of a map: one put together from other
 * values, as adaptive pooling to more places than there are, may repeat a place.
 */
function lastMap(graph: Graph): Value | undefined {
  const live = liveNodes(graph);
  return graph.nodes
    .filter((node) => live.has(node) && node.inputs.some(({ type }) => type.shape.length === 4))
    .flatMap(({ outputs }) => outputs)
    .findLast(isMap);
}
