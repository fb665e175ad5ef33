/*
 * Exponential moving averages of what a training changes, parameters and running statistics alike, beside them:
 *
 *   average ← average + r·(new − average)        r = 1 − d, fed with each step
 *
 * What does not change stays as it is, to the bit.
 */
import type { Graph, Value } from '../ir/graph.ts';
import type { Hyperparameter } from './optimizers.ts';

/** The state vectors of the averages, by what they are of. */
export const averageNames = { parameters: 'ema', statistics: 'ema_statistics' } as const;

/** Appends the averages of the new `parameters` [P] and, where there are some, the new `statistics` [S]: states, and outputs called `…_out`. */
export function appendAverages(graph: Graph, parameters: Value, statistics: Value | null): Hyperparameter {
  const rate = graph.input('ema_rate', { dtype: 'float32', shape: [] }, 'hyperparameter');
  const follow = (name: string, value: Value) => {
    const before = graph.input(name, value.type, 'state');
    const change = graph.op('mul', [rate, graph.op('sub', [value, before])]);
    graph.outputs.set(`${name}_out`, graph.op('add', [before, change]));
  };
  graph.during('optimizer', () => {
    follow(averageNames.parameters, parameters);
    if (statistics) follow(averageNames.statistics, statistics);
  });
  return { name: 'ema_rate', dtype: 'float32' };
}
