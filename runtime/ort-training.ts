import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { DdrcError } from '../diagnostics/error.ts';
import type { Manifest } from './manifest.ts';
import type { OrtTrainingSettings } from './ort-training-worker.ts';

/** The package that holds onnxruntime-web 1.19, beside the current version of that name. */
const packageName = 'onnxruntime-web-training';
/** The version whose text the worker mends. */
const version = '1.19.2';

/**
 * What an engine needs to train by ONNX Runtime's training API: `new Engine({ ortTraining: ortTraining(manifest) })`, which then takes `training_model.onnx`,
 * `eval_model.onnx` and `optimizer_model.onnx`. One thread of the processor.
 * @param frozen names of the parameters that `training_model.onnx` does not train
 * @throws DdrcError PROVIDER_MISSING where the package with that API is not installed
 */
export function ortTraining({ parameters, statistics }: Manifest, frozen: readonly string[] = []): OrtTrainingSettings {
  const found = [import.meta.url, pathToFileURL(join(process.cwd(), 'package.json'))].map(resolved).find((path) => path !== null);
  const main = found && versionOf(found) === version ? found : null;
  if (!main) {
    throw new DdrcError({
      code: 'PROVIDER_MISSING',
      message: `ONNX Runtime's training API is not installed: onnxruntime-web ${version} is the last version that has it`,
      where: '--engine',
      hint: `npm install ${packageName}@npm:onnxruntime-web@${version}`,
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

/** The version of the package that a file in its `dist` belongs to; empty where that cannot be read. */
function versionOf(main: string): string {
  try {
    return JSON.parse(readFileSync(join(dirname(main), '../package.json'), 'utf8')).version;
  } catch {
    return '';
  }
}
