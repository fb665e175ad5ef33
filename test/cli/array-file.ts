import { writeFileSync } from 'node:fs';
import { random } from '../../numeric/random.ts';
import { serializeSafetensors } from '../../runtime/safetensors.ts';

/** Writes examples for {@link smallModel} into a safetensors file: eight numbers each, the one at the label's place larger. */
export function writeArrays(path: string, { size = 120, classes = 3 }: { size?: number; classes?: number } = {}): void {
  const next = random('arrays');
  const label = BigInt64Array.from({ length: size }, (_, i) => BigInt(i % classes));
  const x = Float32Array.from({ length: 8 * size }, (_, i) => next() + Number(BigInt(i % 8) === label[Math.floor(i / 8)]));
  const tensors = new Map([
    ['x', { dtype: 'float32', shape: [size, 8], data: x }],
    ['label', { dtype: 'int64', shape: [size], data: label }],
  ] as const);
  writeFileSync(path, serializeSafetensors(tensors));
}
