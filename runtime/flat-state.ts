import type { TableEntry } from '../contract/manifest.ts';
import { DdrcError } from '../diagnostics/error.ts';
import type { TensorData } from './tensor.ts';

/** What a file of parameters is held against. The names of the two tables differ. */
export interface ExpectedState {
  /** The table of the trainable parameters; the moments have the same one. */
  readonly parameters: readonly TableEntry[];
  /** The table of the running statistics; empty where the model has none. */
  readonly statistics: readonly TableEntry[];
  /** The hash of the model as the manifest has it; where given, a checkpoint must have the same. */
  readonly modelHash?: string;
  /** The names of the optimizer's vectors; where given, a checkpoint must have them all. */
  readonly slots?: readonly string[];
  /** Whether a checkpoint must have moving averages of the weights. */
  readonly averaged?: boolean;
}

/** Parameters and statistics as flat vectors, with the optimizer's state where there is one. */
export interface Weights {
  readonly parameters: Float32Array;
  readonly statistics: Float32Array;
  /** The optimizer's first vector in the parameters' order (Adam's m, SGD's velocity, RMSprop's mean square), absent where it has none. */
  readonly moment1?: Float32Array;
  /** The optimizer's second vector in the parameters' order (Adam's v, RMSprop's velocity), absent where it has none. */
  readonly moment2?: Float32Array;
  /** The moving averages of parameters and statistics, where a training keeps them. */
  readonly ema?: Float32Array;
  readonly emaStatistics?: Float32Array;
  /** The number of optimizer steps taken so far, absent in a file without an optimizer's state. */
  readonly step?: number;
}

/** What to do where a file of parameters belongs to another model. */
export const modelHint = 'give the model file and the --option values that it was made with';

/** The length of the flat vector that a table describes, in elements. */
export function tableLength(table: readonly TableEntry[]): number {
  return table.reduce((length, { shape, offset }) => Math.max(length, offset + elementCount(shape)), 0);
}

/**
 * Lays named tensors out in one flat vector; names that the table does not have are ignored.
 * @param where the file that the tensors are from, for messages
 * @throws DdrcError CHECKPOINT_MODEL where a tensor is missing, of another shape or not float32
 */
export function packState(table: readonly TableEntry[], tensors: ReadonlyMap<string, TensorData>, where?: string): Float32Array {
  checkNames([table], tensors, where, '');
  return packed(table, tensors, '');
}

/** The named tensors that a flat vector holds, in the table's order; they are views, not copies. */
export function unpackState(table: readonly TableEntry[], flat: Float32Array): Map<string, TensorData> {
  return new Map(
    table.map(({ name, shape, offset }) => [
      name,
      { dtype: 'float32', shape, data: flat.subarray(offset, offset + elementCount(shape)) },
    ]),
  );
}

function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** Lays tensors called `prefix` + name, which are there, out in one flat vector. */
export function packed(table: readonly TableEntry[], tensors: ReadonlyMap<string, TensorData>, prefix: string): Float32Array {
  const flat = new Float32Array(tableLength(table));
  for (const { name, offset } of table) flat.set(tensors.get(prefix + name)!.data as Float32Array, offset);
  return flat;
}

/**
 * Demands that the tables' tensors are there, as float32 and in their shapes. Where `beside` is given, also that
 * there are no tensors but the tables' and these, and PyTorch's counts of batches.
 */
export function checkNames(
  tables: readonly (readonly TableEntry[])[],
  tensors: ReadonlyMap<string, TensorData>,
  where: string | undefined,
  prefix: string,
  { beside, resettable = 0 }: { readonly beside?: ReadonlySet<string>; readonly resettable?: number } = {},
): void {
  const table = tables.flat();
  const missing = table.filter(({ name }) => !tensors.has(prefix + name)).map(({ name }) => prefix + name);
  const known = new Set(table.map(({ name }) => prefix + name));
  // The moments and averages of an unknown parameter say nothing that its own name does not say.
  const isMoment = (name: string) => /^(m|v|ema):/.test(name) && tensors.has(name.slice(name.indexOf(':') + 1));
  const unknown = beside
    ? [...tensors.keys()].filter(
        (name) => !known.has(name) && !beside.has(name) && !isMoment(name) && !isBatchCount(name, tensors.get(name)!),
      )
    : [];
  const different = table.flatMap(({ name, shape }) => {
    const tensor = tensors.get(prefix + name);
    if (!tensor || (tensor.dtype === 'float32' && String(tensor.shape) === String(shape))) return [];
    return [`${prefix}${name} (${tensor.dtype} [${tensor.shape}] in place of float32 [${shape}])`];
  });
  const faults = Object.entries({ missing, unknown, different })
    .filter(([, names]) => names.length > 0)
    .map(([label, names]) => `${label}: ${firstThree(names)}`);
  if (faults.length === 0) return;
  const shapesOnly = resettable > 0 && resettable === missing.length + unknown.length + different.length;
  throw new DdrcError({
    code: 'CHECKPOINT_MODEL',
    message: `${where ?? 'the state'} does not belong to this model (${faults.join('; ')})`,
    where,
    hint: shapesOnly ? `--reset-head initialises them anew; or ${modelHint}` : modelHint,
  });
}

/** Whether it is how many batches a BatchNorm of PyTorch has seen: part of its state dicts, and of no use here. */
function isBatchCount(name: string, { dtype, data }: TensorData): boolean {
  return /(^|\.)num_batches_tracked$/.test(name) && dtype === 'int64' && data.length === 1;
}

/** The first three of some names, and how many more there are. */
export function firstThree(names: readonly string[]): string {
  const shown = names.slice(0, 3).join(', ');
  return names.length > 3 ? `${shown} and ${names.length - 3} more` : shown;
}
