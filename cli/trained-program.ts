import { existsSync } from 'node:fs';
import { compile } from '../compiler/compile.ts';
import type { Program } from '../compiler/ir/program.ts';
import type { Manifest } from '../contract/manifest.ts';
import { DdrcError } from '../diagnostics/error.ts';
import { shellWord } from '../diagnostics/shell-word.ts';
import { loadWeights } from '../runtime/checkpoint.ts';
import { expectedState } from '../runtime/manifest.ts';
import { openRun } from '../runtime/runfolder.ts';
import type { TensorData } from '../runtime/tensor.ts';
import { namedTensors } from './compile-for-device.ts';
import { instantiate, loadModel } from './load-model.ts';
import { hasEpoch } from './report/run-record.ts';
import { settingsOf, type TrainSettings } from './train-settings.ts';

/** A run's model, ready to be compiled with the weights of its best epoch. */
export interface TrainedProgram {
  readonly program: Program;
  readonly settings: TrainSettings;
  /** Tables of parameters and statistics, and no files. */
  readonly manifest: Manifest;
  /** Parameters and statistics of the best epoch by name. */
  readonly weights: ReadonlyMap<string, TensorData>;
}

/**
 * Loads the model of a run as it was trained.
 * @throws DdrcError of runs, checkpoints and model files; FILE_MISSING where no epoch is finished
 */
export async function openTrainedProgram(folder: string): Promise<TrainedProgram> {
  const run = openRun(folder);
  const settings = settingsOf(run.config, run.paths.folder);
  if (!existsSync(run.paths.best)) {
    const gone = hasEpoch(run.paths);
    throw new DdrcError({
      code: 'FILE_MISSING',
      message: gone
        ? `the weights of the run in ${folder} are gone: its best.safetensors is missing`
        : `the run in ${folder} has no weights yet: it has not finished an epoch`,
      where: run.paths.best,
      hint: gone ? 'bring the file back, or train anew' : `go on with ddrc train --resume ${shellWord(folder)}`,
    });
  }
  const program = instantiate(await loadModel(settings.modelFile ?? undefined), settings.options);
  const { manifest } = compile(program, { artifacts: [], classes: settings.classes ?? undefined });
  const expected = expectedState(manifest);
  return { program, settings, manifest, weights: namedTensors(expected, loadWeights(run.paths.best, expected)) };
}
