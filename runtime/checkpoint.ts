import { createHash } from 'node:crypto';
import type { TableEntry } from '../contract/manifest.ts';
import { DdrcError } from '../diagnostics/error.ts';
import { shellWord } from '../diagnostics/shell-word.ts';
import { readBytes, writeFileAtomic } from './files.ts';
import { checkNames, type ExpectedState, firstThree, modelHint, packed, unpackState, type Weights } from './flat-state.ts';
import { parseSafetensors, type Safetensors, serializeSafetensors } from './safetensors.ts';
import type { TensorData } from './tensor.ts';

/** How far a training has come: what it needs, besides the weights, to go on as if it had not stopped. All numbers are finite. */
export interface Progress {
  /** The epoch that is being trained, from 1. */
  readonly epoch: number;
  /** The number of batches of this epoch that are done. */
  readonly batch: number;
  /** The seed from which every random number of the training follows. */
  readonly seed: number | string;
  /** The lowest validation loss so far, or null. */
  readonly bestLoss: number | null;
  /** The epoch of {@link bestLoss}, or null. */
  readonly bestEpoch: number | null;
  /** The current epoch's metrics so far, as running sums. */
  readonly sums: Readonly<Record<string, number | readonly number[]>>;
}

/** Everything that a checkpoint holds. */
export interface Checkpoint extends Weights {
  readonly step: number;
  readonly modelHash: string;
  readonly progress: Progress;
  /** What the moments are, as the manifest's `slots` has it; only written, for {@link ortCheckpointOf}. */
  readonly slots?: readonly string[];
  /** Names of the parameters and statistics that are not trained, where some parameters are not; only written. */
  readonly frozen?: readonly string[];
}

const format = 'ddrc-checkpoint';
const version = '1';
const noChecksum = '0'.repeat(64);
const refetch = 'take another copy, or start a new run from what is left: --weights best.safetensors of the run';

/**
 * Writes a checkpoint, atomically: safetensors with parameters and statistics by name, moments as `m:NAME` and `v:NAME`, averages of both as `ema:NAME`, `step`
 * int64 [], and in the metadata format, version, model hash, progress (JSON) and the SHA-256 of the whole file (computed with 64 zeros in its own place).
 * The same state gives the same bytes.
 * @throws DdrcError CHECKPOINT_NOT_FINITE, so that a good checkpoint is never replaced by a useless one; OUTPUT_UNWRITABLE, DISK_FULL
 */
export function saveCheckpoint(path: string, tables: Pick<ExpectedState, 'parameters' | 'statistics'>, state: Checkpoint): void {
  const tensors = unpackState(tables.parameters, state.parameters);
  for (const [name, tensor] of unpackState(tables.statistics, state.statistics)) tensors.set(name, tensor);
  const put = (prefix: string, table: readonly TableEntry[], flat: Float32Array | undefined) => {
    if (flat) for (const [name, tensor] of unpackState(table, flat)) tensors.set(prefix + name, tensor);
  };
  put('m:', tables.parameters, state.moment1);
  put('v:', tables.parameters, state.moment2);
  put('ema:', tables.parameters, state.ema);
  put('ema:', tables.statistics, state.emaStatistics);
  tensors.set('step', { dtype: 'int64', shape: [], data: BigInt64Array.of(BigInt(state.step)) });
  checkFinite(tensors, path);
  const progress = JSON.stringify(state.progress);
  const bytes = serializeSafetensors(tensors, {
    format,
    version,
    model: state.modelHash,
    progress,
    sha256: noChecksum,
    ...(state.slots && { slots: state.slots.join() }),
    ...(state.frozen && { frozen: JSON.stringify(state.frozen) }),
  });
  placeChecksum(bytes, createHash('sha256').update(bytes).digest('hex'));
  writeFileAtomic(path, bytes);
}

/**
 * Reads a checkpoint and checks that it is whole, of this model, and finite, and has all of the state that is expected.
 * @throws DdrcError CHECKPOINT_INVALID (parameters only, a part of the state only, or another version), CHECKPOINT_DAMAGED, CHECKPOINT_MODEL, CHECKPOINT_NOT_FINITE, and those of
 * {@link readBytes} and {@link parseSafetensors}
 */
export function loadCheckpoint(path: string, expected: ExpectedState): Checkpoint {
  const file = readVerified(path);
  const { metadata } = file;
  if (metadata.format !== format) {
    const hint = 'start from it with --weights; only what ddrc train wrote can be resumed';
    throw new DdrcError({ code: 'CHECKPOINT_INVALID', message: `${path} holds no training state`, where: path, hint });
  }
  const weights = checkedWeights(path, file, expected);
  if (expected.modelHash !== undefined && metadata.model !== expected.modelHash) {
    throw new DdrcError({
      code: 'CHECKPOINT_MODEL',
      message: `${path} is of another version of the model`,
      notes: [
        { label: 'checkpoint', text: metadata.model },
        { label: 'model', text: expected.modelHash },
      ],
      where: path,
      hint: 'resume with the model file and options of that run, or start anew from its parameters with --weights',
    });
  }
  const progress = parseProgress(metadata.progress);
  if (!progress || weights.step === undefined) {
    const message = `${path} has no ${progress ? 'step' : 'valid progress'}`;
    throw new DdrcError({ code: 'CHECKPOINT_INVALID', message, where: path, hint: refetch });
  }
  const missing = missingState(weights, expected);
  if (missing) {
    const message = `${path} has no ${missing}, so a training cannot go on from it as if it had not stopped`;
    const hint = `start a new run from its weights: --weights ${shellWord(path)}`;
    throw new DdrcError({ code: 'CHECKPOINT_INVALID', message, where: path, hint });
  }
  return { ...weights, step: weights.step, modelHash: metadata.model, progress };
}

/** What a training would need and the weights come without; null: nothing. */
function missingState({ moment1, moment2, ema }: Weights, { slots = [], averaged = false }: ExpectedState): string | null {
  if (slots.some((_, i) => [moment1, moment2][i] === undefined)) return "optimizer's state";
  return averaged && ema === undefined ? 'averages of the weights' : null;
}

/**
 * Reads the parameters and statistics of a model from a checkpoint or from any safetensors file that names them, and the optimizer's state where it is there.
 * The checksum is checked where the file has one.
 * @throws DdrcError CHECKPOINT_INVALID (another version), CHECKPOINT_DAMAGED, CHECKPOINT_MODEL, CHECKPOINT_NOT_FINITE, and those of {@link readBytes}
 * and {@link parseSafetensors}
 */
export function loadWeights(path: string, expected: Pick<ExpectedState, 'parameters' | 'statistics'>): Weights {
  return checkedWeights(path, readVerified(path), expected);
}

/** A parameter that a file has in another shape than the model. */
export interface Reset {
  readonly name: string;
  readonly inFile: readonly number[];
  readonly inModel: readonly number[];
}

/** What a training or a build starts from. */
export interface Start extends Pick<Weights, 'parameters' | 'statistics'> {
  /** The parameters that were not taken from the file, in the table's order. */
  readonly reset: readonly Reset[];
}

/**
 * Reads the parameters and statistics that another training left, to start from; like {@link loadWeights}, but with a head of another size in place of the
 * file's where that is asked for.
 * Parameters and statistics in float64, as numpy has them, are rounded to float32.
 * @param anew values for the parameters that the file has in another shape, by name; null: such are an error. Moments and the step are then not looked at
 * @throws DdrcError those of {@link loadWeights}; CHECKPOINT_MODEL also where more than half of the parameters, counted by name, have another shape
 */
export function loadStart(
  path: string,
  expected: Pick<ExpectedState, 'parameters' | 'statistics'>,
  anew: ReadonlyMap<string, TensorData> | null,
): Start {
  const read = readVerified(path);
  const file = { ...read, tensors: inFloat32(read.tensors, path) };
  const reset = differentShapes(expected.parameters, file.tensors);
  const isHead = reset.length > 0 && 2 * reset.length <= expected.parameters.length;
  if (anew === null || reset.length === 0)
    return { ...checkedWeights(path, file, expected, isHead ? reset.length : 0), reset: [] };
  if (!isHead) {
    const shown = reset.map(({ name, inFile, inModel }) => `${name} ([${inFile}] in place of [${inModel}])`);
    throw new DdrcError({
      code: 'CHECKPOINT_MODEL',
      message: `${path} is of another model: ${reset.length} of ${expected.parameters.length} parameters have another shape, more than a head (${firstThree(shown)})`,
      where: path,
      hint: modelHint,
    });
  }
  const replaced = new Set(reset.map(({ name }) => name));
  const dropped = new Set([...besideNames(expected), ...replaced]);
  const tensors = new Map([
    ...[...file.tensors].filter(([name]) => !dropped.has(name)),
    ...[...anew].filter(([name]) => replaced.has(name)),
  ]);
  return { ...checkedWeights(path, { ...file, tensors }, expected), reset };
}

/** The tensors, float64 ones rounded. */
function inFloat32(tensors: ReadonlyMap<string, TensorData>, path: string): Map<string, TensorData> {
  const rounded = ([name, tensor]: [string, TensorData]): [string, TensorData] => {
    if (!(tensor.data instanceof Float64Array)) return [name, tensor];
    const data = Float32Array.from(tensor.data);
    const index = tensor.data.findIndex((value, i) => Number.isFinite(value) && !Number.isFinite(data[i]));
    if (index < 0) return [name, { dtype: 'float32', shape: tensor.shape, data }];
    throw new DdrcError({
      code: 'CHECKPOINT_NOT_FINITE',
      message: `${name} does not fit into float32: element ${index} is ${tensor.data[index]}`,
      where: `${path}, tensor '${name}'`,
      hint: 'numbers up to 3.4e38 fit',
    });
  };
  return new Map([...tensors].map(rounded));
}

function differentShapes(table: readonly TableEntry[], tensors: ReadonlyMap<string, TensorData>): Reset[] {
  return table.flatMap(({ name, shape }) => {
    const tensor = tensors.get(name);
    if (tensor?.dtype !== 'float32' || String(tensor.shape) === String(shape)) return [];
    return [{ name, inFile: tensor.shape, inModel: shape }];
  });
}

/** Writes the checksum over the one that the header has; false where it has none. */
function placeChecksum(bytes: Uint8Array, checksum: string): boolean {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const header = buffer.subarray(8, 8 + Number(buffer.readBigUInt64LE(0)));
  // The header's first occurrence is ours: the metadata stand first, and quotes within texts are escaped.
  const key = '"sha256":"';
  const at = header.indexOf(key);
  if (at < 0) return false;
  header.write(checksum, at + key.length, 'latin1');
  return true;
}

/**
 * Reads a safetensors file. One that ddrc wrote as a checkpoint has a checksum, which is checked.
 * @param bytes the file's content, where it has been read; the checksum in it is overwritten
 * @throws DdrcError CHECKPOINT_INVALID (another version), CHECKPOINT_DAMAGED, and those of {@link readBytes} and {@link parseSafetensors}
 */
export function readVerified(path: string, bytes = readBytes(path)): Safetensors {
  const file = parseSafetensors(bytes, path);
  const { metadata } = file;
  const hasChecksum = metadata.sha256 !== undefined;
  // A foreign file has neither. A flipped bit can hide one of the two keys, not both.
  if (metadata.format !== format && !hasChecksum) return file;
  let whole = false;
  if (metadata.format === format && metadata.sha256?.length === noChecksum.length) {
    whole = placeChecksum(bytes, noChecksum) && createHash('sha256').update(bytes).digest('hex') === metadata.sha256;
  }
  if (!whole) {
    const message = `${path} is damaged: its bytes do not have the checksum that was stored with them`;
    throw new DdrcError({ code: 'CHECKPOINT_DAMAGED', message, where: path, hint: refetch });
  }
  if (metadata.version !== version) {
    const message = `${path} has checkpoint version ${metadata.version}, this ddrc reads version ${version}`;
    const hint = 'use the version of ddrc that wrote it';
    throw new DdrcError({ code: 'CHECKPOINT_INVALID', message, where: path, hint });
  }
  return file;
}

/** @param resettable how many parameters `--reset-head` could initialise anew, for the hint where nothing else is wrong */
function checkedWeights(
  path: string,
  { tensors }: Safetensors,
  { parameters, statistics }: ExpectedState,
  resettable = 0,
): Weights {
  const beside = new Set(besideNames({ parameters, statistics }));
  checkNames([parameters, statistics], tensors, path, '', { beside, resettable });
  const taken = (prefix: string, table: readonly TableEntry[]) => {
    if (!table.some(({ name }) => tensors.has(prefix + name))) return undefined;
    checkNames([table], tensors, path, prefix);
    return packed(table, tensors, prefix);
  };
  checkFinite(tensors, path);
  const step = tensors.get('step');
  if (step && (step.dtype !== 'int64' || step.data.length !== 1 || BigInt(step.data[0]) < 0n)) {
    const message = `'step' of ${path} is not one whole number (int64)`;
    throw new DdrcError({ code: 'CHECKPOINT_INVALID', message, where: `${path}, tensor 'step'`, hint: refetch });
  }
  return {
    parameters: packed(parameters, tensors, ''),
    statistics: packed(statistics, tensors, ''),
    moment1: taken('m:', parameters),
    moment2: taken('v:', parameters),
    ema: taken('ema:', parameters),
    emaStatistics: taken('ema:', statistics),
    step: step && Number(step.data[0]),
  };
}

/** What a checkpoint may have beside parameters and statistics. */
function besideNames({ parameters, statistics }: Pick<ExpectedState, 'parameters' | 'statistics'>): string[] {
  const averages = [...parameters, ...statistics].map(({ name }) => `ema:${name}`);
  return ['step', ...parameters.flatMap(({ name }) => [`m:${name}`, `v:${name}`]), ...averages];
}

function checkFinite(tensors: ReadonlyMap<string, TensorData>, path: string): void {
  for (const [name, { data }] of tensors) {
    if (!(data instanceof Float32Array)) continue;
    const index = data.findIndex((value) => !Number.isFinite(value));
    if (index < 0) continue;
    throw new DdrcError({
      code: 'CHECKPOINT_NOT_FINITE',
      message: `${name} is not finite: element ${index} is ${data[index]}`,
      where: `${path}, tensor '${name}'`,
      hint: 'go back to an older checkpoint, and train on with a lower learning rate or with gradient clipping',
    });
  }
}

/** The progress that a checkpoint's metadata state; undefined where they state none that is usable. */
export function parseProgress(text: string | undefined): Progress | undefined {
  try {
    const value = JSON.parse(text ?? '') as Progress;
    const usable = Number.isInteger(value.epoch) && Number.isInteger(value.batch) && typeof value.sums === 'object';
    return usable ? value : undefined;
  } catch {
    return undefined;
  }
}
