import { DdrcError, type ErrorCode } from '../../diagnostics/error.ts';
import type { Site } from '../ir/op.ts';
import { type Dim, formatShape, formatType, type Shape, sameShape, type TensorType } from '../ir/types.ts';

/** Throws the located sentence of a shape rule: `add: [N,32] and [N,64] have different shapes`. */
export function shapeError(
  site: Site,
  code: ErrorCode,
  sentence: string,
  inputs: readonly TensorType[],
  hint?: string,
): DdrcError {
  return new DdrcError({
    code,
    message: `${site.op}: ${sentence}`,
    notes: inputs.map((type, i) => ({
      label: inputs.length > 1 ? `input ${i}` : 'input',
      text: `${formatType(type)}  ${site.labels[i] ?? ''}`.trimEnd(),
    })),
    where: `scope ${site.scope || '(top)'}`,
    hint,
  });
}

/** The common shape of `a` and `b` by numpy's rules, or null. A named dimension fits itself and 1. */
export function broadcastShapes(a: Shape, b: Shape): Dim[] | null {
  const rank = Math.max(a.length, b.length);
  const out: Dim[] = [];
  for (let i = 0; i < rank; i++) {
    const x = a[i - (rank - a.length)] ?? 1;
    const y = b[i - (rank - b.length)] ?? 1;
    if (x !== y && x !== 1 && y !== 1) return null;
    out.push(x === 1 ? y : x);
  }
  return out;
}

/** Axes of `shape`, negative ones counted from the end, in ascending order. */
export function normalizeAxes(axes: readonly number[], shape: Shape, site: Site, inputs: readonly TensorType[]): number[] {
  return axes.map((axis) => normalizeAxis(axis, shape, site, inputs)).sort((a, b) => a - b);
}

export function normalizeAxis(axis: number, shape: Shape, site: Site, inputs: readonly TensorType[]): number {
  if (!Number.isInteger(axis) || axis < -shape.length || axis >= shape.length) {
    const hint =
      shape.length > 0 ? `axes are whole numbers from ${-shape.length} to ${shape.length - 1}` : 'a scalar has no axes';
    throw shapeError(site, 'SHAPE_ATTRIBUTE', `axis ${axis} is out of range for ${formatShape(shape)}`, inputs, hint);
  }
  return axis < 0 ? axis + shape.length : axis;
}

/** Refuses two inputs of different element types; `types` are all of the operator's. */
export function requireOneDType([a, b]: readonly TensorType[], site: Site, types: readonly TensorType[]): void {
  if (a.dtype === b.dtype) return;
  throw shapeError(site, 'DTYPE_MISMATCH', `${a.dtype} and ${b.dtype} are different element types`, types, 'cast one of them');
}

/** Refuses inputs of another element type than `dtype`. */
export function requireDType(types: readonly TensorType[], dtype: TensorType['dtype'], site: Site): void {
  const wrong = types.find((type) => type.dtype !== dtype);
  if (wrong) throw shapeError(site, 'DTYPE_MISMATCH', `takes ${dtype}, got ${formatType(wrong)}`, types, `cast it to ${dtype}`);
}

/** Refuses two tensors of different shapes; sizes are not repeated here. */
export function requireSameShape(a: TensorType, b: TensorType, inputs: readonly TensorType[], site: Site, hint?: string): void {
  if (sameShape(a.shape, b.shape)) return;
  const sentence = `${formatShape(a.shape)} and ${formatShape(b.shape)} have different shapes`;
  throw shapeError(site, 'SHAPE_MISMATCH', sentence, inputs, hint);
}

/** Refuses named sizes from axis `axis` on. */
export function requireKnown(x: TensorType, axis: number, inputs: readonly TensorType[], site: Site): void {
  const named = x.shape.slice(axis).find((dim) => typeof dim === 'string');
  if (named === undefined) return;
  throw shapeError(site, 'SHAPE_ATTRIBUTE', `${formatShape(x.shape)} needs a number in place of ${named}`, inputs);
}

/** Refuses a size, or one of a list of sizes, that is not a whole number of at least `least`; `label` says what they are. */
export function requireWhole(
  label: string,
  sizes: Dim | readonly Dim[],
  least: number,
  inputs: readonly TensorType[],
  site: Site,
): void {
  const list = typeof sizes === 'object' ? sizes : [sizes];
  const wrong = list.find((size) => !Number.isInteger(size) || (size as number) < least);
  if (wrong === undefined) return;
  const demand = typeof sizes === 'object' ? 'must be whole numbers' : 'must be a whole number';
  throw shapeError(site, 'SHAPE_ATTRIBUTE', `${label} ${demand} of at least ${least}, got ${wrong}`, inputs);
}

/** Refuses an input of another number of axes; `layout` says what they are. */
export function requireRank(
  type: TensorType,
  ranks: readonly number[],
  site: Site,
  layout: string,
  hint = 'reshape it first',
): void {
  if (!ranks.includes(type.shape.length)) {
    throw shapeError(site, 'SHAPE_RANK', `takes ${layout}, got ${formatShape(type.shape)}`, [type], hint);
  }
}
