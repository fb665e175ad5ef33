/** Element types of the language; the names are ONNX's in lower case. */
export type DType = 'float32' | 'int64' | 'int32' | 'uint8' | 'bool';

/** A size known when the graph is made, or the name of one that is known only when it runs (`'N'`). */
export type Dim = number | string;
export type Shape = readonly Dim[];

export interface TensorType {
  readonly dtype: DType;
  readonly shape: Shape;
}

/** Attributes of a node: plain data, so that nodes can be printed, compared and hashed. */
export type AttrValue = number | string | boolean | readonly number[] | readonly Dim[] | readonly string[];
export type Attrs = { readonly [name: string]: AttrValue | undefined };

/** `[N,32,56,56]` */
export function formatShape(shape: Shape): string {
  return `[${shape.join(',')}]`;
}

/** `float32[N,32,56,56]` */
export function formatType(type: TensorType): string {
  return `${type.dtype}${formatShape(type.shape)}`;
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((dim, i) => dim === b[i]);
}

export function sameType(a: TensorType, b: TensorType): boolean {
  return a.dtype === b.dtype && sameShape(a.shape, b.shape);
}

/** Number of elements; a named dimension counts as 1. */
export function elementCount(shape: Shape): number {
  return shape.reduce<number>((count, dim) => count * (typeof dim === 'number' ? dim : 1), 1);
}

export function isStatic(shape: Shape): shape is readonly number[] {
  return shape.every((dim) => typeof dim === 'number');
}
