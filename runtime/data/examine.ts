import { availableParallelism } from 'node:os';
import { type DdrcError, isDdrcError } from '../../diagnostics/error.ts';
import { decodeImage, type ImageKind, imageKind, readImage } from './decode.ts';
import { sha256 } from './hash.ts';
import { lookOf, lookSide } from './look.ts';
import { inParallel } from './parallel.ts';

/** What was found in an image file. */
export interface Examined {
  /** SHA-256 of the file's bytes, in hexadecimal; null where it cannot be read. */
  readonly hash: string | null;
  /** Null where it does not decode. */
  readonly kind: ImageKind | null;
  /** See {@link lookOf}; null where it does not decode, and for a picture of one colour. */
  readonly look: Float32Array | null;
  /** Why it cannot be read, or does not decode; the error that training would stop with. */
  readonly error: DdrcError | null;
}

/** Reads and decodes image files, several at a time. One that cannot be read or does not decode is no failure: its `error` says so. */
export async function examineImages(
  paths: readonly string[],
  onProgress: (done: number, total: number) => void = () => {},
): Promise<Examined[]> {
  const all: Examined[] = new Array(paths.length);
  await overFiles(paths, onProgress, async (path, i) => {
    all[i] = await examine(path);
  });
  return all;
}

/**
 * SHA-256 of the bytes of files, in hexadecimal.
 *
 * @throws those of {@link readImage}
 */
export async function hashFiles(
  paths: readonly string[],
  onProgress: (done: number, total: number) => void = () => {},
): Promise<string[]> {
  const hashes: string[] = new Array(paths.length);
  await overFiles(paths, onProgress, async (path, i) => {
    hashes[i] = sha256(await readImage(path));
  });
  return hashes;
}

async function overFiles(
  paths: readonly string[],
  onProgress: (done: number, total: number) => void,
  work: (path: string, index: number) => Promise<void>,
): Promise<void> {
  let done = 0;
  await inParallel(paths.length, Math.max(2, availableParallelism()), async (i) => {
    await work(paths[i], i);
    onProgress(++done, paths.length);
  });
}

async function examine(path: string): Promise<Examined> {
  let hash: string | null = null;
  try {
    const bytes = await readImage(path);
    hash = sha256(bytes);
    const pixels = await decodeImage(bytes, lookSide, path);
    return { hash, kind: await imageKind(bytes), look: lookOf(pixels), error: null };
  } catch (error) {
    if (!isDdrcError(error)) throw error;
    return { hash, kind: null, look: null, error };
  }
}
