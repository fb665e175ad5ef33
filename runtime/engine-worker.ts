/*
 * The thread in which ONNX Runtime works: its `run` blocks, and here it blocks nobody. It owns the sessions and the state; calls are answered one after
 * the other, in their order. On WebGPU the state stays in the device's memory from step to step.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { env, InferenceSession, Tensor } from 'onnxruntime-node';
import { DeviceMemory, discard, stateOutputs } from './device-memory.ts';
import type { TensorData } from './tensor.ts';

/** What is passed to the thread when it starts. */
export interface EngineSettings {
  readonly provider: string;
  readonly threads: number;
}

/** What the thread is asked for. */
export type EngineCall =
  | {
      readonly kind: 'open';
      readonly graph: string;
      readonly bytes: Uint8Array;
      readonly options: InferenceSession.SessionOptions;
    }
  | { readonly kind: 'release'; readonly graph: string }
  | { readonly kind: 'load'; readonly state: Readonly<Record<string, Float32Array>>; readonly step: number }
  | { readonly kind: 'state' }
  | {
      readonly kind: 'run';
      readonly graph: string;
      readonly feeds: Readonly<Record<string, TensorData>>;
      /** Outputs to give back; null for all that are not state. */
      readonly fetch: readonly string[] | null;
      /** Whether the outputs `NAME_out` replace the state. */
      readonly replace: boolean;
      readonly summing: Summing;
    }
  | { readonly kind: 'close' };

/** How a run uses the thread's sum of one output over several runs. */
export interface Summing {
  /** An output, float32, that is added to the sum and not given back. */
  readonly add?: string;
  /** An input that is fed with the mean of what was added since the last such run; the sum then starts anew, also where the run fails. */
  readonly mean?: string;
}

/** What comes back: the value of the call of that number, or what ONNX Runtime said. */
export type EngineReply = { readonly id: number; readonly value: unknown } | { readonly id: number; readonly failure: string };

/** An input or output of a graph as the session describes it; a symbolic size is its name. */
export interface SessionPort {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly (number | string)[];
}

/** What a graph takes and gives. */
export interface SessionPorts {
  readonly inputs: readonly SessionPort[];
  readonly outputs: readonly SessionPort[];
}

const settings: EngineSettings = workerData;
const port = parentPort!;
const sessions = new Map<string, InferenceSession>();
const state = new Map<string, Tensor>();
/** Where the state is kept, if not in the processor's memory. ONNX Runtime for Node knows no device's memory but WebGPU's. */
const device = settings.provider === 'webgpu' ? new DeviceMemory(settings.provider) : null;
/** Graphs some of whose outputs stay on the device: ONNX Runtime then gives all outputs or none. */
const resident = new Set<string>();
/** The first added array itself, with the others added in place: a sum takes no memory beside one gradient. */
let sum: { readonly total: Float32Array; count: number } | null = null;
// Failures come back as text; the runtime's own log would only stand in the way of the progress bar.
const silent = 4;
env.logLevel = 'fatal';

async function open(graph: string, bytes: Uint8Array, options: InferenceSession.SessionOptions): Promise<SessionPorts> {
  await sessions.get(graph)?.release();
  sessions.delete(graph);
  resident.delete(graph);
  const staying = device ? await stateOutputs(bytes) : [];
  const session = await InferenceSession.create(bytes, {
    ...options,
    ...(staying.length > 0 && { preferredOutputLocation: Object.fromEntries(staying.map((name) => [name, 'gpu-buffer'])) }),
    executionProviders: [settings.provider],
    intraOpNumThreads: settings.threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    logSeverityLevel: silent,
  });
  sessions.set(graph, session);
  if (staying.length > 0) resident.add(graph);
  const ports = (all: readonly InferenceSession.ValueMetadata[]) =>
    all.map((value) =>
      value.isTensor
        ? { name: value.name, dtype: value.type, shape: value.shape }
        : { name: value.name, dtype: 'other', shape: [] },
    );
  return { inputs: ports(session.inputMetadata), outputs: ports(session.outputMetadata) };
}

/** Adds an output of a run to the sum. Runs are answered in order, so the same runs give the same bits. */
function addToSum(data: Float32Array): void {
  if (sum && sum.total.length !== data.length) throw new Error(`${data.length} values cannot be added to ${sum.total.length}`);
  if (!sum) sum = { total: data, count: 0 };
  else for (let i = 0; i < data.length; i++) sum.total[i] += data[i];
  sum.count++;
}

function takeMean(): Tensor {
  if (!sum) throw new Error('there is nothing to take the mean of');
  const { total, count } = sum;
  sum = null;
  for (let i = 0; i < total.length; i++) total[i] /= count;
  return new Tensor('float32', total, [total.length]);
}

async function run(call: EngineCall & { kind: 'run' }): Promise<Record<string, TensorData>> {
  const { graph, feeds, fetch, replace, summing } = call;
  const session = sessions.get(graph);
  if (!session) throw new Error(`no graph '${graph}' is open`);
  const inputs: Record<string, Tensor> = {};
  for (const name of session.inputNames) {
    const fed = feeds[name];
    const kept = () => (name === summing.mean ? takeMean() : state.get(name));
    const tensor = fed ? new Tensor(fed.dtype, fed.data as Float32Array, fed.shape) : kept();
    if (tensor) inputs[name] = tensor;
  }
  const replaced = new Map(replace ? [...state.keys()].map((name) => [`${name}_out`, name]) : []);
  const isState = (name: string) => name.endsWith('_out') && state.has(name.slice(0, -4));
  const wanted = session.outputNames.filter(
    (name) => replaced.has(name) || name === summing.add || (fetch ? fetch.includes(name) : !isState(name)),
  );
  // What is fetched is freshly allocated, so the new state never shares memory with the old one that is still being read.
  const outputs = await session.run(inputs, resident.has(graph) ? session.outputNames : wanted, { logSeverityLevel: silent });
  const given: Record<string, TensorData> = {};
  const added = outputs[summing.add ?? ''];
  if (added) addToSum(added.data as Float32Array);
  for (const name of wanted) {
    if (name === summing.add) continue;
    const slot = replaced.get(name);
    if (slot === undefined) given[name] = await tensorData(outputs[name]);
  }
  for (const [name, tensor] of Object.entries(outputs)) {
    const slot = replaced.get(name);
    discard(slot === undefined ? tensor : state.get(slot));
    if (slot !== undefined) state.set(slot, tensor);
  }
  return given;
}

async function tensorData(tensor: Tensor): Promise<TensorData> {
  const { type, dims, data } = device ? await device.download(tensor) : tensor;
  return { dtype: type as TensorData['dtype'], shape: [...dims], data: data as TensorData['data'] };
}

/** Replaces the state; the arrays are this thread's own. */
async function load(vectors: Readonly<Record<string, Float32Array>>): Promise<void> {
  for (const tensor of state.values()) discard(tensor);
  state.clear();
  sum = null;
  for (const [name, data] of Object.entries(vectors)) {
    const tensor = new Tensor('float32', data, [data.length]);
    state.set(name, device ? await device.upload(tensor) : tensor);
  }
}

/** Copies of the state. */
async function copyState(): Promise<Record<string, Float32Array<ArrayBuffer>>> {
  const copies: Record<string, Float32Array<ArrayBuffer>> = {};
  for (const [name, tensor] of state) {
    const near = device ? await device.download(tensor) : tensor;
    const data = near.data as Float32Array<ArrayBuffer>;
    copies[name] = near === tensor ? data.slice() : data;
  }
  return copies;
}

async function answer(call: EngineCall): Promise<{ value: unknown; moved: ArrayBuffer[] }> {
  switch (call.kind) {
    case 'open':
      return { value: await open(call.graph, call.bytes, call.options), moved: [] };
    case 'release':
      await sessions.get(call.graph)?.release();
      sessions.delete(call.graph);
      resident.delete(call.graph);
      return { value: null, moved: [] };
    case 'load':
      await load(call.state);
      return { value: null, moved: [] };
    case 'state': {
      const value = await copyState();
      return { value, moved: Object.values(value).map(({ buffer }) => buffer) };
    }
    case 'run': {
      const value = await run(call);
      return { value, moved: Object.values(value).map(({ data }) => data.buffer as ArrayBuffer) };
    }
    case 'close':
      for (const tensor of state.values()) discard(tensor);
      await device?.close();
      for (const session of sessions.values()) await session.release();
      return { value: null, moved: [] };
  }
}

let last: Promise<void> = Promise.resolve();
port.on('message', ({ id, call }: { id: number; call: EngineCall }) => {
  last = last.then(async () => {
    try {
      const { value, moved } = await answer(call);
      port.postMessage({ id, value } satisfies EngineReply, moved);
    } catch (error) {
      port.postMessage({ id, failure: error instanceof Error ? error.message : String(error) } satisfies EngineReply);
    }
    if (call.kind === 'close') port.close();
  });
});
