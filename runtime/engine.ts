import { availableParallelism } from 'node:os';
import type { Worker } from 'node:worker_threads';
import type { InferenceSession } from 'onnxruntime-node';
import { DdrcError } from '../diagnostics/error.ts';
import type { EngineCall, EngineReply, EngineSettings, SessionPorts, Summing } from './engine-worker.ts';
import type { OrtTrainingSettings } from './ort-training-worker.ts';
import { startThread } from './sibling.ts';
import type { TensorData } from './tensor.ts';

export type { SessionPort, SessionPorts, Summing } from './engine-worker.ts';

/** Where and with how many threads an engine computes. */
export interface EngineOptions {
  /** Execution provider; default `cpu`. */
  readonly provider?: string;
  /** Threads of one operator; default: one for each processor that this process may use. */
  readonly threads?: number;
  /** For ONNX Runtime's training API in place of stock graphs; see {@link ortTraining}. */
  readonly ortTraining?: OrtTrainingSettings;
}

/** ONNX Runtime's options of a session. Provider, threads, order of execution and log level are the engine's, whatever stands here. */
export type SessionOptions = InferenceSession.SessionOptions;

/**
 * Options for the graphs that train: nothing is rewritten, because the compiler has done the fusions and the order of nodes is the order in which memory is
 * needed; and no memory pattern, which would double the peak of a training graph.
 */
export const trainingSession: SessionOptions = { graphOptimizationLevel: 'disabled', enableMemPattern: false };

/** Options for the graphs that only infer: ONNX Runtime's own optimizations, which know this machine. */
export const inferenceSession: SessionOptions = { graphOptimizationLevel: 'all', enableMemPattern: false };

interface Pending {
  readonly graph: string | null;
  readonly resolve: (value: never) => void;
  readonly reject: (error: DdrcError) => void;
}

/**
 * ONNX Runtime in a thread of its own, with any number of open graphs and one set of flat state vectors, which stay in that thread.
 * Calls are answered in their order; several may be under way, and the thread goes from one to the next without waiting for the caller.
 */
export class Engine {
  readonly provider: string;
  readonly threads: number;
  private readonly worker: Worker;
  private readonly pending = new Map<number, Pending>();
  private readonly exited: Promise<void>;
  private calls = 0;
  private closing = false;
  private ended: DdrcError | null = null;

  constructor({ provider = 'cpu', threads = availableParallelism(), ortTraining }: EngineOptions = {}) {
    this.provider = provider;
    this.threads = threads;
    this.worker = ortTraining
      ? startThread('ort-training-worker', ortTraining)
      : startThread('engine-worker', { provider, threads } satisfies EngineSettings);
    this.worker.unref();
    this.worker.on('message', (reply: EngineReply) => this.settle(reply));
    this.worker.on('error', (cause) => this.end('stopped with an error of its own', cause));
    this.exited = new Promise((resolve) => {
      this.worker.on('exit', (code) => {
        this.end(`ended with exit code ${code}`);
        resolve();
      });
    });
  }

  /**
   * Opens a graph under a name; one that has the name is released.
   * @param bytes an ONNX file
   * @returns what the graph takes and gives
   * @throws DdrcError ENGINE_FAILED where ONNX Runtime refuses the graph, ENGINE_MEMORY, ENGINE_STOPPED
   */
  open(graph: string, bytes: Uint8Array, options: SessionOptions = {}): Promise<SessionPorts> {
    const copy = new Uint8Array(bytes);
    return this.call({ kind: 'open', graph, bytes: copy, options }, [copy.buffer as ArrayBuffer]);
  }

  /** Closes a graph and gives its memory back; harmless where none of that name is open. */
  release(graph: string): Promise<void> {
    return this.call({ kind: 'release', graph });
  }

  /**
   * Replaces all state by copies of these flat vectors; graphs read a state by the name of their input.
   * @param step the number of steps taken so far, which only ONNX Runtime's training API keeps with the state
   */
  load(state: Readonly<Record<string, Float32Array>>, step = 0): Promise<void> {
    const copies = Object.fromEntries(Object.entries(state).map(([name, data]) => [name, data.slice()]));
    return this.call({ kind: 'load', state: copies, step }, Object.values(copies).map(bufferOf));
  }

  /** Copies of the state's flat vectors, as of after all calls before this one. */
  state(): Promise<Record<string, Float32Array>> {
    return this.call({ kind: 'state' });
  }

  /**
   * Runs a graph on feeds and state, and replaces each state by the output called `NAME_out` where the graph has one.
   * @param feeds the arrays' memory is handed over: they are empty afterwards
   * @param fetch the outputs to give back; all that are no state by default
   * @param summing for gradients of several batches: an output to `add` up in the thread, or an input that is fed with the `mean` of those
   * @throws DdrcError ENGINE_FAILED, ENGINE_MEMORY, ENGINE_STOPPED; the state is then unchanged
   */
  step(
    graph: string,
    feeds: Readonly<Record<string, TensorData>>,
    fetch?: readonly string[],
    summing: Summing = {},
  ): Promise<Record<string, TensorData>> {
    return this.runCall(graph, feeds, fetch, true, summing);
  }

  /** Runs a graph on feeds and state and leaves the state as it is; otherwise like {@link step}. */
  run(
    graph: string,
    feeds: Readonly<Record<string, TensorData>>,
    fetch?: readonly string[],
  ): Promise<Record<string, TensorData>> {
    return this.runCall(graph, feeds, fetch, false, {});
  }

  /** Waits for the calls that are under way, releases everything and ends the thread. */
  async close(): Promise<void> {
    this.closing = true;
    if (!this.ended) await this.call({ kind: 'close' }).catch(() => {});
    await this.exited;
  }

  private runCall(
    graph: string,
    feeds: Readonly<Record<string, TensorData>>,
    fetch: readonly string[] | undefined,
    replace: boolean,
    summing: Summing,
  ): Promise<Record<string, TensorData>> {
    // The thread could not even read what was handed over before, and would never answer.
    const [unfit] = Object.entries(feeds).filter(([, { shape, data }]) => shape.reduce((a, b) => a * b, 1) !== data.length);
    if (unfit) return Promise.reject(unfitError(graph, ...unfit));
    const owned = Object.fromEntries(Object.entries(feeds).map(([name, tensor]) => [name, withOwnMemory(tensor)]));
    const moved = new Set(Object.values(owned).map(({ data }) => bufferOf(data)));
    return this.call({ kind: 'run', graph, feeds: owned, fetch: fetch ?? null, replace, summing }, [...moved]);
  }

  private call<T>(call: EngineCall, moved: ArrayBuffer[] = []): Promise<T> {
    if (this.ended) return Promise.reject(this.ended);
    const id = this.calls++;
    return new Promise<T>((resolve, reject) => {
      this.pending.set(id, { graph: 'graph' in call ? call.graph : null, resolve, reject });
      // An idle engine keeps no program alive; one that works does.
      this.worker.ref();
      try {
        this.worker.postMessage({ id, call }, moved);
      } catch (cause) {
        const { graph } = this.take(id);
        reject(handOverError(graph, cause));
      }
    });
  }

  /** Takes a call off the list of those that are under way. */
  private take(id: number): Pending {
    const pending = this.pending.get(id)!;
    this.pending.delete(id);
    if (this.pending.size === 0 && !this.closing) this.worker.unref();
    return pending;
  }

  private settle(reply: EngineReply): void {
    const pending = this.take(reply.id);
    if ('failure' in reply) pending.reject(runtimeError(pending.graph, reply.failure));
    else pending.resolve(reply.value as never);
  }

  private end(how: string, cause?: unknown): void {
    this.ended ??= new DdrcError({
      code: 'ENGINE_STOPPED',
      message: `the thread that runs ONNX Runtime ${how}`,
      hint: 'if memory ran out, use a smaller --batch; otherwise run the command again',
      cause,
    });
    for (const { reject } of this.pending.values()) reject(this.ended);
    this.pending.clear();
  }
}

/** A tensor whose memory is its own, to the last byte, so that it can be handed over. */
function withOwnMemory(tensor: TensorData): TensorData {
  const { data } = tensor;
  const whole = data.byteLength === data.buffer.byteLength && data.buffer instanceof ArrayBuffer;
  // A Buffer's own slice would share the memory.
  return whole ? tensor : { ...tensor, data: data instanceof Uint8Array ? new Uint8Array(data) : data.slice() };
}

function bufferOf(data: TensorData['data']): ArrayBuffer {
  return data.buffer as ArrayBuffer;
}

function handOverError(graph: string | null, cause: unknown): DdrcError {
  return new DdrcError({
    code: 'ENGINE_FAILED',
    message: `what ${graph ?? 'the engine'} is given cannot be handed to its thread: ${cause instanceof Error ? cause.message : String(cause)}`,
    hint: 'give it plain values only',
    cause,
  });
}

function unfitError(graph: string, name: string, { shape, data }: TensorData): DdrcError {
  return new DdrcError({
    code: 'ENGINE_FAILED',
    message: `${name} of ${graph} has the shape [${shape}] and ${data.length} elements`,
    where: `input ${name}`,
    hint: 'an array that was fed once is empty afterwards: feed a new one, or a copy',
  });
}

const places: readonly RegExp[] = [
  /while running (?<op>\w+) node\. Name:'(?<node>[^']*)' Status Message: (?<said>.*)/s,
  /Node \((?<node>[^)]*)\) Op \((?<op>\w+)\) (?<said>.*)/s,
  /In Node, \("(?<node>[^"]*)", (?<op>\w+),.*?Error (?<said>.*)/s,
];

/**
 * ONNX Runtime's text as an error: the node's name `drdb.3.conv1/Conv` becomes the scope path.
 * @param graph what the graph is called, for the sentence
 */
export function runtimeError(graph: string | null, text: string): DdrcError {
  const found = places.map((place) => place.exec(text)?.groups).find((groups) => groups !== undefined);
  const said = (found?.said ?? text).split('\n')[0].trim();
  const scope = found?.node.includes('/') ? found.node.slice(0, found.node.lastIndexOf('/')) : found?.node;
  const where = found ? `${scope ? `scope ${scope}, ` : ''}operator ${found.op}` : undefined;
  if (/bad_alloc|failed to allocate memory|out of memory|array buffer allocation failed/i.test(text)) {
    const message = `there is not enough memory to run ${graph ?? 'the graph'}`;
    return new DdrcError({ code: 'ENGINE_MEMORY', message, where, hint: 'use a smaller --batch or --size' });
  }
  const message = `ONNX Runtime cannot run ${graph ?? 'the graph'}: ${said}`;
  const hint = 'check that the inputs fit the graph and that the file was made for this device';
  return new DdrcError({
    code: 'ENGINE_FAILED',
    message,
    where,
    hint,
    notes: said === text.trim() ? [] : [{ label: 'said', text: text.trim() }],
  });
}
