import type { Manifest, ManifestFile, ManifestRole } from '../../contract/manifest.ts';
import type { Port } from '../emit/encode.ts';
import type { Program } from '../ir/program.ts';
import type { EmittedGraph } from './emit-graph.ts';

const roles: Readonly<Record<string, ManifestRole>> = { loss: 'loss', gradients: 'gradient' };

function outputRole(name: string): ManifestRole {
  return roles[name] ?? (name.endsWith('_out') ? 'state' : 'output');
}

const plain = ({ name, type }: Port) => ({ name, dtype: type.dtype, shape: type.shape });

export function describeFile(emitted: EmittedGraph, sha256: string): ManifestFile {
  return {
    sha256,
    inputs: emitted.inputs.map((port) => ({ ...plain(port), role: port.role as ManifestRole })),
    outputs: emitted.outputs.map((port) => ({ ...plain(port), role: outputRole(port.name) })),
  };
}

/** How a decoder's picture becomes each image input. */
export function preprocessingOf(program: Program): Manifest['preprocessing'] {
  return program.inputs
    .filter((port) => port.kind === 'image')
    .map((port) => ({
      input: port.name,
      layout: 'NCHW',
      size: port.type.shape.slice(1) as number[],
      range: [0, 1],
      resize: 'bilinear, whole image',
    }));
}
