/** A tensor as plain data, as it is read from files, fed to a session and fetched from one. */
export interface TensorData {
  /** The kind of element; it decides the class of {@link data}. */
  readonly dtype: 'float32' | 'float64' | 'int64' | 'int32' | 'uint8' | 'bool';
  /** The size of each dimension; empty for a scalar. */
  readonly shape: number[];
  /** The elements in row-major order; a `Uint8Array` of 0 and 1 for `bool`. */
  readonly data: Float32Array | Float64Array | BigInt64Array | Int32Array | Uint8Array;
}
