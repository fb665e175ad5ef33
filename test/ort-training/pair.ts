import { asTensors } from '../../cli/compile-for-device.ts';
import { randomFeeds } from '../../cli/random-feeds.ts';
import { frozenBy } from '../../compiler/artifacts/frozen.ts';
import { type Compiled, type CompileRequest, compile } from '../../compiler/compile.ts';
import type { Program } from '../../compiler/ir/program.ts';
import { Engine, trainingSession } from '../../runtime/engine.ts';
import { packState } from '../../runtime/flat-state.ts';
import { expectedState } from '../../runtime/manifest.ts';
import { ortTraining } from '../../runtime/ort-training.ts';
import { engineState, stepScalars } from '../../runtime/step-inputs.ts';
import type { TensorData } from '../../runtime/tensor.ts';

export const batch = 4;
export const contractFiles = ['training_model.onnx', 'eval_model.onnx', 'optimizer_model.onnx'] as const;

type Feeds = Record<string, TensorData>;
type State = Record<string, Float32Array>;

/** What a step gives, and the state after it. */
export interface Stepped {
  readonly outputs: Feeds;
  readonly state: State;
}

/** Feeds are handed over, so each run takes its own. */
export const own = (feeds: Feeds): Feeds =>
  Object.fromEntries(
    Object.entries(feeds).map(([name, tensor]) => [name, { ...tensor, data: tensor.data.slice() } as TensorData]),
  );

/** The largest magnitude of numbers. */
export const peak = (data: ArrayLike<number>) => Array.from(data).reduce((most, value) => Math.max(most, Math.abs(value)), 0);

/** The largest difference of two arrays' elements; NaN where one is. */
export const difference = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((most, value, i) => (Math.abs(value - b[i]) <= most ? most : Math.abs(value - b[i])), 0);

/** A program with both kinds of training files: `step.onnx` in onnxruntime-node, the training artifacts in onnxruntime-web 1.19.2. */
export interface Pair {
  readonly compiled: Compiled;
  readonly stock: Engine;
  readonly ort: Engine;
  readonly start: State;
  /** A batch of examples, the same every time. */
  examples(): Feeds;
  /** Loss, outputs, gradient and new state by the stock step, from the state that it has. */
  stockStep(step: number, learningRate: number): Promise<Stepped>;
  /** The same by the training artifacts, from a given state. */
  ortStep(before: State, step: number): Promise<Stepped>;
  seedOf(step: number): Feeds;
  close(): Promise<void>;
}

export async function openPair(program: Program, request: CompileRequest = {}): Promise<Pair> {
  const compiled = compile(program, {
    artifacts: ['step', 'training_model', 'eval_model', 'optimizer_model'],
    batch,
    inferenceBatch: batch,
    gradients: true,
    ...request,
  });
  const { manifest, files, initial } = compiled;
  const { parameters, statistics } = expectedState(manifest);
  const tensors = asTensors(initial);
  const weights = { parameters: packState(parameters, tensors), statistics: packState(statistics, tensors) };
  const start = engineState(manifest, weights);
  const stock = new Engine({ threads: 1 });
  await stock.open('step.onnx', files.get('step.onnx')!, trainingSession);
  await stock.load(start);
  const names = manifest.parameters.map(({ name }) => name);
  const frozen = names.filter(frozenBy(program, request.freeze ?? []));
  const ort = new Engine({ ortTraining: ortTraining(manifest, frozen) });
  for (const name of contractFiles) await ort.open(name, files.get(name)!);
  const examples = randomFeeds(manifest, 'step.onnx');
  const seedOf = (step: number) => stepScalars(manifest, step, { learningRate: 0 }, 0, 'training_model.onnx');
  return {
    compiled,
    stock,
    ort,
    start,
    examples: () => own(examples),
    seedOf,
    async stockStep(step, learningRate) {
      const outputs = await stock.step('step.onnx', own({ ...examples, ...stepScalars(manifest, step, { learningRate }, 0) }));
      return { outputs, state: await stock.state() };
    },
    async ortStep(before, step) {
      await ort.load(before, step);
      const outputs = await ort.step('training_model.onnx', own({ ...examples, ...seedOf(step) }));
      return { outputs, state: await ort.state() };
    },
    async close() {
      await stock.close();
      await ort.close();
    },
  };
}
