import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { DdrcError } from '../diagnostics/error.ts';
import { modelFile, type OpenModel, openModel } from '../runtime/predictor.ts';
import { chooseProvider, parseDevice } from '../runtime/providers.ts';

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
    const trained = existsSync(join(path, 'best.safetensors'));
    throw new DdrcError({
      code: 'FILE_MISSING',
      message: `the run in ${path} has ${trained ? 'lost its model.onnx' : 'no model.onnx yet: it has not finished an epoch'}`,
      where: modelFile(path),
      hint: `${trained ? 'have it written again by' : 'go on with'} ddrc train --resume ${path}`,
    });
  }
  const { provider } = await chooseProvider(parseDevice(device));
  return openModel(path, { provider, threads });
}
