import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished } from 'vitest';
import { type DdrcError, isDdrcError } from '../../../diagnostics/error.ts';

/** The real images, which are not in the repository. */
export const bloodCells = fileURLToPath(new URL('../../../../shared/data/blood-cells', import.meta.url));

/** A folder that is removed after the test. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'ddrc-data-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A temporary folder with these files: a path each, or a path and its content. */
export function folderOf(files: readonly (string | readonly [path: string, content: string | Uint8Array])[]): string {
  const folder = temporaryFolder();
  for (const file of files) {
    const [path, content] = typeof file === 'string' ? [file, 'not opened'] : file;
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), content);
  }
  return folder;
}

/** The DdrcError that `run` throws; its message is one line. */
export async function errorOf(run: () => unknown): Promise<DdrcError> {
  try {
    await run();
  } catch (error) {
    if (!isDdrcError(error)) throw error;
    expect(error.message).not.toContain('\n');
    return error;
  }
  throw new Error('nothing was thrown');
}
