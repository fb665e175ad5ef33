import { Engine, inferenceSession, type SessionOptions, trainingSession } from '../../runtime/engine.ts';
import { type Provider, probe } from '../../runtime/providers.ts';
import { copied } from '../feeds.ts';
import { onnxruntimeVersion } from '../project.ts';
import type { EngineKind, LoadedModel, ModelFile, OnnxEngine } from './engine.ts';

const graph = 'model.onnx';

function engineOf(name: string, provider: Provider, options: SessionOptions): OnnxEngine {
  return {
    name,
    version: onnxruntimeVersion(),
    async open({ bytes, output }: ModelFile): Promise<LoadedModel> {
      const engine = new Engine({ provider });
      try {
        await engine.open(graph, bytes, options);
      } catch (error) {
        await engine.close();
        throw error;
      }
      return {
        run: async (feeds) => (await engine.run(graph, copied(feeds), [output]))[output].data as Float32Array,
        close: () => engine.close(),
      };
    },
  };
}

/** What the others are compared with: each node as it stands in the file. */
export const reference: OnnxEngine = engineOf('onnxruntime-node CPU, no optimizations', 'cpu', trainingSession);

/** What `ddrc predict` and `ddrc eval` run. */
export const optimized: OnnxEngine = engineOf('onnxruntime-node CPU, all optimizations', 'cpu', inferenceSession);

export const webgpu: EngineKind = {
  name: 'onnxruntime-node WebGPU',
  async find() {
    const { works, reason } = await probe('webgpu');
    return works ? [engineOf(this.name, 'webgpu', inferenceSession)] : reason;
  },
};
