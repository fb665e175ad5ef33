/** An array with its shape, row-major: what sessions take and give, and what safetensors files hold. */
export interface TensorData {
  readonly dtype: 'float32' | 'float64' | 'int64' | 'int32' | 'uint8' | 'bool';
  readonly shape: readonly number[];
  readonly data: Float32Array | Float64Array | BigInt64Array | Int32Array | Uint8Array;
}
