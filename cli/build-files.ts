import { randomBytes } from 'node:crypto';
import { existsSync, renameSync, rmdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DdrcError } from '../diagnostics/error.ts';
import { makeFolder, outputError, partialSuffix, writeFileAtomic } from '../runtime/files.ts';
import { onInterrupt } from './interrupt.ts';

/** Every name that `ddrc build` may write; those that a build does not make are removed from its folder, so that they cannot be mistaken for its own. */
const buildNames = [
  'model.onnx',
  'step.onnx',
  'loop.onnx',
  'grad.onnx',
  'eval.onnx',
  'initial.safetensors',
  'training_model.onnx',
  'eval_model.onnx',
  'optimizer_model.onnx',
  'checkpoint',
  'manifest.json',
];

/**
 * Puts the files of a build into `folder`: first all of them into a temporary folder in it, then, after `check` has accepted that folder, each under
 * its final name, `manifest.json` last. Whatever goes wrong before that leaves the folder as it was.
 * @throws DdrcError OUTPUT_UNWRITABLE, DISK_FULL, and what `check` throws
 */
export async function placeBuild(
  folder: string,
  files: ReadonlyMap<string, Uint8Array>,
  check: (folder: string) => Promise<void>,
): Promise<void> {
  if (statSync(folder, { throwIfNoEntry: false })?.isFile()) {
    throw new DdrcError({
      code: 'OUTPUT_UNWRITABLE',
      message: `${folder} cannot be written: it is a file, not a folder`,
      where: folder,
      hint: 'give --out a folder',
    });
  }
  const isNew = !existsSync(folder);
  makeFolder(folder);
  const temporary = join(folder, `.build.${randomBytes(6).toString('hex')}${partialSuffix}`);
  const clear = () => {
    rmSync(temporary, { recursive: true, force: true });
    if (isNew) removeEmpty(folder);
  };
  const giveBack = onInterrupt((exitCode) => {
    clear();
    process.exit(exitCode);
  });
  try {
    makeFolder(temporary);
    for (const [name, bytes] of files) writeFileAtomic(join(temporary, name), bytes);
    await check(temporary);
    for (const name of [...files.keys()].sort((a, b) => Number(a === 'manifest.json') - Number(b === 'manifest.json'))) {
      moveInto(join(temporary, name), join(folder, name));
    }
    for (const name of buildNames) if (!files.has(name)) rmSync(join(folder, name), { force: true });
  } finally {
    giveBack();
    clear();
  }
}

function moveInto(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    throw outputError(to, error);
  }
}

function removeEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // It holds something, so it stays.
  }
}
