import { existsSync, rmdirSync, rmSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

/** The folders of a path that do not exist yet, the deepest first. */
export function missingFolders(folder: string): string[] {
  const missing: string[] = [];
  for (let place = folder; !existsSync(place) && dirname(place) !== place; place = dirname(place)) missing.push(place);
  return missing;
}

/** Removes folders, the deepest first, as far as nothing else is in them; the deepest with the lock that a full disk may have left. */
export function removeFolders(folders: readonly string[]): void {
  try {
    if (folders.length > 0) rmSync(resolve(folders[0], 'train.lock'), { force: true });
    for (const folder of folders) rmdirSync(folder);
  } catch {
    // Something else is in it, or it was never made.
  }
}
