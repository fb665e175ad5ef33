import type { Manifest, ManifestPort } from '../contract/manifest.ts';
import { random } from '../numeric/random.ts';
import { fileOf, portsOf } from '../runtime/manifest.ts';
import type { TensorData } from '../runtime/tensor.ts';
import type { Feeds } from './feeds.ts';

/**
 * Examples for every data input and target of the file `name`, the same every time: uniform numbers in [0,1) for arrays, classes in turn for class
 * indices, and 0 for other whole numbers, because a model may use them as indices and how far those reach is not known here.
 */
export function randomFeeds(manifest: Manifest, name: string): Feeds {
  const file = fileOf(manifest, name);
  const classes = file.outputs.find((port) => port.name === manifest.scores?.output)?.shape.at(-1);
  const fill = ({ name, role, dtype, shape }: ManifestPort): TensorData => {
    const sizes = shape as number[];
    const length = sizes.reduce((product, size) => product * size, 1);
    const next = random(0, name);
    if (dtype === 'float32') return { dtype, shape: sizes, data: Float32Array.from({ length }, next) };
    if (dtype === 'bool') return { dtype, shape: sizes, data: Uint8Array.from({ length }, (_, i) => i % 2) };
    const isClass = role === 'target' && dtype === 'int64' && sizes.length === 1;
    const below = isClass && typeof classes === 'number' ? classes : 1;
    if (dtype === 'int64') return { dtype, shape: sizes, data: BigInt64Array.from({ length }, (_, i) => BigInt(i % below)) };
    if (dtype === 'int32') return { dtype, shape: sizes, data: new Int32Array(length) };
    return { dtype, shape: sizes, data: new Uint8Array(length) };
  };
  return Object.fromEntries(portsOf(file.inputs, 'data', 'target').map((port) => [port.name, fill(port)]));
}
