/*
 * The thread in which ONNX Runtime's training API works, in the build of onnxruntime-web 1.19, the last one that has it. It answers the calls of an engine
 * like `engine-worker.ts`. That API gives no gradients and no moments, and takes weights and moments as a checkpoint only, so each `load` makes a new session.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parentPort, workerData } from 'node:worker_threads';
import type { TableEntry } from '../contract/manifest.ts';
import type { EngineCall, EngineReply } from './engine-worker.ts';
import { tableLength, unpackState } from './flat-state.ts';
import { serializeOrtCheckpoint } from './ort-checkpoint.ts';
import type { TensorData } from './tensor.ts';
import { watchExceptions } from './wasm-exception.ts';

/** What is passed to the thread when it starts. */
export interface OrtTrainingSettings {
  /** URL of `ort.training.wasm.mjs`. */
  readonly library: string;
  readonly parameters: readonly TableEntry[];
  readonly statistics: readonly TableEntry[];
  /** Names of the parameters that are not trained. */
  readonly frozen: readonly string[];
}

/** As much of onnxruntime-web's training API as is used here. */
interface Library {
  readonly env: { logLevel: string; readonly wasm: { numThreads: number; wasmPaths: string } };
  readonly Tensor: new (dtype: string, data: TensorData['data'], shape: readonly number[]) => LibraryTensor;
  readonly TrainingSession: { create(files: Readonly<Record<string, Uint8Array>>, options: object): Promise<Session> };
}

interface LibraryTensor {
  readonly type: string;
  readonly dims: readonly number[];
  readonly data: TensorData['data'];
}

type Tensors = Record<string, LibraryTensor>;

interface Session {
  readonly trainingInputNames: readonly string[];
  readonly evalInputNames: readonly string[];
  runTrainStep(feeds: Tensors): Promise<Tensors>;
  runOptimizerStep(): Promise<void>;
  lazyResetGrad(): Promise<void>;
  runEvalStep(feeds: Tensors): Promise<Tensors>;
  getContiguousParameters(trainableOnly: boolean): Promise<LibraryTensor>;
  release(): Promise<void>;
}

const settings: OrtTrainingSettings = workerData;
const port = parentPort!;
const messageOf = watchExceptions();
const library: Promise<Library> = import(mended(settings.library)).then((ort: Library) => {
  ort.env.wasm.wasmPaths = new URL('.', settings.library).href;
  // With more, the build takes Node for a browser.
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = 'fatal';
  return ort;
});
const files: Record<string, Uint8Array> = {};
let session: Session | null = null;

/**
 * The library as a data: URL, without its statements that give the memory of a place on the stack back to the heap, after each reading of the parameters: the heap
 * is damaged by it, and something later fails with "memory access out of bounds".
 */
function mended(library: string): string {
  const text = readFileSync(fileURLToPath(library), 'utf8').replaceAll('wasm2._free(dimsOffset);', '');
  return `data:text/javascript;base64,${Buffer.from(text).toString('base64')}`;
}

async function load(state: Readonly<Record<string, Float32Array>>, step: number): Promise<void> {
  await session?.release();
  session = null;
  const { parameters, statistics } = settings;
  const all = unpackState(parameters, state.parameters);
  const frozen = new Set(settings.frozen);
  const pick = (kept: boolean) => new Map([...all].filter(([name]) => frozen.has(name) === kept));
  const running = state.statistics ? unpackState(statistics, state.statistics) : new Map<string, TensorData>();
  const moments = ['moment1', 'moment2'].filter((name) => state[name]).map((name) => unpackState(parameters, state[name]));
  const trainable = pick(false);
  const checkpoint = serializeOrtCheckpoint({
    version: 2,
    trainable,
    frozen: new Map([...pick(true), ...running]),
    optimizer: {
      step,
      initialLearningRate: 1e-3,
      moments: new Map(moments.length === 0 ? [] : [...trainable.keys()].map((name) => [name, moments.map((m) => m.get(name)!)])),
    },
    properties: new Map(),
  });
  const { TrainingSession } = await library;
  session = await TrainingSession.create(
    {
      checkpointState: checkpoint,
      trainModel: files['training_model.onnx'],
      evalModel: files['eval_model.onnx'],
      optimizerModel: files['optimizer_model.onnx'],
    },
    { executionProviders: ['wasm'], graphOptimizationLevel: 'disabled', logSeverityLevel: 4 },
  );
}

async function run({ graph, feeds, fetch, replace }: EngineCall & { kind: 'run' }): Promise<Record<string, TensorData>> {
  if (!session) throw new Error('no state has been loaded');
  const { Tensor } = await library;
  const training = graph === 'training_model.onnx';
  const names = training ? session.trainingInputNames : session.evalInputNames;
  // They are taken in the order of the feeds, whatever their names.
  const ordered = names.map((name): [string, LibraryTensor] => {
    const fed = feeds[name];
    if (!fed) throw new Error(`${name} is missing`);
    return [name, new Tensor(fed.dtype, fed.data, fed.shape)];
  });
  const inputs = Object.fromEntries(ordered);
  const outputs = training ? await session.runTrainStep(inputs) : await session.runEvalStep(inputs);
  if (training && replace) {
    await session.runOptimizerStep();
    await session.lazyResetGrad();
  }
  const wanted = Object.entries(outputs).filter(([name]) => !fetch || fetch.includes(name));
  return Object.fromEntries(
    wanted.map(([name, { type, dims, data }]) => [name, { dtype: type, shape: [...dims], data: data.slice() } as TensorData]),
  );
}

/** Parameters and statistics, which lie one behind the other in the order of the graph's inputs. */
async function copyState(): Promise<Record<string, Float32Array<ArrayBuffer>>> {
  if (!session) return {};
  const { data } = await session.getContiguousParameters(false);
  const flat = data as Float32Array<ArrayBuffer>;
  const { parameters, statistics } = settings;
  const split = tableLength(parameters);
  return { parameters: flat.slice(0, split), ...(statistics.length > 0 && { statistics: flat.slice(split) }) };
}

async function answer(call: EngineCall): Promise<unknown> {
  switch (call.kind) {
    case 'open':
      files[call.graph] = call.bytes;
      return { inputs: [], outputs: [] };
    case 'release':
      delete files[call.graph];
      return null;
    case 'load':
      await load(call.state, call.step);
      return null;
    case 'state':
      return copyState();
    case 'run':
      return run(call);
    case 'close':
      await session?.release();
      return null;
  }
}

let last: Promise<void> = Promise.resolve();
port.on('message', ({ id, call }: { id: number; call: EngineCall }) => {
  last = last.then(async () => {
    try {
      port.postMessage({ id, value: await answer(call) } satisfies EngineReply);
    } catch (error) {
      port.postMessage({ id, failure: messageOf(error) } satisfies EngineReply);
    }
    if (call.kind === 'close') port.close();
  });
});
