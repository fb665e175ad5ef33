import { seed24 } from '../numeric/random.ts';
import { tableLength, type Weights } from './flat-state.ts';
import { fileOf, type Manifest, portsOf } from './manifest.ts';
import type { Rate, Schedule } from './schedule.ts';
import type { TensorData } from './tensor.ts';

/**
 * The flat vectors that an engine holds for the training graphs: `parameters`, `statistics` where the model has some, the optimizer's, which are zero where
 * the weights come without them, and the averages, where the graphs keep some, which then are the weights themselves. They are the same arrays, not copies.
 */
export function engineState(
  manifest: Manifest,
  { parameters, statistics, moment1, moment2, ema = parameters, emaStatistics = statistics }: Weights,
): Record<string, Float32Array> {
  const length = tableLength(manifest.parameters);
  const slots = manifest.slots.map((name, i) => [name, [moment1, moment2][i] ?? new Float32Array(length)]);
  const hasStatistics = statistics.length > 0;
  const averages = manifest.ema !== undefined && { ema, ...(hasStatistics && { ema_statistics: emaStatistics }) };
  return { parameters, ...(hasStatistics && { statistics }), ...Object.fromEntries(slots), ...averages };
}

/**
 * The scalars that a training graph takes with a step, by name: hyperparameters, and the seed of its random numbers.
 * @param step counted from 0; of `grad.onnx`, the number of its run, so that each has a seed of its own
 * @param rate learning rate and, where a schedule cycles it, the momentum (Adam's beta1); otherwise the optimizer's own holds
 * @param seed of the whole training
 * @param graph `step.onnx` by default
 */
export function stepScalars(
  manifest: Manifest,
  step: number,
  { learningRate, beta1 }: Rate,
  seed: number | string,
  graph = 'step.onnx',
): Record<string, TensorData> {
  const cycled = beta1 === undefined ? {} : { beta1, momentum: beta1 };
  const scheduled = { ...cycled, learning_rate: learningRate, step, ema_rate: averageRate(manifest.ema ?? 0, step) };
  const values: Record<string, unknown> = { ...manifest.optimizer, ...scheduled };
  const ports = portsOf(fileOf(manifest, graph).inputs, 'seed', 'hyperparameter');
  return Object.fromEntries(
    ports.map(({ name, role, dtype }): [string, TensorData] => {
      const value = role === 'seed' ? seed24(seed, step) : Number(values[name]);
      return [
        name,
        dtype === 'int64'
          ? { dtype, shape: [], data: BigInt64Array.of(BigInt(value)) }
          : { dtype: 'float32', shape: [], data: Float32Array.of(value) },
      ];
    }),
  );
}

/**
 * The share 1 − d of the new values in the averages of the largest decay `ema`: TensorFlow's d = min(ema, (1 + step)/(10 + step)), so that the first steps do
 * not hang on to the initial weights.
 */
function averageRate(ema: number, step: number): number {
  return 1 - Math.min(ema, (1 + step) / (10 + step));
}

/**
 * {@link stepScalars} of consecutive steps, as `loop.onnx` takes them: each of shape [K].
 * @param first the first of them, counted from 0
 */
export function loopScalars(
  manifest: Manifest,
  first: number,
  count: number,
  schedule: Schedule,
  seed: number | string,
): Record<string, TensorData> {
  const steps = Array.from({ length: count }, (_, i) => stepScalars(manifest, first + i, schedule(first + i), seed));
  return Object.fromEntries(
    Object.entries(steps[0]).map(([name, { dtype }]): [string, TensorData] => {
      const values = steps.map((scalars) => scalars[name].data[0]);
      return [
        name,
        dtype === 'int64'
          ? { dtype, shape: [count], data: BigInt64Array.from(values as bigint[]) }
          : { dtype: 'float32', shape: [count], data: Float32Array.from(values as number[]) },
      ];
    }),
  );
}

/** Batches that lie one behind the other, [K·B,…], as `loop.onnx` takes them: [K,B,…]. The same memory. */
export function loopBatches(feeds: Readonly<Record<string, TensorData>>, count: number): Record<string, TensorData> {
  return Object.fromEntries(
    Object.entries(feeds).map(
      ([
        name,
        {
          dtype,
          shape: [all, ...rest],
          data,
        },
      ]) => [name, { dtype, shape: [count, all / count, ...rest], data } as TensorData],
    ),
  );
}
