import { DdrcError } from '../diagnostics/error.ts';
import type { BatchAugmentation, Dataset } from './data/dataset.ts';
import type { SessionPort } from './engine.ts';
import type { TensorData } from './tensor.ts';

/** Examples, ready to be fed. */
export interface Batch {
  /** The number of examples. */
  readonly size: number;
  readonly feeds: Record<string, TensorData>;
  /** The class of each example, or null where there is none. */
  readonly labels: Int32Array | null;
}

/**
 * Fetches examples from a data set and brings them into the element types that a graph takes.
 * @param ports the inputs to fill; other arrays of the data set are left out
 */
export async function prepareBatch(
  dataset: Dataset,
  ports: readonly SessionPort[],
  indices: readonly number[],
  augmentation?: BatchAugmentation,
): Promise<Batch> {
  const arrays = await dataset.batch(indices, augmentation);
  const labels = dataset.labels && Int32Array.from(indices, (index) => dataset.labels![index]);
  return {
    size: indices.length,
    feeds: Object.fromEntries(ports.map((port) => [port.name, toPort(arrays[port.name], port)])),
    labels,
  };
}

/**
 * Carries items through two stages: prepared and started, then run and taken in. With `beside`, the next item is prepared while one runs. Without, it is
 * prepared when that one is done: where the run uses every processor, a thread beside it holds all of the run's threads up at each operator, which costs more
 * than the preparation takes alone.
 * @param start prepares an item and starts its run; null ends the whole, after what is running has been taken in
 * @param take receives the results in order, with their items
 */
export async function overlap<T, R>(
  items: readonly T[],
  start: (item: T) => Promise<{ readonly running: Promise<R> } | null>,
  take: (result: R, item: T) => void,
  beside = true,
): Promise<void> {
  let previous: { readonly running: Promise<R>; readonly item: T } | null = null;
  for (const item of items) {
    if (!beside && previous) {
      take(await previous.running, previous.item);
      previous = null;
    }
    const started = await start(item);
    // Its failure is thrown where the result is awaited.
    started?.running.catch(() => {});
    if (previous) take(await previous.running, previous.item);
    previous = started && { running: started.running, item };
    if (!started) return;
  }
  if (previous) take(await previous.running, previous.item);
}

/** Consecutive runs of `size` entries; what is left at the end is a shorter one, or dropped. */
export function cut<T>(order: readonly T[], size: number, { dropRest = false } = {}): T[][] {
  const count = dropRest ? Math.floor(order.length / size) : Math.ceil(order.length / size);
  return Array.from({ length: count }, (_, i) => order.slice(i * size, (i + 1) * size));
}

/**
 * Checks on the first example, and on all labels, that a model can take a data set.
 * @param what names the data set in messages: `the training data`
 * @param classes how many classes the model tells apart, null where it does not classify
 * @throws DdrcError ARRAYS_INPUT_MISSING, DATA_SHAPE, DATA_LABEL, DATA_CLASSES_DIFFER, DATA_EMPTY
 */
export async function checkExamples(
  what: string,
  dataset: Dataset,
  ports: readonly SessionPort[],
  classes: number | null,
): Promise<void> {
  if (dataset.size === 0)
    throw new DdrcError({ code: 'DATA_EMPTY', message: `${what} holds no examples`, hint: 'give another split, or more data' });
  const arrays = await dataset.batch([0]);
  for (const { name, shape } of ports) {
    const array = arrays[name];
    if (!array) {
      const message = `${what} has no "${name}", which the model takes`;
      const hint = `name its arrays like the model's inputs: ${ports.map((port) => port.name).join(', ')}`;
      throw new DdrcError({ code: 'ARRAYS_INPUT_MISSING', message, hint });
    }
    const own = isBytes(ports.find((port) => port.name === name)!, array) ? [1, shape[3], shape[1], shape[2]] : shape;
    if (
      own.length !== array.shape.length ||
      own.some((size, axis) => axis > 0 && typeof size === 'number' && size !== array.shape[axis])
    ) {
      throw new DdrcError({
        code: 'DATA_SHAPE',
        message: `${what} has "${name}" of another shape than the model takes`,
        notes: [
          {
            label: 'data',
            text: `[N${array.shape
              .slice(1)
              .map((size) => `,${size}`)
              .join('')}]`,
          },
          { label: 'model', text: `[${shape.join(',')}]` },
        ],
        hint: 'build the model for this size with --option, or give other data',
      });
    }
  }
  if (classes === null) return;
  if (dataset.classes && dataset.classes.length !== classes) {
    const message = `${what} has ${dataset.classes.length} classes, the model tells ${classes} apart`;
    const hint = `train a model with --option classes=${dataset.classes.length}`;
    throw new DdrcError({
      code: 'DATA_CLASSES_DIFFER',
      message,
      notes: [{ label: 'classes', text: dataset.classes.join(', ') }],
      hint,
    });
  }
  const wrong = dataset.labels?.findIndex((label) => label < 0 || label >= classes) ?? -1;
  if (wrong < 0) return;
  throw new DdrcError({
    code: 'DATA_LABEL',
    message: `${what} has an example of class ${dataset.labels![wrong]}, the model knows 0 to ${classes - 1}`,
    where: `example ${wrong}`,
    hint: 'correct the labels, or give the model more classes',
  });
}

/** Whether a port takes a decoder's bytes [N,H,W,C] where the data has planes [N,C,H,W]. */
function isBytes(port: SessionPort, array: TensorData): boolean {
  return port.dtype === 'uint8' && array.dtype === 'float32' && array.shape.length === 4;
}

/**
 * An array in the element type that a port takes; planes [N,C,H,W] in [0,1] as bytes [N,H,W,C] where it takes those.
 * @throws DdrcError DTYPE_MISMATCH where the port takes whole numbers and the array has others
 */
export function toPort(array: TensorData, port: SessionPort): TensorData {
  if (isBytes(port, array)) return toBytes(array);
  const { dtype, shape, data } = array;
  if (dtype === port.dtype) return array;
  const numbers = data as ArrayLike<number | bigint>;
  if (['int64', 'int32', 'uint8'].includes(port.dtype) && (dtype === 'float32' || dtype === 'float64')) checkWhole(array, port);
  switch (port.dtype) {
    case 'float32':
      return { dtype: 'float32', shape, data: Float32Array.from(numbers, Number) };
    case 'int64':
      return { dtype: 'int64', shape, data: BigInt64Array.from(numbers as ArrayLike<bigint>, BigInt) };
    case 'int32':
      return { dtype: 'int32', shape, data: Int32Array.from(numbers, Number) };
    case 'uint8':
      return { dtype: 'uint8', shape, data: Uint8Array.from(numbers, Number) };
    case 'bool':
      return { dtype: 'bool', shape, data: Uint8Array.from(numbers, (value) => Number(Number(value) !== 0)) };
    default:
      return array;
  }
}

function checkWhole({ dtype, data }: TensorData, { name, dtype: wanted }: SessionPort): void {
  const fraction = (data as Float32Array | Float64Array).find((value) => !Number.isInteger(value));
  if (fraction === undefined) return;
  throw new DdrcError({
    code: 'DTYPE_MISMATCH',
    message: `the array "${name}" is ${dtype} and has ${fraction}, which is not a whole number, but the model takes ${wanted}`,
    hint: `store "${name}" as ${wanted}`,
  });
}

/** Planes [N,C,H,W] in [0,1] as bytes [N,H,W,C]. */
function toBytes({ shape, data }: TensorData): TensorData {
  const [n, c, h, w] = shape;
  const bytes = new Uint8Array(n * c * h * w);
  const area = h * w;
  for (let image = 0; image < n; image++) {
    for (let channel = 0; channel < c; channel++) {
      const from = (image * c + channel) * area;
      for (let pixel = 0; pixel < area; pixel++)
        bytes[(image * area + pixel) * c + channel] = Math.round((data[from + pixel] as number) * 255);
    }
  }
  return { dtype: 'uint8', shape: [n, h, w, c], data: bytes };
}
