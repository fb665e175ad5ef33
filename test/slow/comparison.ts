import { readFileSync } from 'node:fs';
import { readSafetensors } from '../../runtime/safetensors-file.ts';
import type { TensorData } from '../../runtime/tensor.ts';

const peak = (data: TensorData['data']) => Array.from(data as Float32Array).reduce((most, v) => Math.max(most, Math.abs(v)), 0);

/**
 * Compares two files that `ddrc step` wrote, from a state with moments, by name. With d the largest difference of a tensor's elements: logits, loss, statistics
 * and gradients may differ by d ≤ 1e-4·(the tensor's largest magnitude) + 1e-7, parameters after the step by d ≤ 5e-3·(learning rate) + 2e-7·(largest magnitude).
 * They are the bounds that the comparison with PyTorch uses: two float32 implementations that sum in different orders.
 * @returns a line for each tensor that differs, and the number of tensors that were compared
 */
export function compareSteps(got: string, expected: string, learningRate = 1e-3): { problems: string[]; compared: number } {
  const found = readSafetensors(got).tensors;
  const reference = readSafetensors(expected).tensors;
  const problems: string[] = [];
  if ([...found.keys()].sort().join() !== [...reference.keys()].sort().join()) problems.push('other tensors than expected');
  for (const [name, { shape, data }] of reference) {
    const other = found.get(name);
    if (!other || other.shape.join() !== shape.join()) {
      problems.push(`${name}: has not the shape [${shape}]`);
      continue;
    }
    const top = peak(data);
    const allowed = name.startsWith('adam:') ? 5e-3 * learningRate + 2e-7 * top : 1e-4 * top + 1e-7;
    const off = Array.from(other.data as Float32Array, (value, i) => Math.abs(value - Number(data[i])));
    const worst = off.reduce((most, d) => (d <= most ? most : d), 0);
    if (!(worst <= allowed))
      problems.push(`${name}: differs by ${worst.toExponential(2)}, allowed is ${allowed.toExponential(2)}`);
  }
  return { problems, compared: reference.size };
}

/** The losses by epoch of a run's metrics.jsonl. */
export function lossesOf(metrics: string): number[] {
  const lines = readFileSync(metrics, 'utf8').trim().split('\n');
  return lines
    .map((line) => JSON.parse(line))
    .flatMap(({ train, val }) => (train ? [train.loss, ...(val ? [val.loss] : [])] : []));
}
