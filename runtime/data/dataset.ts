import { DdrcError } from '../../diagnostics/error.ts';
import { permutation, random } from '../../numeric/random.ts';
import { readSafetensors } from '../safetensors-file.ts';
import type { TensorData } from '../tensor.ts';
import { type AugmentationSettings, drawAugmentation } from './augment.ts';
import type { LoadedImages } from './images.ts';
import { pathWithin } from './listing.ts';
import { createWarp, toPlanes } from './warp.ts';

/** How to vary the examples of a batch: what is drawn depends on seed, epoch and example only, not on the batch that it is in. */
export interface BatchAugmentation {
  readonly settings: AugmentationSettings;
  readonly seed: number | string;
  readonly epoch: number;
}

/** Examples that a model is trained on or tested with. */
export interface Dataset {
  /** The number of examples. */
  readonly size: number;
  /** Class names by label, or null where the data has none. */
  readonly classes: readonly string[] | null;
  /** The label of each example, or null where an example has no single class. */
  readonly labels: Int32Array | null;
  /** What each example is called: its path within the data, with `/`. Absent: its index. */
  readonly paths?: readonly string[];
  /** What each example shares with others (a patient, a slide, an original), null where that is not known. Absent: known of none. */
  readonly groups?: readonly (string | null)[];
  /** The model's inputs for these examples, by name; the leading axis is the example. Augmentation concerns images only. */
  batch(indices: readonly number[], augmentation?: BatchAugmentation): Promise<Record<string, TensorData>>;
}

/** What the model calls its inputs. */
export interface InputNames {
  /** Default `image`. */
  readonly image?: string;
  /** Default `label`. */
  readonly label?: string;
}

/**
 * Images as examples: float32 [B,3,S,S] in [0,1] and label int64 [B].
 *
 * @param items indices into the listing's items; those that were not loaded (bad images) are left out
 */
export function imageDataset(
  images: LoadedImages,
  items: readonly number[],
  names: InputNames = {},
): Dataset & { readonly items: readonly number[] } {
  const { image = 'image', label = 'label' } = names;
  const { size, listing } = images;
  const kept = items.filter((item) => images.has(item));
  const labels = Int32Array.from(kept, (item) => listing.items[item].label);
  const warp = createWarp(size);
  const length = 3 * size * size;
  return {
    size: kept.length,
    items: kept,
    classes: listing.classes,
    labels,
    paths: kept.map((item) => pathWithin(listing, listing.items[item])),
    groups: kept.map((item) => listing.items[item].group),
    async batch(indices, augmentation) {
      const data = new Float32Array(indices.length * length);
      const all = indices.map((index) => images.pixels(kept[index]));
      const pixels = all.some((one) => one instanceof Promise) ? await Promise.all(all) : (all as Uint8Array[]);
      indices.forEach((index, i) => {
        if (augmentation === undefined) {
          toPlanes(pixels[i], size, data, i * length);
        } else {
          const { settings, seed, epoch } = augmentation;
          warp(pixels[i], drawAugmentation(settings, seed, epoch, kept[index]), data, i * length);
        }
      });
      return {
        [image]: { dtype: 'float32', shape: [indices.length, 3, size, size], data },
        [label]: { dtype: 'int64', shape: [indices.length], data: BigInt64Array.from(indices, (index) => BigInt(labels[index])) },
      };
    },
  };
}

/** The largest class index that a file of arrays may have. */
export const largestClass = 65_535;

/**
 * The arrays of a safetensors file as examples: each array's leading axis is the example. Arrays that are not asked for are left alone.
 * Class indices may be floating-point numbers, as other tools store them, as long as they are whole.
 *
 * @param inputNames the model's inputs, labels included
 * @param labelName which of them is the class index; null where none is
 * @throws ARRAYS_INPUT_MISSING, ARRAYS_LENGTHS_DIFFER, DATA_EMPTY, DATA_LABEL (a class index that is not whole, below 0 or above
 * {@link largestClass}), ARRAYS_NOT_FINITE (an array with NaN or infinity, or beyond float32) and those of {@link readSafetensors}
 */
export function openArrays(path: string, inputNames: readonly string[], labelName: string | null = 'label'): Dataset {
  const { tensors } = readSafetensors(path);
  const missing = inputNames.filter((name) => !tensors.has(name));
  if (missing.length > 0) {
    throw new DdrcError({
      code: 'ARRAYS_INPUT_MISSING',
      message: `the file has no array "${missing[0]}", which the model takes`,
      notes: [{ label: 'arrays', text: [...tensors.keys()].join(', ') || 'none' }],
      where: path,
      hint: `name the arrays like the model's inputs: ${inputNames.join(', ')}`,
    });
  }
  const arrays = new Map(inputNames.map((name) => [name, tensors.get(name)!]));
  const sizes = new Set([...arrays.values()].map(({ shape }) => shape[0] ?? -1));
  if (sizes.size > 1 || sizes.has(-1)) {
    throw new DdrcError({
      code: 'ARRAYS_LENGTHS_DIFFER',
      message: 'the arrays do not have the same number of examples',
      notes: [...arrays].map(([name, { shape }]) => ({ label: name, text: `[${shape.join(',')}]` })),
      where: path,
      hint: 'the first axis of each array counts the examples',
    });
  }
  const [size] = sizes;
  if (size === undefined || size === 0)
    throw new DdrcError({
      code: 'DATA_EMPTY',
      message: 'the arrays hold no examples',
      where: path,
      hint: 'give a file whose arrays have examples along their first axis',
    });
  const labels = labelName === null ? null : labelsOf(path, labelName, arrays.get(labelName));
  if (labels) arrays.set(labelName!, { dtype: 'int64', shape: [size], data: BigInt64Array.from(labels, BigInt) });
  for (const [name, array] of arrays) checkFinite(path, name, array);
  return {
    size,
    classes: null,
    labels,
    batch: async (indices) => Object.fromEntries([...arrays].map(([name, array]) => [name, gatherRows(array, indices)])),
  };
}

/** A part of a data set. An example is varied as it would be in the whole. */
export function subset(dataset: Dataset, indices: readonly number[]): Dataset {
  const { labels, paths, groups } = dataset;
  return {
    size: indices.length,
    classes: dataset.classes,
    labels: labels && Int32Array.from(indices, (index) => labels[index]),
    paths: indices.map((index) => paths?.[index] ?? String(index)),
    groups: groups && indices.map((index) => groups[index]),
    batch: (some, augmentation) =>
      dataset.batch(
        some.map((i) => indices[i]),
        augmentation,
      ),
  };
}

/** The order in which an epoch takes `size` examples: each permutation equally likely, the same for the same seed and epoch. */
export function epochOrder(size: number, seed: number | string, epoch: number): number[] {
  return Array.from(permutation(size, random(seed, 'order', epoch)));
}

function labelsOf(path: string, name: string, array: TensorData | undefined): Int32Array | null {
  if (array === undefined || array.shape.length !== 1 || array.dtype === 'bool') return null;
  const values = array.data as ArrayLike<number | bigint>;
  const isClass = (value: number | bigint) =>
    value >= 0 && value <= largestClass && (typeof value === 'bigint' || Number.isInteger(value));
  const wrong = Array.prototype.findIndex.call(values, (value: number | bigint) => !isClass(value));
  if (wrong >= 0) {
    const range = `from 0 to ${largestClass} at most`;
    throw new DdrcError({
      code: 'DATA_LABEL',
      message: `the array "${name}" has an example of class ${values[wrong]}, and classes are whole numbers ${range}`,
      where: `${path}, example ${wrong}`,
      hint: 'number the classes from 0 on, without gaps',
    });
  }
  return Int32Array.from(values, Number);
}

/** One number that is not finite makes the loss of its batch, and from then on every parameter, NaN. */
function checkFinite(path: string, name: string, { dtype, shape, data }: TensorData): void {
  if (dtype !== 'float32' && dtype !== 'float64') return;
  const values = data as Float32Array | Float64Array;
  const wrong = values.findIndex((value) => !Number.isFinite(Math.fround(value)));
  if (wrong < 0) return;
  const example = Math.floor(wrong / (values.length / shape[0]));
  const value = values[wrong];
  throw new DdrcError({
    code: 'ARRAYS_NOT_FINITE',
    message: `the array "${name}" has ${value} in example ${example}, ${Number.isFinite(value) ? 'beyond the largest float32' : 'and a loss needs finite numbers'}`,
    where: `${path}, example ${example}`,
    hint: 'correct the array, or leave the example out',
  });
}

function gatherRows(array: TensorData, indices: readonly number[]): TensorData {
  const row = array.shape.slice(1).reduce((a, b) => a * b, 1);
  const source = array.data as Float32Array;
  // Every one of the array types is made, sliced and set alike.
  const data = new (source.constructor as new (length: number) => Float32Array)(indices.length * row);
  indices.forEach((index, i) => {
    data.set(source.subarray(index * row, (index + 1) * row), i * row);
  });
  return { dtype: array.dtype, shape: [indices.length, ...array.shape.slice(1)], data };
}
