import { existsSync } from 'node:fs';
import { frozenBy } from '../compiler/artifacts/frozen.ts';
import { DdrcError } from '../diagnostics/error.ts';
import { loadStart, loadWeights } from '../runtime/checkpoint.ts';
import { writeFileAtomic } from '../runtime/files.ts';
import { expectedState } from '../runtime/manifest.ts';
import type { ProgressDisplay } from '../runtime/progress.ts';
import { addNotes, type RunPaths } from '../runtime/runfolder.ts';
import type { TensorData } from '../runtime/tensor.ts';
import { type TrainResult, train } from '../runtime/trainer.ts';
import { asTensors, compileModel, namedTensors, resetLines } from './compile-for-device.ts';
import { type Prepared, scheduleOf } from './train-prepare.ts';
import { checkExport } from './verification.ts';

export interface RunRequest {
  readonly prepared: Prepared;
  /** The files of a run folder that this process has locked. */
  readonly paths: RunPaths;
  readonly resume: boolean;
  readonly cache: string | null;
  readonly signal: AbortSignal;
  readonly display: ProgressDisplay;
  /** Called when all examples are there and the first checkpoint is about to be written: from here on there is something to resume. */
  readonly onBegin: () => void;
}

/**
 * Writes a run's model.onnx from its best weights.
 * @throws DdrcError of checkpoints and files
 */
export function exportBest({ program, settings, compiled }: Prepared, paths: RunPaths): void {
  const expected = expectedState(compiled.manifest);
  const best = namedTensors(expected, loadWeights(paths.best, expected));
  writeFileAtomic(paths.model, compileModel(program, best, settings.classes));
}

/** The parameters and statistics that a training begins with; `say` is told of those that the file of weights has in another shape. */
export function startOf({ settings, compiled }: Prepared, resume: boolean, say: (line: string) => void): Map<string, TensorData> {
  const initial = asTensors(compiled.initial);
  if (settings.weights === null) return initial;
  if (resume && !existsSync(settings.weights)) {
    throw new DdrcError({
      code: 'FILE_MISSING',
      message: `${settings.weights} does not exist, and the run has no checkpoint yet: it was started with --weights of this file`,
      where: settings.weights,
      hint: 'bring the file back, or start a new run',
    });
  }
  const expected = expectedState(compiled.manifest);
  const start = loadStart(settings.weights, expected, settings.resetHead ? initial : null);
  if (!resume) for (const line of resetLines(start.reset)) say(line);
  return namedTensors(expected, start);
}

/** The most notes about the examples that a run keeps. */
const mostNotes = 20;

function shortened(notes: readonly string[]): string[] {
  const rest = notes.length - mostNotes;
  return rest > 0 ? [...notes.slice(0, mostNotes), `There are ${rest} more such notes.`] : [...notes];
}

/**
 * Reads the examples and trains into a run folder: checkpoints, metrics and, for each best epoch, model.onnx.
 * @throws DdrcError of the data, of files, LOSS_NOT_FINITE
 */
export async function carryOut({ prepared, paths, resume, cache, signal, display, onBegin }: RunRequest): Promise<TrainResult> {
  const { program, source, settings, compiled } = prepared;
  const { manifest, files } = compiled;
  const expected = expectedState(manifest);
  // What a checkpoint has takes the place of the weights of the start, whose file may be gone since.
  const goesOn = resume && existsSync(paths.last);
  const weights = goesOn ? asTensors(compiled.initial) : startOf(prepared, resume, (line) => display.print(line));
  const data = await source.load(['train', 'val', 'test'], {
    cache,
    onBadImage: settings.data.onBadImage,
    onProgress: (what, done, total) => display.count(what, done, total),
  });
  try {
    for (const note of data.notes) display.print(note);
    if (!resume && data.notes.length > 0) addNotes(paths, shortened(data.notes));
    const { train: examples, val, test } = data.parts;
    if (!examples)
      throw new DdrcError({ code: 'DATA_EMPTY', message: 'there are no examples to train on', hint: 'give more data' });
    onBegin();
    const result = await train({
      manifest,
      files,
      weights,
      data: { train: examples, val, test },
      epochs: settings.epochs,
      batch: settings.batch,
      accumulate: settings.accumulate,
      loop: settings.loop,
      schedule: scheduleOf(settings, examples.size),
      seed: settings.seed,
      patience: settings.patience,
      augmentation: settings.augmentation,
      mix: settings.mix,
      paths,
      resume,
      engine: settings.engine,
      frozen: manifest.parameters.map(({ name }) => name).filter(frozenBy(program, settings.freeze)),
      provider: settings.provider,
      threads: settings.threads,
      signal,
      onUpdate: (update) => display.update(update),
      onEpoch: (line) => display.epoch(line, settings.epochs),
      onBest: (best) => writeFileAtomic(paths.model, compileModel(program, namedTensors(expected, best), settings.classes)),
    });
    const checked = result.stopped ? null : await checkExport(paths.model, test ?? val ?? examples);
    if (checked) display.print(checked);
    return result;
  } finally {
    await data.close();
  }
}
