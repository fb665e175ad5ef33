import { join } from 'node:path';
import { DdrcError, isDdrcError } from '../diagnostics/error.ts';
import { Engine, trainingSession } from '../runtime/engine.ts';
import { readBytes } from '../runtime/files.ts';

/** Sessions that are made at a time: one would take longer than the compilation, more would stand in each other's way. */
const lanes = 2;

/** Those of the files that this ONNX Runtime knows all operators of: none with those of its training API, which are in no current release. */
export function checkable(names: readonly string[]): string[] {
  return names.filter((name) => name !== 'training_model.onnx' && name !== 'optimizer_model.onnx');
}

/**
 * Makes a session of each of these ONNX files on the CPU: of `model.onnx` as its users will, of the training graphs as they were written, without ONNX
 * Runtime's own optimizations.
 * @throws DdrcError EMITTED_REFUSED with ONNX Runtime's own sentence
 */
export async function checkSessions(folder: string, names: readonly string[]): Promise<void> {
  const check = async (name: string, engine: Engine) => {
    try {
      await engine.open(name, readBytes(join(folder, name)), name === 'model.onnx' ? {} : trainingSession);
      await engine.release(name);
    } catch (error) {
      throw isDdrcError(error) && error.code === 'ENGINE_FAILED' ? refused(name, error) : error;
    }
  };
  await Promise.all(
    Array.from({ length: lanes }, async (_, lane) => {
      const engine = new Engine({ threads: 1 });
      try {
        for (const name of names.filter((_, i) => i % lanes === lane)) await check(name, engine);
      } finally {
        await engine.close();
      }
    }),
  );
}

function refused(name: string, error: DdrcError): DdrcError {
  const said = error.notes.find(({ label }) => label === 'said')?.text ?? error.message;
  return new DdrcError({
    code: 'EMITTED_REFUSED',
    message: `ONNX Runtime refuses ${name}, which is a defect of ddrc`,
    notes: [{ label: 'it says', text: said.split('\n')[0] }],
    where: error.where,
    hint: 'please report it, with the model file',
    cause: error,
  });
}
