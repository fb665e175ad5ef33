import { availableParallelism } from 'node:os';
import { slotNames } from '../compiler/artifacts/optimizers.ts';
import { layOut, lengthOf } from '../compiler/artifacts/table.ts';
import { type Artifact, type Compiled, compile } from '../compiler/compile.ts';
import { portable, type Target } from '../compiler/emit/lowering.ts';
import type { NDArray } from '../compiler/ir/ndarray.ts';
import type { OptimizerSpec, Program } from '../compiler/ir/program.ts';
import type { Reset } from '../runtime/checkpoint.ts';
import { type ExpectedState, unpackState, type Weights } from '../runtime/flat-state.ts';
import { blockSize } from '../runtime/providers.ts';
import type { TensorData } from '../runtime/tensor.ts';
import { readTuning } from './tuning.ts';

/** What `--checkpoint-activations` does, for `--help`. */
export const checkpointFlag =
  'compute the forward pass again in the backward pass in place of keeping it: less memory, more time, same numbers';

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
  /** Whether `loop.onnx` is to be made, too, which takes several steps in one run. */
  readonly looped?: boolean;
  /** Learning rate of each step, for ONNX Runtime's training API: `training_model.onnx`, `eval_model.onnx`, `optimizer_model.onnx` in place of the others. */
  readonly rates?: readonly number[];
  /** Whether steps are taken on the mean of several batches' gradients: `grad.onnx` and `update.onnx` in place of `step.onnx`. */
  readonly accumulated?: boolean;
  readonly optimizer?: OptimizerSpec;
  readonly clipNorm?: number;
  readonly seed?: number;
  readonly classes?: readonly string[] | null;
  /** Whether the step gives the flat gradient too. */
  readonly gradients?: boolean;
  /** Whether the backward pass computes the forward pass again in place of keeping it. */
  readonly checkpointActivations?: boolean;
  /** Parameters, or scopes of them, that are not trained. */
  readonly freeze?: readonly string[];
  readonly classWeights?: readonly number[];
  /** Whether the step takes mixed examples. */
  readonly mixed?: boolean;
  /** The largest decay of the weights' averages. */
  readonly ema?: number;
}

/** What a training on one device with one batch size runs: `step.onnx` and `eval.onnx`, or what stands in place of them; and the initial weights. */
export function compileTraining(program: Program, { classes, looped, accumulated, ...request }: DeviceRequest): Compiled {
  const step: Artifact[] = looped ? ['step', 'loop'] : ['step'];
  const stock: Artifact[] = [...(accumulated ? (['grad', 'update'] as const) : step), 'eval'];
  const artifacts: Artifact[] = request.rates ? ['training_model', 'eval_model', 'optimizer_model'] : stock;
  return compile(program, { ...request, artifacts, classes: classes ?? undefined });
}

/** What `--loop` does, for `--help`. */
export const loopFlag =
  'steps in one run of the graph, between which weights need not leave it: same numbers (default: 16 on CUDA, 4 for a large model, else 1)';

/** Bytes of state from which on handing it over costs a notable part of a step on the processor: about 1 ms for each MB. */
const LARGE_STATE = 16e6;

/**
 * How many steps a training takes in one run of the graph unless it is told. On the processor a few where there is much state, as progress and Ctrl-C wait for all of
 * them; on CUDA more, as the state crosses to the device and back; on WebGPU it stays there anyway.
 */
export function stepsPerRun(program: Program, provider: Target['provider'], optimizer: OptimizerSpec): number {
  if (provider === 'cuda') return 16;
  if (provider !== 'cpu') return 1;
  const { parameters } = program.build({ mode: 'training', batch: 1, loss: false });
  const vectors = 1 + slotNames(optimizer).length;
  return 4 * vectors * lengthOf(layOut(parameters)) < LARGE_STATE ? 1 : 4;
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

/** A line for each parameter that `--reset-head` did not take from the file: its name, its shape in the file, its shape in the model. */
export function resetLines(reset: readonly Reset[]): string[] {
  return reset.map(
    ({ name, inFile, inModel }) => `reset   ${name}: [${inFile}] in the file, [${inModel}] in the model; initialised anew`,
  );
}

/** A compiler's arrays as the runtime's tensors. */
export function asTensors(arrays: ReadonlyMap<string, NDArray>): Map<string, TensorData> {
  return new Map(
    [...arrays].map(([name, { shape, data }]) => [name, { dtype: 'float32', shape, data: Float32Array.from(data) }]),
  );
}
