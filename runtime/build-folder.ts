import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { DdrcError } from '../diagnostics/error.ts';
import { readBytes } from './files.ts';
import { fileOf, type Manifest, parseManifest } from './manifest.ts';

/** What `ddrc build` wrote: the manifest and the bytes of the files that it names. */
export interface Artifacts {
  readonly manifest: Manifest;
  readonly files: ReadonlyMap<string, Uint8Array>;
}

/**
 * Reads a folder that `ddrc build` wrote, and checks each file against the hash in the manifest.
 * @param names the files to read; all that the manifest names by default
 * @throws DdrcError MANIFEST_INVALID, MANIFEST_FILE, FILE_MISSING, FILE_UNREADABLE
 */
export function readArtifacts(folder: string, names?: readonly string[]): Artifacts {
  const path = join(folder, 'manifest.json');
  const manifest = parseManifest(new TextDecoder().decode(readBytes(path)), path);
  const files = new Map<string, Uint8Array>();
  for (const name of names ?? Object.keys(manifest.files)) {
    const { sha256 } = fileOf(manifest, name, path);
    const bytes = readBytes(join(folder, name));
    if (createHash('sha256').update(bytes).digest('hex') !== sha256) {
      const message = `${name} is not the file that manifest.json describes: its hash is another one`;
      throw new DdrcError({ code: 'MANIFEST_FILE', message, where: join(folder, name), hint: 'build the model again' });
    }
    files.set(name, bytes);
  }
  return { manifest, files };
}
