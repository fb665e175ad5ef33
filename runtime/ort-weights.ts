import { DdrcError } from '../diagnostics/error.ts';
import type { OrtCheckpoint, OrtOptimizer } from './ort-checkpoint.ts';
import type { Safetensors } from './safetensors.ts';
import type { TensorData } from './tensor.ts';

/** What ddrc's files of parameters put before a parameter's name for its moments, in the order of ONNX Runtime's `momentum0` and `momentum1`. */
const prefixes = ['m:', 'v:'];

/** Keys of a safetensors file's metadata for what ddrc's own files do not have. */
const keys = {
  frozen: 'frozen',
  initialLearningRate: 'ort.initial_learning_rate',
  property: { bigint: 'ort.int.', number: 'ort.float.', string: 'ort.string.' },
} as const;

/**
 * A checkpoint of ONNX Runtime as ddrc names things in its safetensors files: parameters and statistics by name, moments as `m:NAME` and `v:NAME`, `step`
 * int64 []. Which parameters are frozen (where no moments say it), the initial learning rate and the properties go into the metadata.
 * @param where the checkpoint's file, for messages
 * @throws DdrcError ORT_CHECKPOINT_UNSUPPORTED where a parameter's name is that of something else there
 */
export function safetensorsOf({ trainable, frozen, optimizer, properties }: OrtCheckpoint, where: string): Safetensors {
  const tensors = new Map([...trainable, ...frozen]);
  for (const name of tensors.keys()) {
    if (name === 'step' || name === '__metadata__' || prefixes.some((prefix) => name.startsWith(prefix))) {
      throw new DdrcError({
        code: 'ORT_CHECKPOINT_UNSUPPORTED',
        message: `${where} has a parameter '${name}', a name that has another meaning in ddrc's files`,
        where: `${where}, tensor '${name}'`,
        hint: 'rename the parameter in the model that the checkpoint is of',
      });
    }
  }
  const metadata: Record<string, string> = {};
  if (optimizer) {
    prefixes.forEach((prefix, i) => {
      for (const [name, moments] of optimizer.moments) if (i < moments.length) tensors.set(prefix + name, moments[i]);
    });
    tensors.set('step', { dtype: 'int64', shape: [], data: BigInt64Array.of(BigInt(optimizer.step)) });
    metadata[keys.initialLearningRate] = textOf(optimizer.initialLearningRate);
  }
  if (![...(optimizer?.moments.values() ?? [])].some(({ length }) => length > 0)) {
    metadata[keys.frozen] = JSON.stringify([...frozen.keys()]);
  }
  for (const [name, value] of properties) {
    metadata[keys.property[typeof value as keyof typeof keys.property] + name] = textOf(value);
  }
  return { tensors, metadata };
}

/**
 * The reverse of {@link safetensorsOf}, for any file that names parameters as ddrc does. Frozen is what its metadata list; where they list none, what has no moments, or in
 * a file without moments integers and what ends in `running_mean`, `running_var` or `num_batches_tracked`. The state of another optimizer than Adam, as ddrc's
 * checkpoints tell it, is left out.
 * @param where the safetensors file, for messages
 * @throws DdrcError CHECKPOINT_INVALID where moments or step are there in part; ORT_CHECKPOINT_INVALID where the whole is written, for other faults
 */
export function ortCheckpointOf({ tensors, metadata }: Safetensors, where: string, version: 1 | 2): OrtCheckpoint {
  const isMoment = (name: string) => prefixes.some((prefix) => name.startsWith(prefix));
  // The averages of a training are no part of the model, nor of what ONNX Runtime goes on with.
  const isAverage = (name: string) => name.startsWith('ema:') && tensors.has(name.slice(4));
  const names = [...tensors.keys()].filter((name) => name !== 'step' && !isMoment(name) && !isAverage(name));
  const stray = [...tensors.keys()].find((name) => isMoment(name) && !tensors.has(name.slice(2)));
  if (stray !== undefined) throw invalid(where, stray, `${where} has '${stray}' but no parameter '${stray.slice(2)}'`);
  const step = stepOf(tensors.get('step'), where);
  const present = prefixes.findLastIndex((prefix) => names.some((name) => tensors.has(prefix + name))) + 1;
  if (present > 0 && step === null) throw invalid(where, 'step', `${where} has moments but no step`);
  const hasMoments = (name: string) => prefixes.slice(0, present).some((prefix) => tensors.has(prefix + name));
  const listed = present > 0 && metadata[keys.frozen] === undefined;
  const isFrozen = listed ? (name: string) => !hasMoments(name) : frozenByName(tensors, metadata, where);
  // Another optimizer's moments mean nothing to AdamW, nor does a count of steps without any, of which its bias correction would make too much.
  const isAdam = metadata.slots === undefined || (metadata.slots === 'moment1,moment2' && present > 0);
  const count = isAdam ? present : 0;
  const part = (wanted: (name: string) => boolean) => new Map(names.filter(wanted).map((name) => [name, tensors.get(name)!]));
  const trainable = part((name) => !isFrozen(name));
  const moments = new Map<string, TensorData[]>();
  for (const name of count > 0 ? trainable.keys() : []) {
    const own = prefixes.slice(0, count).map((prefix) => {
      const moment = tensors.get(prefix + name);
      if (!moment) throw invalid(where, prefix + name, `${where} has no '${prefix}${name}', but other moments`);
      return moment;
    });
    moments.set(name, own);
  }
  const optimizer: OrtOptimizer | null =
    step === null || !isAdam
      ? null
      : { step, initialLearningRate: numberOf(metadata, keys.initialLearningRate, where) ?? 0, moments };
  return { version, trainable, frozen: part(isFrozen), optimizer, properties: propertiesOf(metadata, where) };
}

function invalid(where: string, place: string, message: string): DdrcError {
  const hint = 'a file has m:NAME, or m:NAME and v:NAME, for each parameter that is trained, and step; or none of them';
  return new DdrcError({ code: 'CHECKPOINT_INVALID', message, where: `${where}, '${place}'`, hint });
}

function stepOf(step: TensorData | undefined, where: string): number | null {
  if (!step) return null;
  const value = step.dtype === 'int64' && step.data.length === 1 ? Number(step.data[0]) : -1;
  if (!Number.isSafeInteger(value) || value < 0)
    throw invalid(where, 'step', `'step' of ${where} is not one whole number (int64)`);
  return value;
}

function frozenByName(
  tensors: ReadonlyMap<string, TensorData>,
  metadata: Readonly<Record<string, string>>,
  where: string,
): (name: string) => boolean {
  if (metadata[keys.frozen] === undefined) {
    return (name) => tensors.get(name)!.dtype === 'int64' || /(^|\.)(running_mean|running_var|num_batches_tracked)$/.test(name);
  }
  let listed: unknown;
  try {
    listed = JSON.parse(metadata[keys.frozen]);
  } catch {
    // Told below.
  }
  if (!Array.isArray(listed)) throw unreadable(keys.frozen, where);
  const frozen = new Set(listed);
  return (name) => frozen.has(name);
}

function propertiesOf(metadata: Readonly<Record<string, string>>, where: string): Map<string, bigint | number | string> {
  const all = new Map<string, bigint | number | string>();
  for (const [key, text] of Object.entries(metadata)) {
    const type = (['bigint', 'number', 'string'] as const).find((type) => key.startsWith(keys.property[type]));
    if (!type) continue;
    const value =
      type === 'string' ? text : type === 'number' ? numberOf(metadata, key, where)! : integerOf(metadata, key, where);
    all.set(key.slice(keys.property[type].length), value);
  }
  return all;
}

/** A number so that `Number` reads it back as it is, also the zero with a sign. */
function textOf(value: bigint | number | string): string {
  return Object.is(value, -0) ? '-0' : String(value);
}

function numberOf(metadata: Readonly<Record<string, string>>, key: string, where: string): number | null {
  const text = metadata[key];
  if (text === undefined) return null;
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (Number.isNaN(value) && text !== 'NaN') throw unreadable(key, where);
  return value;
}

function integerOf(metadata: Readonly<Record<string, string>>, key: string, where: string): bigint {
  // Longer ones have more than 64 bits, and a text of megabytes would take minutes.
  if (!/^-?\d{1,19}$/.test(metadata[key])) throw unreadable(key, where);
  return BigInt(metadata[key]);
}

function unreadable(key: string, where: string): DdrcError {
  const message = `the metadata of ${where} cannot be read: '${key}'`;
  const hint = 'take the key out of the metadata, or write the file again with ddrc convert';
  return new DdrcError({ code: 'CHECKPOINT_INVALID', message, where, hint });
}
