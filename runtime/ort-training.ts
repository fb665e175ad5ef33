import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { DdrcError } from '../diagnostics/error.ts';
import type { Manifest } from './manifest.ts';
import type { OrtTrainingSettings } from './ort-training-worker.ts';

/** The package that holds onnxruntime-web 1.19, beside the current version of that name. */
const packageName = 'onnxruntime-web-training';

/**
 * What an engine needs to train by ONNX Runtime's training API: `new Engine({ ortTraining: ortTraining(manifest) })`, which then takes `training_model.onnx`,
 * `eval_model.onnx` and `optimizer_model.onnx`. One thread of the processor.
 * @param frozen names of the parameters that `training_model.onnx` does not train
 * @throws DdrcError PROVIDER_MISSING where the package with that API is not installed
 */
export function ortTraining({ parameters, statistics }: Manifest, frozen: readonly string[] = []): OrtTrainingSettings {
  const main = [import.meta.url, pathToFileURL(join(process.cwd(), 'package.json'))].map(resolved).find((path) => path !== null);
  if (!main) {
    throw new DdrcError({
      code: 'PROVIDER_MISSING',
      message: "ONNX Runtime's training API is not installed: onnxruntime-web 1.19.2 is the last version that has it",
      where: '--engine',
      hint: `npm install ${packageName}@npm:onnxruntime-web@1.19.2`,
    });
  }
  const library = pathToFileURL(join(dirname(main), 'ort.training.wasm.mjs')).href;
  return { library, parameters, statistics, frozen };
}

function resolved(from: string | URL): string | null {
  try {
    return createRequire(from).resolve(packageName);
  } catch {
    return null;
  }
}
