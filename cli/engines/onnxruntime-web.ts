import type { EngineKind, OnnxEngine } from './engine.ts';
import { nodeProgram, packagesNamed } from './node-program.ts';
import { startProgram } from './program.ts';

const text = `
const ort = await attempt(load);
ort.env.wasm.numThreads = 1;
const session = await attempt(() => ort.InferenceSession.create(new Uint8Array(readFileSync(asked.path)), { executionProviders: ['wasm'] }));
await serve(async (feeds) => {
  const tensors = Object.entries(feeds).map(([name, { dtype, shape, data }]) => [name, new ort.Tensor(dtype, data, shape)]);
  return (await session.run(Object.fromEntries(tensors), [asked.output]))[asked.output].data;
});
`;

/** ONNX Runtime as WebAssembly, which runs in browsers; one thread. */
export const onnxruntimeWeb: EngineKind = {
  name: 'onnxruntime-web wasm',
  async find({ folders }) {
    const found = packagesNamed('onnxruntime-web', folders);
    if (found.length === 0) return 'npm package onnxruntime-web is not installed here';
    return found.map(
      ({ entry, version }): OnnxEngine => ({
        name: this.name,
        version,
        open: (model) => startProgram(nodeProgram(text), model, { entry }),
      }),
    );
  },
};
