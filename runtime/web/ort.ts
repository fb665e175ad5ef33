import type * as Ort from 'onnxruntime-web';

/** Where the graphs of a page run. */
export type WebDevice = 'wasm' | 'webgpu';

export interface OrtSettings {
  /** URL of the folder with ONNX Runtime's files, with a slash at its end. */
  readonly ortFolder: string;
  /** Threads of one operator, at most; one where the page is not isolated from others. */
  readonly threads: number;
}

/** ONNX Runtime, loaded for one device. */
export interface LoadedOrt {
  readonly ort: typeof Ort;
  readonly device: WebDevice;
  readonly threads: number;
}

/**
 * Loads ONNX Runtime: its WebGPU build or its wasm build.
 * @throws what the browser says where the files are not there
 */
export async function loadOrt({ ortFolder, threads }: OrtSettings, device: WebDevice): Promise<LoadedOrt> {
  const file = device === 'webgpu' ? 'ort.webgpu.min.mjs' : 'ort.wasm.min.mjs';
  const ort: typeof Ort = await import(/* @vite-ignore */ new URL(file, ortFolder).href);
  ort.env.wasm.wasmPaths = ortFolder;
  // Without isolation there is no memory that threads could share.
  ort.env.wasm.numThreads = globalThis.crossOriginIsolated ? threads : 1;
  ort.env.logLevel = 'error';
  return { ort, device, threads: ort.env.wasm.numThreads };
}

/** Whether the browser has a graphics card for WebGPU. */
export async function hasAdapter(): Promise<boolean> {
  const { gpu } = navigator as { gpu?: { requestAdapter(): Promise<{ info?: { isFallbackAdapter?: boolean } } | null> } };
  try {
    const adapter = await gpu?.requestAdapter();
    // One in software is slower than wasm.
    return Boolean(adapter) && !adapter!.info?.isFallbackAdapter;
  } catch {
    return false;
  }
}
