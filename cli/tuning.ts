import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { cacheFolder } from '../runtime/data/cache.ts';
import { makeFolder, readBytes, writeFileAtomic } from '../runtime/files.ts';
import { onnxruntimeVersion, packageVersion } from './project.ts';

/** What was measured of an operator: milliseconds by lowering, and the one to take. */
export interface Measured {
  readonly best: string;
  readonly milliseconds: Readonly<Record<string, number>>;
}

/** What measurements hold for: another processor, number of threads or version measures anew. */
function machine(threads: number, block: number) {
  return {
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    threads,
    block,
    onnxruntime: onnxruntimeVersion(),
    ddrc: packageVersion,
  };
}

/** The file in the user's cache folder that keeps what `ddrc tune` measured on this machine. */
export function tuningFile(threads: number, block: number): string {
  const key = createHash('sha256')
    .update(JSON.stringify(machine(threads, block)))
    .digest('hex')
    .slice(0, 16);
  return join(cacheFolder(), `lowerings-${key}.json`);
}

/** What `ddrc tune` measured here, by the signature of the operator; empty where it never ran, or where its file is damaged: measuring again replaces it. */
export function readTuning(threads: number, block: number): Map<string, Measured> {
  const file = tuningFile(threads, block);
  if (!existsSync(file)) return new Map();
  try {
    const { lowerings } = JSON.parse(Buffer.from(readBytes(file)).toString('utf8'));
    return new Map(Object.entries(lowerings as Record<string, Measured>).filter(([, { best }]) => typeof best === 'string'));
  } catch {
    return new Map();
  }
}

/**
 * Adds measurements to those that are kept.
 * @throws DdrcError OUTPUT_UNWRITABLE, DISK_FULL
 */
export function keepTuning(threads: number, block: number, measured: ReadonlyMap<string, Measured>): void {
  const lowerings = Object.fromEntries([...readTuning(threads, block), ...measured]);
  const file = tuningFile(threads, block);
  makeFolder(cacheFolder());
  writeFileAtomic(file, `${JSON.stringify({ machine: machine(threads, block), lowerings }, null, 1)}\n`);
}
