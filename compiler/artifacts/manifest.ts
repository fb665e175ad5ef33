import type { Manifest, ManifestFile, ManifestRole } from '../../contract/manifest.ts';
import type { Port } from '../emit/encode.ts';
import type { Program } from '../ir/program.ts';
import type { EmittedGraph } from './emit-graph.ts';

const roles: Readonly<Record<string, ManifestRole>> = { loss: 'loss', gradients: 'gradient' };

function outputRole(name: string): ManifestRole {
  return roles[name] ?? (name.endsWith('_out') ? 'state' : 'output');
}

const plain = ({ name, type }: Port) => ({ name, dtype: type.dtype, shape: type.shape });

/** What the manifest says of a file: the hash of its bytes, its inputs and outputs in their order, and what these are for. */
export function describeFile(emitted: EmittedGraph & Pick<ManifestFile, 'weights' | 'seal'>, sha256: string): ManifestFile {
  return {
    sha256,
    ...(emitted.weights && { weights: emitted.weights }),
    ...(emitted.seal && { seal: emitted.seal }),
    inputs: emitted.inputs.map((port) => ({ ...plain(port), role: port.role as ManifestRole })),
    outputs: emitted.outputs.map((port) => ({ ...plain(port), role: outputRole(port.name) })),
  };
}

/** How a decoder's picture becomes each image input of `model.onnx`, which takes numbers in [0,1] (`float32`) or the bytes themselves (`uint8`). */
export function preprocessingOf(program: Program, input: 'float32' | 'uint8'): Manifest['preprocessing'] {
  const form = input === 'uint8' ? ({ layout: 'NHWC', range: [0, 255] } as const) : ({ layout: 'NCHW', range: [0, 1] } as const);
  return program.inputs
    .filter((port) => port.kind === 'image')
    .map((port) => ({
      input: port.name,
      ...form,
      size: port.type.shape.slice(1) as number[],
      resize: 'bilinear, whole image',
    }));
}
