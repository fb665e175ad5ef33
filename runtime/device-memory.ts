/*
 * What a thread needs to keep float32 tensors in WebGPU's buffers. ONNX Runtime 1.30 for Node has three rules: reading a device's tensor by `getData` ends the
 * process, so a graph copies it out; outputs stay on the device where a session was created so, by name; and of such a session all outputs must be fetched.
 */
import { InferenceSession, type Tensor } from 'onnxruntime-node';

/*
 * y = Identity(x), x and y float32 of any shape; opset 17, IR 8. Written with onnx-proto, `ModelProto.encode` of exactly this, in base64.
 */
const copyGraph = 'CAg6LgoQCgF4EgF5IghJZGVudGl0eRIEY29weVoJCgF4EgQKAggBYgkKAXkSBAoCCAFCBAoAEBE=';

/** Copies tensors between the processor's memory and a device's. */
export class DeviceMemory {
  private readonly sessions = new Map<'upload' | 'download', InferenceSession>();

  constructor(private readonly provider: string) {}

  /** A copy of a float32 tensor on the device; `dispose` gives its memory back. */
  upload(tensor: Tensor): Promise<Tensor> {
    return this.copy('upload', tensor);
  }

  /** A tensor in the processor's memory: a copy of one on the device, one that is there already itself. */
  async download(tensor: Tensor): Promise<Tensor> {
    return tensor.location === 'cpu' ? tensor : this.copy('download', tensor);
  }

  async close(): Promise<void> {
    for (const session of this.sessions.values()) await session.release();
    this.sessions.clear();
  }

  private async copy(direction: 'upload' | 'download', x: Tensor): Promise<Tensor> {
    let session = this.sessions.get(direction);
    if (!session) {
      session = await InferenceSession.create(Buffer.from(copyGraph, 'base64'), {
        executionProviders: [this.provider],
        graphOptimizationLevel: 'disabled',
        logSeverityLevel: 4,
        ...(direction === 'upload' && { preferredOutputLocation: 'gpu-buffer' as const }),
      });
      this.sessions.set(direction, session);
    }
    const { y } = await session.run({ x });
    return y;
  }
}

/**
 * The outputs of a graph that can replace a state: float32, called `NAME_out`, where the graph has an input NAME. They are read from the file, as a session
 * must know where its outputs go before it can name them. Of bytes that are no ONNX file there are none: ONNX Runtime says what is wrong with them.
 */
export async function stateOutputs(bytes: Uint8Array): Promise<string[]> {
  const { onnx } = (await import('onnx-proto')).default;
  try {
    const { graph } = onnx.ModelProto.decode(bytes);
    const inputs = new Set(graph?.input?.map(({ name }) => name));
    const float32 = onnx.TensorProto.DataType.FLOAT;
    return (graph?.output ?? [])
      .filter(({ name, type }) => inputs.has(name?.replace(/_out$/, '')) && type?.tensorType?.elemType === float32)
      .map(({ name }) => name!)
      .filter((name) => name.endsWith('_out'));
  } catch {
    return [];
  }
}

/** Gives the memory of a device's tensor back. Those of the processor's memory are the garbage collector's. */
export function discard(tensor: Tensor | undefined): void {
  if (tensor?.location === 'gpu-buffer') tensor.dispose();
}
