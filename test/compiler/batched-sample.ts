import type { NDArray } from '../../compiler/ir/ndarray.ts';
import type { OpDefinition, Sample } from '../../compiler/ir/op.ts';
import { type Attrs, type Dim, formatType, sameType, type TensorType } from '../../compiler/ir/types.ts';
import { DdrcError } from '../../diagnostics/error.ts';

/** The name that the batch size gets. */
export const BATCH = 'N';

/** Types and attributes that an operator accepts, with the arrays of a sample as their values. */
export interface TypedSample {
  readonly types: readonly TensorType[];
  readonly attrs: Attrs;
  readonly outputs: readonly TensorType[];
}

export function typeOf(array: NDArray): TensorType {
  return { dtype: array.dtype, shape: array.shape };
}

/** The types of a sample as it stands. */
export function staticSample(op: OpDefinition, sample: Sample): TypedSample {
  const types = sample.inputs.map(typeOf);
  const attrs = sample.attrs ?? {};
  return { types, attrs, outputs: infer(op, types, attrs) };
}

/**
 * The ways in which the first axis of inputs (and of an attribute `shape`) of a sample can be the named dimension N, most inputs first.
 * A way counts when the shape rule accepts it, no output has N twice, and N read as the batch size gives the types of `expected`.
 */
export function batchedSamples(op: OpDefinition, sample: Sample, expected: readonly NDArray[]): TypedSample[] {
  const batch = sample.inputs.find((input) => input.shape.length > 0)?.shape[0];
  if (batch === undefined) return [];
  const eligible = sample.inputs.flatMap((input, i) => (input.shape.length > 0 && input.shape[0] === batch ? [i] : []));
  const found: TypedSample[] = [];
  for (const chosen of subsets(eligible).sort((a, b) => b.length - a.length)) {
    const types = sample.inputs.map((input, i) => (chosen.includes(i) ? named(typeOf(input)) : typeOf(input)));
    for (const attrs of attributeForms(sample.attrs ?? {}, batch)) {
      const outputs = accepted(op, types, attrs);
      if (outputs?.every(hasBatchOnce) && mismatches(outputs, expected, batch).length === 0) {
        found.push({ types, attrs, outputs });
      }
    }
  }
  return found;
}

/** Sentences on outputs whose type, with N read as `batch`, is not that of the array that evaluate returned. */
export function mismatches(outputs: readonly TensorType[], arrays: readonly NDArray[], batch = Number.NaN): string[] {
  if (outputs.length !== arrays.length) return [`infer gives ${outputs.length} outputs, evaluate ${arrays.length}`];
  return outputs.flatMap((type, i) => {
    const shape = type.shape.map((dim) => (dim === BATCH ? batch : dim));
    if (!sameType({ dtype: type.dtype, shape }, typeOf(arrays[i]))) {
      return [`output ${i}: infer gives ${formatType(type)}, evaluate ${formatType(typeOf(arrays[i]))}`];
    }
    const size = arrays[i].shape.reduce((count, dim) => count * dim, 1);
    return size === arrays[i].data.length
      ? []
      : [`output ${i}: ${arrays[i].data.length} values for ${formatType(typeOf(arrays[i]))}`];
  });
}

function infer(op: OpDefinition, types: readonly TensorType[], attrs: Attrs): readonly TensorType[] {
  return op.infer(types, attrs, { op: op.name, scope: '', labels: types.map((_, i) => `input ${i}`) });
}

function accepted(op: OpDefinition, types: readonly TensorType[], attrs: Attrs): readonly TensorType[] | null {
  try {
    return infer(op, types, attrs);
  } catch (error) {
    if (error instanceof DdrcError) return null;
    throw error;
  }
}

function named(type: TensorType): TensorType {
  return { dtype: type.dtype, shape: [BATCH, ...type.shape.slice(1)] };
}

function attributeForms(attrs: Attrs, batch: number): Attrs[] {
  const shape = attrs.shape as readonly Dim[] | undefined;
  return Array.isArray(shape) && shape[0] === batch ? [{ ...attrs, shape: [BATCH, ...shape.slice(1)] }, attrs] : [attrs];
}

function hasBatchOnce(type: TensorType): boolean {
  return type.shape.filter((dim) => dim === BATCH).length <= 1;
}

function subsets(list: readonly number[]): number[][] {
  return Array.from({ length: 2 ** list.length - 1 }, (_, mask) => list.filter((_item, bit) => ((mask + 1) >> bit) & 1));
}
