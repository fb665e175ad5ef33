import type { TableEntry } from '../../contract/manifest.ts';
import { DdrcError } from '../../diagnostics/error.ts';
import type { Graph, Value } from '../ir/graph.ts';
import type { BuiltGraph, OptimizerSpec, Program } from '../ir/program.ts';
import type { Dim } from '../ir/types.ts';
import { differentiate } from '../passes/autodiff.ts';
import { appendOptimizer, type Hyperparameter } from './optimizers.ts';
import { flatten, layOut, lengthOf } from './table.ts';

/** A training graph: its outputs are named in `graph.outputs`, the flat vectors among them. */
export interface TrainingGraph {
  readonly graph: Graph;
  readonly parameters: readonly TableEntry[];
  readonly statistics: readonly TableEntry[];
  readonly hyperparameters: readonly Hyperparameter[];
  readonly slots: readonly string[];
}

export interface TrainingRequest {
  readonly batch: Dim;
  readonly optimizer: OptimizerSpec;
  /** Largest global norm of the gradient; 0 does not clip. */
  readonly clipNorm: number;
}

function built(program: Program, batch: Dim, mode: 'training' | 'inference'): BuiltGraph & { readonly loss: Value } {
  const result = program.build({ mode, batch, loss: true });
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
 * vector of the optimizer; with `gradients` the flat gradient as well.
 */
export function stepGraph(program: Program, request: TrainingRequest, gradients = false): TrainingGraph {
  const result = built(program, request.batch, 'training');
  const { graph, loss, outputs } = result;
  const tables = tablesOf(result);
  const gradient = appendGradient(result);
  const flat = graph.input('parameters', { dtype: 'float32', shape: [lengthOf(tables.parameters)] }, 'state');
  const update = graph.during('optimizer', () => appendOptimizer(graph, request.optimizer, request.clipNorm, flat, gradient));
  graph.outputs.set('loss', loss);
  for (const [name, value] of outputs) graph.outputs.set(name, value);
  if (gradients) graph.outputs.set('gradients', gradient);
  graph.outputs.set('parameters_out', update.parameters);
  for (const slot of update.slots) graph.outputs.set(`${slot.name}_out`, slot.after);
  appendStatistics(result);
  return { graph, ...tables, hyperparameters: update.hyperparameters, slots: update.slots.map((slot) => slot.name) };
}

/** Forward and backward: outputs `loss`, the model's outputs, `gradients` [P] and `statistics_out`. For accumulation over several batches. */
export function gradientGraph(program: Program, batch: Dim): TrainingGraph {
  const result = built(program, batch, 'training');
  const { graph, loss, outputs } = result;
  graph.outputs.set('loss', loss);
  for (const [name, value] of outputs) graph.outputs.set(name, value);
  graph.outputs.set('gradients', appendGradient(result));
  appendStatistics(result);
  return { graph, ...tablesOf(result), hyperparameters: [], slots: [] };
}

/** Loss and outputs in inference mode, with parameters and statistics as inputs. */
export function evaluationGraph(program: Program, batch: Dim): TrainingGraph {
  const result = built(program, batch, 'inference');
  const { graph, loss, outputs } = result;
  graph.outputs.set('loss', loss);
  for (const [name, value] of outputs) graph.outputs.set(name, value);
  return { graph, ...tablesOf(result), hyperparameters: [], slots: [] };
}

function tablesOf({ parameters, statistics }: BuiltGraph) {
  return { parameters: layOut(parameters), statistics: layOut(statistics) };
}

function appendGradient({ graph, loss, parameters }: BuiltGraph & { loss: Value }): Value {
  if (parameters.length === 0) {
    const message = `${graph.name}: has no parameters to train`;
    throw new DdrcError({ code: 'MODEL_INVALID', message, hint: 'give forward a layer that learns: conv2d, linear, a norm' });
  }
  const values = parameters.map((parameter) => parameter.value);
  return graph.during('backward', () => {
    const gradients = differentiate(graph, loss, values);
    return flatten(
      graph,
      values.map((value) => gradients.get(value)!),
    );
  });
}

function appendStatistics({ graph, statistics, updates }: BuiltGraph): void {
  if (statistics.length === 0) return;
  const values = statistics.map(({ value }) => updates.get(value) ?? value);
  graph.outputs.set('statistics_out', flatten(graph, values));
}
