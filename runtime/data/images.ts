import { availableParallelism } from 'node:os';
import { DdrcError, type ErrorCode, isDdrcError } from '../../diagnostics/error.ts';
import { outputError } from '../files.ts';
import { type BadEntry, cacheFolder, Pack, type PackIdentity, PackWriter, packKey } from './cache.ts';
import { decodeFile, decodeImage, readImage } from './decode.ts';
import { changedError, isChanged, sha256 } from './hash.ts';
import type { Listing, ListingItem } from './listing.ts';
import { inParallel } from './parallel.ts';
import { largestSide } from './sides.ts';
import { toPlanes } from './warp.ts';

/** How to decode and keep the images of a listing. */
export interface LoadOptions {
  /** Width and height to resize to, in pixels. */
  readonly size: number;
  /** Indices of the items that are needed; default all. Every split of the data that has one of them is decoded whole, for the cache's sake. */
  readonly items?: readonly number[];
  /** Folder for decoded images, or `none`; default {@link cacheFolder}. */
  readonly cache?: string;
  /** Whether an image that does not decode ends the loading (default) or is left out and named in `bad`. */
  readonly onBadImage?: 'stop' | 'skip';
  /** Called after images were decoded, or found in the cache. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Bytes of decoded images that are held in memory; more are read from the cache file as they are needed, or decoded again without one. Default 1 GiB. */
  readonly memoryLimit?: number;
}

/** An image that was left out. */
export interface BadImage {
  /** Index into the listing's items. */
  readonly item: number;
  readonly path: string;
  readonly error: DdrcError;
}

/** The decoded images of a listing. */
export interface LoadedImages {
  readonly listing: Listing;
  readonly size: number;
  /** The images that were left out (`onBadImage: 'skip'`). */
  readonly bad: readonly BadImage[];
  /** A sentence each: a cache that could not be written. */
  readonly notes: readonly string[];
  /** Whether an item was loaded. */
  has(item: number): boolean;
  /** Pixels uint8 [size,size,3] of an item that was loaded; not to be changed. */
  pixels(item: number): Uint8Array | Promise<Uint8Array>;
  /** Closes the cache files that are in use. */
  close(): Promise<void>;
}

/** Where the decoded images of one split are. */
interface Store {
  readonly bad: readonly BadEntry[];
  pixels(index: number): Uint8Array | Promise<Uint8Array>;
  close(): Promise<void>;
}

/**
 * Decodes the images of a listing, several at a time, or takes them from the cache. There is a cache file for each split, so another choice of
 * validation or test uses it too. A cache that is damaged is made anew; one that cannot be written (a full disk) is done without, and a note says so.
 *
 * @throws the first bad image's error (see {@link decodeFile}; DATA_CHANGED for one whose bytes are not those of the hash that the CSV states) unless `onBadImage` is `skip`; DATA_EMPTY if none of the images can be read
 */
export async function loadImages(listing: Listing, options: LoadOptions): Promise<LoadedImages> {
  const { size, items = listing.items.map((_, i) => i), memoryLimit = 2 ** 30 } = options;
  if (size > largestSide) {
    throw new DdrcError({
      code: 'OPTION_INVALID',
      message: `images of ${size} px a side are larger than ${largestSide} px, the most that can be read`,
      hint: 'choose a smaller --size',
    });
  }
  const folder = options.cache === 'none' ? null : (options.cache ?? cacheFolder());
  const wanted = new Set(items.map((item) => listing.items[item].split));
  const members = new Map([...wanted].map((split) => [split, [] as number[]]));
  listing.items.forEach(({ split }, item) => {
    members.get(split)?.push(item);
  });
  const imageBytes = size * size * 3;
  const total = [...members.values()].reduce((sum, list) => sum + list.length, 0);
  const inMemory = total * imageBytes <= memoryLimit;
  const notes: string[] = [];
  const stores: { readonly store: Store; readonly list: readonly number[] }[] = [];
  const place = new Map<number, readonly [store: Store, index: number]>();
  const bad: BadImage[] = [];
  let before = 0;
  const close = async () => {
    for (const { store } of stores) await store.close();
  };
  try {
    for (const list of members.values()) {
      const files = list.map((item) => listing.items[item]);
      const progress = (done: number) => options.onProgress?.(before + done, total);
      const store = await loadStore(files, size, folder, inMemory, options.onBadImage ?? 'stop', progress, notes);
      stores.push({ store, list });
      list.forEach((item, index) => {
        place.set(item, [store, index]);
      });
      for (const { index, code, message, hint } of store.bad) {
        const item = list[index];
        place.delete(item);
        const error = new DdrcError({ code: code as ErrorCode, message, hint, where: files[index].path });
        bad.push({ item, path: files[index].path, error });
      }
      before += list.length;
    }
    if (place.size === 0) {
      const message = `none of the ${total} images can be read`;
      throw new DdrcError({
        code: 'DATA_EMPTY',
        message,
        where: listing.root,
        notes: [{ label: 'first', text: bad[0]?.error.message ?? '' }],
        hint: 'give images in a format that ddrc reads (JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF), whole ones',
      });
    }
  } catch (error) {
    await close();
    throw error;
  }
  return {
    listing,
    size,
    bad,
    notes,
    has: (item) => place.has(item),
    pixels: (item) => {
      const [store, index] = place.get(item)!;
      return store.pixels(index);
    },
    close,
  };
}

/**
 * Reads one image as a network takes it: float32 [3,size,size] in [0,1], red, green, blue.
 *
 * @throws those of {@link decodeFile}
 */
export async function loadImageFile(path: string, size: number): Promise<Float32Array> {
  const planes = new Float32Array(3 * size * size);
  toPlanes(await decodeFile(path, size), size, planes, 0);
  return planes;
}

async function loadStore(
  files: readonly ListingItem[],
  size: number,
  folder: string | null,
  inMemory: boolean,
  onBadImage: 'stop' | 'skip',
  progress: (done: number) => void,
  notes: string[],
): Promise<Store> {
  const identity = { key: folder === null ? '' : await packKey(files, size), count: files.length, imageBytes: size * size * 3 };
  const cached = folder === null ? null : await openStore(folder, identity, files, size, inMemory, onBadImage);
  if (cached !== null) {
    progress(files.length);
    return cached;
  }
  const memory = inMemory ? new Uint8Array(identity.count * identity.imageBytes) : null;
  const bad: BadEntry[] = [];
  let writer =
    folder === null ? null : await PackWriter.open(folder, identity).catch((error: unknown) => doWithout(notes, folder, error));
  const trying = async (write: (to: PackWriter) => Promise<void>) => {
    const current = writer;
    if (current === null) return;
    await write(current).catch(async (error: unknown) => {
      if (writer === null) return;
      writer = doWithout(notes, folder!, error);
      await current.discard();
    });
  };
  let done = 0;
  try {
    await inParallel(files.length, Math.max(2, availableParallelism()), async (index) => {
      const pixels = await decodeItem(files[index], size).catch((error: unknown) => {
        if (onBadImage === 'stop' || !isDdrcError(error)) throw withRemedy(error);
        bad.push({ index, code: error.code, message: error.message, hint: error.hint });
        return null;
      });
      if (pixels !== null) {
        memory?.set(pixels, index * identity.imageBytes);
        await trying((to) => to.write(index, pixels));
      }
      progress(++done);
    });
  } catch (error) {
    await (writer as PackWriter | null)?.discard();
    throw error;
  }
  bad.sort((a, b) => a.index - b.index);
  await trying((to) => to.finish(bad));
  if (memory !== null) return memoryStore(memory, identity.imageBytes, bad);
  const written = writer === null ? null : await openStore(folder!, identity, files, size, false, onBadImage);
  return written ?? { bad, pixels: (index) => decodeItem(files[index], size), close: async () => {} };
}

/** Decodes an image after a look at whether its bytes are those that a CSV states. */
async function decodeItem(item: ListingItem, size: number): Promise<Uint8Array> {
  const bytes = await readImage(item.path);
  if (item.hash !== undefined && isChanged(item, sha256(bytes))) throw changedError(item);
  return decodeImage(bytes, size, item.path);
}

/** The images of a pack; null where there is no usable one. */
async function openStore(
  folder: string,
  identity: PackIdentity,
  files: readonly ListingItem[],
  size: number,
  inMemory: boolean,
  onBadImage: 'stop' | 'skip',
): Promise<Store | null> {
  const pack = await Pack.open(folder, identity);
  if (pack === null) return null;
  // A pack made while skipping: decoding again finds the bad image and stops there.
  const usable = pack.bad.length === 0 || onBadImage === 'skip';
  const memory = usable && inMemory ? new Uint8Array(identity.count * identity.imageBytes) : null;
  if (!usable || (memory !== null && !(await pack.readAll(memory)))) {
    await pack.close();
    return null;
  }
  if (memory !== null) {
    await pack.close();
    return memoryStore(memory, identity.imageBytes, pack.bad);
  }
  return {
    bad: pack.bad,
    pixels: async (index) => (await pack.read(index)) ?? decodeItem(files[index], size),
    close: () => pack.close(),
  };
}

function memoryStore(memory: Uint8Array, imageBytes: number, bad: readonly BadEntry[]): Store {
  return { bad, pixels: (index) => memory.subarray(index * imageBytes, (index + 1) * imageBytes), close: async () => {} };
}

function doWithout(notes: string[], folder: string, error: unknown): null {
  const known = outputError(folder, error);
  notes.push(`Decoded images are not cached: ${known instanceof Error ? known.message : String(known)}.`);
  return null;
}

function withRemedy(error: unknown): unknown {
  if (!isDdrcError(error)) return error;
  const hint = `${error.hint ? `${error.hint}; ` : ''}--on-bad-image skip leaves such images out`;
  return new DdrcError({
    code: error.code,
    message: error.message,
    notes: error.notes,
    where: error.where,
    hint,
    cause: error.cause,
  });
}
