import { writeFileSync } from 'node:fs';
import { serializeSafetensors } from '../../runtime/safetensors.ts';
import { readSafetensors } from '../../runtime/safetensors-file.ts';

/** Makes all weights of a checkpoint zero: no class comes from anywhere then. */
export function zeroWeights(file: string): void {
  const floats = [...readSafetensors(file).tensors].filter(([, { data }]) => data instanceof Float32Array);
  const zeros = floats.map(([name, { shape, data }]) => {
    return [name, { dtype: 'float32', shape, data: new Float32Array(data.length) }] as const;
  });
  writeFileSync(file, serializeSafetensors(new Map(zeros)));
}
