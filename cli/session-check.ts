import { join } from 'node:path';
import { DdrcError, isDdrcError } from '../diagnostics/error.ts';
import { Engine } from '../runtime/engine.ts';
import { readBytes } from '../runtime/files.ts';

/**
 * Makes a session of each of these ONNX files on the CPU, as their users will, all at a time.
 * @throws DdrcError EMITTED_REFUSED with ONNX Runtime's own sentence
 */
export async function checkSessions(folder: string, names: readonly string[]): Promise<void> {
  await Promise.all(
    names.map(async (name) => {
      const engine = new Engine({ threads: 1 });
      try {
        await engine.open(name, readBytes(join(folder, name)));
      } catch (error) {
        throw isDdrcError(error) && error.code === 'ENGINE_FAILED' ? refused(name, error) : error;
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
