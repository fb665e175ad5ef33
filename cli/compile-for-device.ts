import { availableParallelism } from 'node:os';
import { type Compiled, compile } from '../compiler/compile.ts';
import { portable, type Target } from '../compiler/emit/lowering.ts';
import type { NDArray } from '../compiler/ir/ndarray.ts';
import type { OptimizerSpec, Program } from '../compiler/ir/program.ts';
import { type ExpectedState, unpackState, type Weights } from '../runtime/checkpoint.ts';
import { blockSize } from '../runtime/providers.ts';
import type { TensorData } from '../runtime/tensor.ts';
import { readTuning } from './tuning.ts';

/**
 * What graphs are compiled for when they run on a device of this machine: on the processor, with its blocked kernels and the lowerings that `ddrc tune`
 * found to be the fastest with so many threads; or for every engine.
 */
export async function targetFor(provider: Target['provider'], threads = availableParallelism()): Promise<Target> {
  const { opset } = portable;
  if (provider !== 'cpu') return { provider, opset, block: 0 };
  const block = await blockSize();
  const tuned = new Map([...readTuning(threads, block)].map(([signature, { best }]) => [signature, best]));
  return { provider, opset, block, tuned };
}

export interface DeviceRequest {
  readonly target: Target;
  /** Batch of the step, fixed: the fast lowerings need it. Validation takes any. */
  readonly batch: number;
  readonly optimizer?: OptimizerSpec;
  readonly clipNorm?: number;
  readonly seed?: number;
  readonly classes?: readonly string[] | null;
  /** Whether the step gives the flat gradient too. */
  readonly gradients?: boolean;
}

/** `step.onnx` and `eval.onnx` for one device and one batch size, and the initial weights. */
export function compileTraining(program: Program, { classes, ...request }: DeviceRequest): Compiled {
  return compile(program, { ...request, artifacts: ['step', 'eval'], classes: classes ?? undefined });
}

/** The portable `model.onnx` with these weights: what deployment runs. Same weights, same bytes. */
export function compileModel(
  program: Program,
  weights: ReadonlyMap<string, TensorData>,
  classes: readonly string[] | null = null,
): Uint8Array {
  return compile(program, { artifacts: ['model'], weights, classes: classes ?? undefined }).files.get('model.onnx')!;
}

/** Flat vectors as tensors by name. */
export function namedTensors(
  tables: Pick<ExpectedState, 'parameters' | 'statistics'>,
  { parameters, statistics }: Pick<Weights, 'parameters' | 'statistics'>,
): Map<string, TensorData> {
  return new Map([...unpackState(tables.parameters, parameters), ...unpackState(tables.statistics, statistics)]);
}

/** A compiler's arrays as the runtime's tensors. */
export function asTensors(arrays: ReadonlyMap<string, NDArray>): Map<string, TensorData> {
  return new Map(
    [...arrays].map(([name, { shape, data }]) => [name, { dtype: 'float32', shape, data: Float32Array.from(data) }]),
  );
}
