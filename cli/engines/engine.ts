import { basename } from 'node:path';
import { isDdrcError } from '../../diagnostics/error.ts';
import type { TensorData } from '../../runtime/tensor.ts';
import type { Feeds } from '../feeds.ts';

/** What an input takes in one run. */
export interface InputPort {
  readonly name: string;
  readonly dtype: TensorData['dtype'];
  /** All sizes are numbers, the first is {@link ModelFile.rows}. */
  readonly shape: readonly number[];
}

/** An inference model that several engines are to run. */
export interface ModelFile {
  readonly path: string;
  readonly bytes: Uint8Array;
  readonly inputs: readonly InputPort[];
  /** The output of probabilities [rows,classes]. */
  readonly output: string;
  readonly classes: number;
  /** Examples in one run: 1, unless the file was built for another batch. */
  readonly rows: number;
}

/** A model that an engine has loaded. */
export interface LoadedModel {
  /** The probabilities of the examples, row by row. The feeds stay as they are. */
  run(feeds: Feeds): Promise<Float32Array>;
  close(): Promise<void>;
}

/** An engine that is here. */
export interface OnnxEngine {
  readonly name: string;
  readonly version: string;
  /**
   * Loads a model.
   * @returns null from a checker, which accepts the file and runs nothing
   * @throws Error with the engine's own words where it refuses the file
   */
  open(model: ModelFile): Promise<LoadedModel | null>;
}

/** Where engines that do not come with ddrc are looked for. */
export interface Places {
  /** Folders whose `node_modules`, or one above them, may hold a package. */
  readonly folders: readonly string[];
  /** Commands that may start a Python. */
  readonly pythons: readonly string[];
}

/** What there may be none, one, or several versions of. */
export interface EngineKind {
  readonly name: string;
  /** The engines of this kind, or why there is none, in one clause. */
  find(places: Places): Promise<readonly OnnxEngine[] | string>;
}

const longest = 320;

/** What an engine said, on one line, without the places of its own source and of the model. */
export function ownWords(error: unknown, model: ModelFile): string {
  const text = isDdrcError(error)
    ? (error.notes.find(({ label }) => label === 'said')?.text ?? error.message)
    : error instanceof Error
      ? error.message
      : String(error);
  const line = text
    .replaceAll(model.path, basename(model.path))
    .replaceAll(/OpenCV\([^)]*\) \S+: error: /g, '')
    .replaceAll(/\/[\w.+-]+(\/[\w.+-]+)+\//g, '…/')
    .replaceAll(/(^|\s)>+(?=\s)/g, ' ')
    .replaceAll(/\s+/g, ' ')
    .trim();
  return line.length > longest ? `${line.slice(0, longest).trimEnd()} …` : line || 'it gave no reason';
}
