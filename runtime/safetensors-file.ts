import { readBytes } from './files.ts';
import { parseSafetensors, type Safetensors } from './safetensors.ts';

/**
 * Reads a safetensors file.
 * @throws DdrcError FILE_MISSING, FILE_UNREADABLE, and those of {@link parseSafetensors}
 */
export function readSafetensors(path: string): Safetensors {
  return parseSafetensors(readBytes(path), path);
}
