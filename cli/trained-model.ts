import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { DdrcError } from '../diagnostics/error.ts';
import { shellWord } from '../diagnostics/shell-word.ts';
import { modelFile, type OpenModel, openModel } from '../runtime/predictor.ts';
import { chooseProvider, parseDevice } from '../runtime/providers.ts';
import { runPaths } from '../runtime/runfolder.ts';
import { hasEpoch } from './report/run-record.ts';

/** Where an inference model runs. */
export interface DeviceFlags {
  readonly device?: string;
  readonly threads?: number;
}

/**
 * Opens the model.onnx of a run folder, of a folder that `ddrc build` wrote, or a file, on the device that the flags name (default: the processor).
 * @throws DdrcError PROVIDER_UNKNOWN, PROVIDER_MISSING, FILE_MISSING (also for a run that has not finished an epoch) and those of {@link openModel}
 */
export async function openTrained(path: string, { device = 'cpu', threads }: DeviceFlags): Promise<OpenModel> {
  if (existsSync(join(path, 'config.json')) && !existsSync(modelFile(path))) {
    const weights = existsSync(join(path, 'best.safetensors'));
    const trained = weights || hasEpoch(runPaths(path));
    const resume = `ddrc train --resume ${shellWord(path)}`;
    throw new DdrcError({
      code: 'FILE_MISSING',
      message: `the run in ${path} has ${trained ? 'lost its model.onnx' : 'no model.onnx yet: it has not finished an epoch'}${trained && !weights ? ' and its best.safetensors' : ''}`,
      where: modelFile(path),
      hint: !trained
        ? `go on with ${resume}`
        : weights
          ? `have it written again by ${resume}`
          : 'bring the files back, or train anew',
    });
  }
  const { provider } = await chooseProvider(parseDevice(device));
  return openModel(path, { provider, threads });
}
