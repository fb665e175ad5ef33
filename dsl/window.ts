import type { Padding, PerAxis } from './types/index.ts';

/** A value for each of `rank` map axes. */
export function perAxis(value: PerAxis | undefined, rank: number, missing: number): readonly number[] {
  return typeof value === 'object' ? value : new Array<number>(rank).fill(value ?? missing);
}

/** Begins, then ends, of the zeros around a map, as ONNX has them. `kernel` and `dilation` serve `'same'`. */
export function padsOf(
  pad: Padding | undefined,
  kernel: readonly number[],
  dilation: readonly number[] = kernel.map(() => 1),
): readonly number[] {
  const rank = kernel.length;
  if (pad === 'same') {
    const total = kernel.map((size, i) => dilation[i] * (size - 1));
    return [...total.map((zeros) => Math.floor(zeros / 2)), ...total.map((zeros) => Math.ceil(zeros / 2))];
  }
  const list: readonly number[] = typeof pad === 'object' ? pad : new Array<number>(rank).fill(pad ?? 0);
  return list.length === rank ? [...list, ...list] : list;
}
