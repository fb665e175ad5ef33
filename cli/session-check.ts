import { join } from 'node:path';
import { DdrcError } from '../diagnostics/error.ts';
import { disableTelemetry } from '../runtime/telemetry.ts';

/**
 * Makes a session of each of these ONNX files on the CPU, as their users will.
 * @throws DdrcError EMITTED_REFUSED with ONNX Runtime's own sentence
 */
export async function checkSessions(folder: string, names: readonly string[]): Promise<void> {
  disableTelemetry();
  const { InferenceSession } = await import('onnxruntime-node');
  for (const name of names) {
    try {
      const session = await InferenceSession.create(join(folder, name), {
        executionProviders: ['cpu'],
        intraOpNumThreads: 1,
        logSeverityLevel: 4,
      });
      await session.release();
    } catch (error) {
      throw refused(name, error);
    }
  }
}

function refused(name: string, error: unknown): DdrcError {
  const sentence = error instanceof Error ? error.message.split('\n')[0] : String(error);
  // The emitter names nodes `scope/Operator`.
  const node = /node[^()]*(?:\(| )['"]?([\w.]+\/[\w.]+)/i.exec(sentence);
  return new DdrcError({
    code: 'EMITTED_REFUSED',
    message: `ONNX Runtime refuses ${name}, which is a defect of ddrc`,
    notes: [{ label: 'it says', text: sentence }],
    where: node ? `scope ${node[1].split('/')[0]}` : undefined,
    hint: 'please report it, with the model file',
    cause: error,
  });
}
