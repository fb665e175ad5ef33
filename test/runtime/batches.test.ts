import { describe, expect, it } from 'vitest';
import { toPort } from '../../runtime/batches.ts';
import type { TensorData } from '../../runtime/tensor.ts';
import { errorOf } from './data/files.ts';

const floats = (...values: number[]): TensorData => ({
  dtype: 'float32',
  shape: [values.length],
  data: Float32Array.from(values),
});
const port = (dtype: 'int64' | 'int32' | 'uint8') => ({ name: 'index', dtype, shape: ['N'] });

describe('toPort', () => {
  it('takes whole floating-point numbers where the model takes integers', () => {
    expect(toPort(floats(3, 0, 7), port('int64'))).toEqual({ dtype: 'int64', shape: [3], data: BigInt64Array.of(3n, 0n, 7n) });
    expect(toPort(floats(3, 0, 7), port('int32'))).toEqual({ dtype: 'int32', shape: [3], data: Int32Array.of(3, 0, 7) });
  });

  it.each(['int64', 'int32', 'uint8'] as const)('refuses others for %s', async (dtype) => {
    expect(await errorOf(() => toPort(floats(3, 0.5), port(dtype)))).toMatchObject({
      code: 'DTYPE_MISMATCH',
      message: `the array "index" is float32 and has 0.5, which is not a whole number, but the model takes ${dtype}`,
    });
  });
});
