import type { Manifest } from '../../contract/manifest.ts';
import { fileOf } from '../manifest.ts';
import type { TensorData } from '../tensor.ts';
import { sha256 } from './hash.ts';

/** A copy of a file with other weights written where the manifest says, and, where its metadata has a hash, that made right again. */
export async function withWeights(
  manifest: Manifest,
  name: 'tunable.onnx' | 'explain.onnx',
  file: Uint8Array,
  tensors: ReadonlyMap<string, TensorData>,
): Promise<Uint8Array> {
  const { weights = [], seal } = fileOf(manifest, name);
  const bytes = new Uint8Array(file);
  for (const place of weights) {
    const { buffer, byteOffset, byteLength } = tensors.get(place.name)!.data;
    bytes.set(new Uint8Array(buffer, byteOffset, byteLength), place.offset);
  }
  if (!seal) return bytes;
  const entries = new TextEncoder().encode(seal.entries);
  const covered = new Uint8Array(seal.covers + entries.length);
  covered.set(bytes.subarray(0, seal.covers));
  covered.set(entries, seal.covers);
  const hex = await sha256(covered);
  bytes.set(new TextEncoder().encode(hex), bytes.length - hex.length);
  return bytes;
}
