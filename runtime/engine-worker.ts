/*
 * The thread in which ONNX Runtime works: its `run` blocks, and here it blocks nobody. It owns the sessions and the state; calls are answered one after
 * the other, in their order.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { env, InferenceSession, Tensor } from 'onnxruntime-node';
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
  | { readonly kind: 'load'; readonly state: Readonly<Record<string, Float32Array>> }
  | { readonly kind: 'state' }
  | {
      readonly kind: 'run';
      readonly graph: string;
      readonly feeds: Readonly<Record<string, TensorData>>;
      /** Outputs to give back; null for all that are not state. */
      readonly fetch: readonly string[] | null;
      /** Whether the outputs `NAME_out` replace the state. */
      readonly replace: boolean;
    }
  | { readonly kind: 'close' };

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
// Failures come back as text; the runtime's own log would only stand in the way of the progress bar.
const silent = 4;
env.logLevel = 'fatal';

async function open(graph: string, bytes: Uint8Array, options: InferenceSession.SessionOptions): Promise<SessionPorts> {
  await sessions.get(graph)?.release();
  sessions.delete(graph);
  const session = await InferenceSession.create(bytes, {
    ...options,
    executionProviders: [settings.provider],
    intraOpNumThreads: settings.threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    logSeverityLevel: silent,
  });
  sessions.set(graph, session);
  const ports = (all: readonly InferenceSession.ValueMetadata[]) =>
    all.map((value) =>
      value.isTensor
        ? { name: value.name, dtype: value.type, shape: value.shape }
        : { name: value.name, dtype: 'other', shape: [] },
    );
  return { inputs: ports(session.inputMetadata), outputs: ports(session.outputMetadata) };
}

async function run({ graph, feeds, fetch, replace }: EngineCall & { kind: 'run' }): Promise<Record<string, TensorData>> {
  const session = sessions.get(graph);
  if (!session) throw new Error(`no graph '${graph}' is open`);
  const inputs: Record<string, Tensor> = {};
  for (const name of session.inputNames) {
    const fed = feeds[name];
    const tensor = fed ? new Tensor(fed.dtype, fed.data as Float32Array, fed.shape) : state.get(name);
    if (tensor) inputs[name] = tensor;
  }
  const replaced = new Map(replace ? [...state.keys()].map((name) => [`${name}_out`, name]) : []);
  const isState = (name: string) => name.endsWith('_out') && state.has(name.slice(0, -4));
  const wanted = session.outputNames.filter((name) => replaced.has(name) || (fetch ? fetch.includes(name) : !isState(name)));
  // What is fetched is freshly allocated, so the new state never shares memory with the old one that is still being read.
  const outputs = await session.run(inputs, wanted, { logSeverityLevel: silent });
  const given: Record<string, TensorData> = {};
  for (const name of wanted) {
    const tensor = outputs[name];
    const slot = replaced.get(name);
    if (slot !== undefined) state.set(slot, tensor);
    else
      given[name] = {
        dtype: tensor.type as TensorData['dtype'],
        shape: [...tensor.dims],
        data: tensor.data as TensorData['data'],
      };
  }
  return given;
}

async function answer(call: EngineCall): Promise<{ value: unknown; moved: ArrayBuffer[] }> {
  switch (call.kind) {
    case 'open':
      return { value: await open(call.graph, call.bytes, call.options), moved: [] };
    case 'release':
      await sessions.get(call.graph)?.release();
      sessions.delete(call.graph);
      return { value: null, moved: [] };
    case 'load':
      state.clear();
      for (const [name, data] of Object.entries(call.state)) state.set(name, new Tensor('float32', data, [data.length]));
      return { value: null, moved: [] };
    case 'state': {
      const copies = [...state].map(([name, tensor]) => [name, (tensor.data as Float32Array).slice()] as const);
      return { value: Object.fromEntries(copies), moved: copies.map(([, data]) => data.buffer as ArrayBuffer) };
    }
    case 'run': {
      const value = await run(call);
      return { value, moved: Object.values(value).map(({ data }) => data.buffer as ArrayBuffer) };
    }
    case 'close':
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
