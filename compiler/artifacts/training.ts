import type { TableEntry } from '../../contract/manifest.ts';
import { DdrcError } from '../../diagnostics/error.ts';
import { Graph, type Value } from '../ir/graph.ts';
import { full } from '../ir/ndarray.ts';
import type { BuildRequest, BuiltGraph, OptimizerSpec, Program } from '../ir/program.ts';
import type { Dim } from '../ir/types.ts';
import { differentiate } from '../passes/autodiff.ts';
import { appendAverages, averageNames } from './averages.ts';
import type { Frozen } from './frozen.ts';
import { appendOptimizer, type Hyperparameter, type Update } from './optimizers.ts';
import { flatten, layOut, lengthOf } from './table.ts';

/** A training graph: its outputs are named in `graph.outputs`, the flat vectors among them. */
export interface TrainingGraph {
  readonly graph: Graph;
  readonly parameters: readonly TableEntry[];
  readonly statistics: readonly TableEntry[];
  /** Names of the flat vectors that the two tables cut, where they are not the tables' own. */
  readonly vectors?: typeof averageNames;
  readonly hyperparameters: readonly Hyperparameter[];
  readonly slots: readonly string[];
}

/** How a training's loss differs from a model's own. */
export type LossAids = Pick<BuildRequest, 'classWeights' | 'mixed'>;

export interface TrainingRequest extends LossAids {
  readonly batch: Dim;
  readonly optimizer: OptimizerSpec;
  /** Largest global norm of the gradient; 0 does not clip. */
  readonly clipNorm: number;
  /** Which parameters stay as they are: their gradient is 0, and they do not decay. None by default. */
  readonly frozen?: Frozen;
  /** Whether averages of parameters and running statistics are kept; see {@link appendAverages}. */
  readonly averaged?: boolean;
}

const none: Frozen = () => false;

/**
 * Writes a program out with its loss.
 * @throws DdrcError MODEL_INVALID where it has none
 */
export function buildTraining(
  program: Program,
  batch: Dim,
  mode: 'training' | 'inference',
  { classWeights, mixed }: LossAids = {},
): BuiltGraph & { readonly loss: Value } {
  const result = program.build({ mode, batch, loss: true, classWeights, mixed });
  const { loss } = result;
  if (!loss) {
    throw new DdrcError({
      code: 'MODEL_INVALID',
      message: `${program.name}: has no loss, so it cannot be trained`,
      hint: 'give defineModel targets and a loss',
    });
  }
  return { ...result, loss };
}

/**
 * Forward, backward and optimizer in one graph. Outputs: `loss`, the model's outputs, `parameters_out`, `statistics_out` and a `…_out` for each
 * vector of the optimizer and the averages; with `gradients` the flat gradient as well.
 */
export function stepGraph(program: Program, request: TrainingRequest, gradients = false): TrainingGraph {
  const result = buildTraining(program, request.batch, 'training', request);
  const { graph, loss, outputs } = result;
  const tables = tablesOf(result);
  const { frozen = none } = request;
  const gradient = appendGradient(result, frozen);
  const flat = graph.input('parameters', { dtype: 'float32', shape: [lengthOf(tables.parameters)] }, 'state');
  const update = graph.during('optimizer', () => {
    const decaying = maskOf(result, frozen);
    return appendOptimizer(graph, request.optimizer, request.clipNorm, flat, gradient, decaying);
  });
  graph.outputs.set('loss', loss);
  for (const [name, value] of outputs) graph.outputs.set(name, value);
  if (gradients) graph.outputs.set('gradients', gradient);
  setUpdate(graph, update);
  const statistics = appendStatistics(result);
  const averaging = request.averaged ? [appendAverages(graph, update.parameters, statistics)] : [];
  return { graph, ...tables, ...namesOf(update, averaging) };
}

function setUpdate(graph: Graph, { parameters, slots }: Update): void {
  graph.outputs.set('parameters_out', parameters);
  for (const slot of slots) graph.outputs.set(`${slot.name}_out`, slot.after);
}

function namesOf(
  { hyperparameters, slots }: Update,
  more: readonly Hyperparameter[],
): Pick<TrainingGraph, 'hyperparameters' | 'slots'> {
  return { hyperparameters: [...hyperparameters, ...more], slots: slots.map((slot) => slot.name) };
}

/**
 * Forward and backward: outputs `loss`, the model's outputs, `gradients` [P] and `statistics_out`. Together with {@link updateGraph} it is the step, cut
 * at the gradient, so that gradients can be accumulated over several batches in between.
 */
export function gradientGraph(program: Program, batch: Dim, frozen = none, aids: LossAids = {}): TrainingGraph {
  const result = buildTraining(program, batch, 'training', aids);
  const { graph, loss, outputs } = result;
  graph.outputs.set('loss', loss);
  for (const [name, value] of outputs) graph.outputs.set(name, value);
  graph.outputs.set('gradients', appendGradient(result, frozen));
  appendStatistics(result);
  return { graph, ...tablesOf(result), hyperparameters: [], slots: [] };
}

/**
 * The optimizer alone: takes `gradients` [P], `parameters` [P], the optimizer's vectors and the hyperparameters; outputs `parameters_out` and a `…_out` for
 * each vector. Clipping and weight decay are those of {@link stepGraph}, on the gradient as it comes. Where averages are kept it takes `statistics` [S] as well.
 * @throws DdrcError MODEL_INVALID where there are no parameters
 */
export function updateGraph(
  program: Program,
  { optimizer, clipNorm, frozen = none, averaged }: Omit<TrainingRequest, 'batch' | keyof LossAids>,
): TrainingGraph {
  const structure = program.build({ mode: 'training', batch: 1, loss: false });
  requireParameters(structure);
  const length = lengthOf(layOut(structure.parameters));
  const graph = new Graph(structure.graph.name, 'training', structure.graph.operators);
  const gradient = graph.input('gradients', { dtype: 'float32', shape: [length] }, 'gradient');
  const flat = graph.input('parameters', { dtype: 'float32', shape: [length] }, 'state');
  const update = graph.during('optimizer', () => {
    const decaying = maskOf({ graph, parameters: structure.parameters }, frozen);
    return appendOptimizer(graph, optimizer, clipNorm, flat, gradient, decaying);
  });
  setUpdate(graph, update);
  const kept = lengthOf(layOut(structure.statistics));
  const statistics = averaged && kept > 0 ? graph.input('statistics', { dtype: 'float32', shape: [kept] }, 'state') : null;
  const averaging = averaged ? [appendAverages(graph, update.parameters, statistics)] : [];
  // The vectors are never split here, so there are no tables.
  return { graph, parameters: [], statistics: [], ...namesOf(update, averaging) };
}

/** Loss and outputs in inference mode, with parameters and statistics, or with `averaged` their averages, as inputs. */
export function evaluationGraph(program: Program, batch: Dim, averaged = false): TrainingGraph {
  const result = buildTraining(program, batch, 'inference');
  const { graph, loss, outputs } = result;
  graph.outputs.set('loss', loss);
  for (const [name, value] of outputs) graph.outputs.set(name, value);
  const vectors = averaged ? { vectors: averageNames } : {};
  return { graph, ...tablesOf(result), ...vectors, hyperparameters: [], slots: [] };
}

function tablesOf({ parameters, statistics }: BuiltGraph) {
  return { parameters: layOut(parameters), statistics: layOut(statistics) };
}

function requireParameters({ graph, parameters }: BuiltGraph): void {
  if (parameters.length > 0) return;
  const message = `${graph.name}: has no parameters to train`;
  throw new DdrcError({ code: 'MODEL_INVALID', message, hint: 'give forward a layer that learns: conv2d, linear, a norm' });
}

function appendGradient(result: BuiltGraph & { loss: Value }, frozen: Frozen): Value {
  requireParameters(result);
  const { graph, loss, parameters } = result;
  const trained = parameters.filter(({ name }) => !frozen(name));
  return graph.during('backward', () => {
    const gradients = differentiate(
      graph,
      loss,
      trained.map(({ value }) => value),
    );
    return flatten(
      graph,
      parameters.map(({ value, shape }) => gradients.get(value) ?? graph.constant(full(shape, 0))),
    );
  });
}

/** 1 for each element of a parameter that is trained, 0 for the others; null where all are. */
function maskOf({ graph, parameters }: Pick<BuiltGraph, 'graph' | 'parameters'>, frozen: Frozen): Value | null {
  if (!parameters.some(({ name }) => frozen(name))) return null;
  const parts = parameters.map(({ name, shape }) => graph.constant(full(shape, frozen(name) ? 0 : 1)));
  return flatten(graph, parts);
}

/** The new running statistics, also set as an output; null where the model has none. */
function appendStatistics({ graph, statistics, updates }: BuiltGraph): Value | null {
  if (statistics.length === 0) return null;
  const values = statistics.map(({ value }) => updates.get(value) ?? value);
  const flat = flatten(graph, values);
  graph.outputs.set('statistics_out', flat);
  return flat;
}
