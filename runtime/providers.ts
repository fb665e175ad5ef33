import { DdrcError, isDdrcError } from '../diagnostics/error.ts';
import { suggestion } from '../diagnostics/suggest.ts';
import { Engine } from './engine.ts';
import { startProcess } from './sibling.ts';
import type { TensorData } from './tensor.ts';

/** What a graph can run on: ONNX Runtime's execution providers that ddrc knows. */
export type Provider = 'cpu' | 'cuda' | 'webgpu';

/** What `--device` takes. */
export type Device = Provider | 'auto';

export const providers: readonly Provider[] = ['cpu', 'cuda', 'webgpu'];

/** What became of a test graph on a provider. */
export interface ProbeResult {
  readonly provider: Provider;
  readonly works: boolean;
  /** The shortest run of the test graph in ms (of a very slow provider an estimate), null where it does not work. */
  readonly milliseconds: number | null;
  /** Why it does not work, in one clause; empty where it does. */
  readonly reason: string;
  /** What would make it work; empty where nothing is known. */
  readonly remedy: string;
}

/** What the process that probes sends back. */
export type ProbeMessage = { readonly milliseconds: number } | { readonly failure: string };

const reasons: readonly (readonly [pattern: RegExp, reason: string, remedy: string])[] = [
  [
    /Failed to load (shared )?library|libonnxruntime_providers/,
    "onnxruntime-node's CUDA files, or the CUDA libraries that they need, are not installed",
    'node node_modules/onnxruntime-node/script/install.js --onnxruntime-node-install=cuda12 fetches the first',
  ],
  [/no CUDA-capable device|CUDA driver version|CUDA failure/i, 'CUDA finds no graphics card that it can use', ''],
  [
    /WebGPU adapter/,
    'no graphics adapter was found (WebGPU needs Vulkan, Metal or Direct3D 12)',
    'install the driver of the graphics card',
  ],
  [/backend not found|not available|unsupported/i, 'onnxruntime-node has no such provider on this system', ''],
];

/**
 * Runs a test graph on a provider, in a process of its own, because a driver may take the process down with it.
 * @param timeout ms after which the provider counts as not working
 */
export function probe(provider: Provider, timeout = 30_000): Promise<ProbeResult> {
  return new Promise((resolve) => {
    const failed = (text: string) => {
      const known = reasons.find(([pattern]) => pattern.test(text));
      const [, reason, remedy] = known ?? [null, text.split('\n')[0].slice(0, 200), ''];
      resolve({ provider, works: false, milliseconds: null, reason, remedy });
    };
    const child = startProcess('provider-probe', [provider]);
    const timer = setTimeout(() => {
      failed(`the test graph did not finish within ${timeout / 1000} s`);
      child.kill('SIGKILL');
    }, timeout);
    child.on('message', (message: ProbeMessage) => {
      if ('failure' in message) failed(message.failure);
      else resolve({ provider, works: true, milliseconds: message.milliseconds, reason: '', remedy: '' });
    });
    child.on('error', (error) => failed(error.message));
    child.on('exit', (code, signal) => {
      clearTimeout(timer);
      // After a message this is no news, and the promise ignores it.
      failed(`the process that ran the test graph ended with ${signal ?? `exit code ${code}`}`);
    });
  });
}

/**
 * Reads `--device`.
 * @throws DdrcError PROVIDER_UNKNOWN
 */
export function parseDevice(text: string): Device {
  const known: readonly Device[] = ['auto', ...providers];
  const device = known.find((name) => name === text.trim().toLowerCase());
  if (device) return device;
  const message = `there is no device '${text}'${suggestion(text, known)}`;
  throw new DdrcError({ code: 'PROVIDER_UNKNOWN', message, where: '--device', hint: `the devices are ${known.join(', ')}` });
}

/** A provider that works, and why it was taken, in a clause. */
export interface Choice {
  readonly provider: Provider;
  readonly why: string;
}

/**
 * The provider for a device. `cpu` always works. `auto` takes CUDA where it works, WebGPU where it works and ran the test graph faster than the processor (a
 * software adapter does not), otherwise the processor.
 * @throws DdrcError PROVIDER_MISSING where the device that was asked for does not work
 */
export async function chooseProvider(device: Device): Promise<Choice> {
  if (device === 'cpu') return { provider: 'cpu', why: 'asked for' };
  if (device !== 'auto') {
    const { works, reason, remedy } = await probe(device);
    if (works) return { provider: device, why: 'asked for' };
    const hint = `${remedy ? `${remedy}; ` : ''}--device cpu works everywhere`;
    throw new DdrcError({
      code: 'PROVIDER_MISSING',
      message: `${device} does not work here: ${reason}`,
      where: '--device',
      hint,
    });
  }
  const [cuda, webgpu] = await Promise.all([probe('cuda'), probe('webgpu')]);
  if (cuda.works) return { provider: 'cuda', why: 'it works and is the fastest' };
  if (!webgpu.works) return { provider: 'cpu', why: 'neither cuda nor webgpu works here' };
  const cpu = await probe('cpu');
  return webgpu.milliseconds! < (cpu.milliseconds ?? Number.POSITIVE_INFINITY)
    ? { provider: 'webgpu', why: 'it is faster than the processor' }
    : { provider: 'cpu', why: 'webgpu works, but the processor is faster' };
}

/*
 * One node of ONNX Runtime's own domain: y = com.microsoft.nchwc.ReorderInput(x), x and y float32 [1,32,1,2]; opsets ai.onnx 17 and com.microsoft.nchwc 1, IR 8.
 * Written with onnx-proto, `ModelProto.encode` of exactly this, in base64.
 */
const reorderGraph =
  'CAg6awosCgF4EgF5GgFyIgxSZW9yZGVySW5wdXQ6E2NvbS5taWNyb3NvZnQubmNod2MSAWdaGwoBeBIWChQIARIQCgIIAQoCCCAKAggBCgIIAmIbCgF5EhYKFAgBEhAK' +
  'AggBCgIIIAoCCAEKAggCQgQKABARQhcKE2NvbS5taWNyb3NvZnQubmNod2MQAQ==';

let knownBlock: Promise<number> | null = null;

/**
 * Channels in a block of ONNX Runtime's blocked convolution kernels on this processor: 16 with AVX-512, 8 with AVX2, 4, or 0 where it has none. Found by
 * letting it reorder 32 channels of two pixels: with block b, the value of channel c at pixel p goes to place (⌊c/b⌋·2 + p)·b + c mod b.
 */
export function blockSize(): Promise<number> {
  knownBlock ??= measureBlock();
  return knownBlock;
}

async function measureBlock(): Promise<number> {
  const channels = 32;
  const engine = new Engine({ threads: 1 });
  try {
    await engine.open('reorder', Buffer.from(reorderGraph, 'base64'), { graphOptimizationLevel: 'disabled' });
    const x: TensorData = {
      dtype: 'float32',
      shape: [1, channels, 1, 2],
      data: Float32Array.from({ length: 2 * channels }, (_, i) => i),
    };
    const { y } = await engine.run('reorder', { x });
    return [16, 8, 4].find((block) => isBlocked(y.data as Float32Array, channels, block)) ?? 0;
  } catch (error) {
    // Processors without such kernels, and builds without them, refuse the graph.
    if (isDdrcError(error) && error.code === 'ENGINE_FAILED') return 0;
    throw error;
  } finally {
    await engine.close();
  }
}

function isBlocked(values: Float32Array, channels: number, block: number): boolean {
  for (let c = 0; c < channels; c++) {
    for (let p = 0; p < 2; p++) {
      if (values[(Math.floor(c / block) * 2 + p) * block + (c % block)] !== 2 * c + p) return false;
    }
  }
  return true;
}

/**
 * Refuses a file that was built for blocked kernels of another block than this processor's, which would read its weights wrongly without a word.
 * @throws DdrcError MODEL_ELSEWHERE
 */
export async function requireBlock(block: number, where: string): Promise<void> {
  if (block === 0) return;
  const here = await blockSize();
  if (block === here) return;
  throw new DdrcError({
    code: 'MODEL_ELSEWHERE',
    message: `${where} was built for a processor whose blocked kernels take ${block} channels at a time, and this one's take ${here || 'none'}`,
    where,
    hint: 'build it on this machine, or without --target cpu for every machine',
  });
}
