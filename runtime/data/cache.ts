import { createHash, randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { type FileHandle, open, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { makeFolder, partialSuffix, systemCode } from '../files.ts';
import { decoderVersion } from './decode.ts';
import type { ListingItem } from './listing.ts';

/** An image that did not decode, as a cache remembers it: its position in the pack and the error's parts. */
export interface BadEntry {
  readonly index: number;
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
}

/** What makes a pack of images the right one: the key of its files (see {@link packKey}), their number, the bytes of each image. */
export interface PackIdentity {
  readonly key: string;
  readonly count: number;
  readonly imageBytes: number;
}

const magic = Buffer.from('DDRCIMG1');
const day = 24 * 3600 * 1000;

/**
 * The user's cache folder for ddrc: `$XDG_CACHE_HOME/ddrc` where that is set, else `~/Library/Caches/ddrc` (macOS), `%LOCALAPPDATA%\ddrc\Cache` (Windows),
 * `~/.cache/ddrc`.
 */
export function cacheFolder(
  env: NodeJS.ProcessEnv = process.env,
  platform: NodeJS.Platform = process.platform,
  home = homedir(),
): string {
  if (env.XDG_CACHE_HOME && isAbsolute(env.XDG_CACHE_HOME)) return join(env.XDG_CACHE_HOME, 'ddrc');
  if (platform === 'darwin') return join(home, 'Library', 'Caches', 'ddrc');
  if (platform === 'win32') return join(env.LOCALAPPDATA || join(home, 'AppData', 'Local'), 'ddrc', 'Cache');
  return join(home, '.cache', 'ddrc');
}

/**
 * A key for images decoded to a size: a hash of every file's path, length, modification time and stated hash, of the size and of the decoder's version. So a pack that was
 * made where no hashes were stated is not taken where there are.
 */
export async function packKey(files: readonly Pick<ListingItem, 'path' | 'hash'>[], size: number): Promise<string> {
  const hash = createHash('sha256').update(`${decoderVersion}\n${size}\n`);
  for (let start = 0; start < files.length; start += 256) {
    const some = files.slice(start, start + 256);
    const stats = await Promise.all(some.map(({ path }) => stat(path).catch(() => null)));
    some.forEach(({ path, hash: stated }, i) => {
      hash.update(
        JSON.stringify([path, stats[i]?.size ?? -1, stats[i]?.mtimeMs ?? -1, ...(stated === undefined ? [] : [stated])]),
      );
    });
  }
  return hash.digest('hex');
}

/**
 * A file of decoded images, all of one length: `DDRCIMG1`, the images, a CRC-32 of each (uint32 of this machine's byte order), an index as JSON (key, count,
 * imageBytes, bad), the index's length (uint32, little endian), `DDRCIMG1`. Images are read at their position; the file is never read whole by itself.
 */
export class Pack {
  readonly bad: readonly BadEntry[];
  private readonly file: FileHandle;
  private readonly identity: PackIdentity;
  private readonly checksums: Uint32Array;

  private constructor(file: FileHandle, identity: PackIdentity, checksums: Uint32Array, bad: readonly BadEntry[]) {
    this.file = file;
    this.identity = identity;
    this.checksums = checksums;
    this.bad = bad;
  }

  /** Opens the pack of these images; null where there is none, or what is there is damaged or something else. */
  static async open(folder: string, identity: PackIdentity): Promise<Pack | null> {
    let file: FileHandle | undefined;
    try {
      file = await open(packPath(folder, identity), 'r');
      const index = await readIndex(file, identity);
      if (index === null) {
        await file.close();
        return null;
      }
      // Marks the pack as in use for the removal of old ones; a folder that is not ours to write is fine.
      await utimes(packPath(folder, identity), new Date(), new Date()).catch(() => {});
      return new Pack(file, identity, index.checksums, index.bad);
    } catch {
      await file?.close().catch(() => {});
      return null;
    }
  }

  /** One image, or null if its bytes are damaged. */
  async read(index: number): Promise<Uint8Array | null> {
    const pixels = new Uint8Array(this.identity.imageBytes);
    const whole = await readAt(this.file, pixels, magic.length + index * this.identity.imageBytes).catch(() => false);
    return whole && crc32(pixels) === this.checksums[index] ? pixels : null;
  }

  /** Fills `into` with every image, one after the other; false if any is damaged. */
  async readAll(into: Uint8Array): Promise<boolean> {
    const { count, imageBytes } = this.identity;
    const step = Math.max(1, Math.floor(2 ** 24 / imageBytes));
    const isBad = new Set(this.bad.map(({ index }) => index));
    for (let first = 0; first < count; first += step) {
      const some = into.subarray(first * imageBytes, Math.min(count, first + step) * imageBytes);
      if (!(await readAt(this.file, some, magic.length + first * imageBytes).catch(() => false))) return false;
      for (let i = 0; i * imageBytes < some.length; i++) {
        if (isBad.has(first + i)) continue;
        if (crc32(some.subarray(i * imageBytes, (i + 1) * imageBytes)) !== this.checksums[first + i]) return false;
      }
    }
    return true;
  }

  close(): Promise<void> {
    return this.file.close();
  }
}

/** Writes a pack under a temporary name, in any order, and gives it its own name when it is complete: readers see all of it or nothing. */
export class PackWriter {
  private readonly file: FileHandle;
  private readonly temporary: string;
  private readonly target: string;
  private readonly identity: PackIdentity;
  private readonly checksums: Uint32Array;

  private constructor(file: FileHandle, temporary: string, target: string, identity: PackIdentity) {
    this.file = file;
    this.temporary = temporary;
    this.target = target;
    this.identity = identity;
    this.checksums = new Uint32Array(identity.count);
  }

  /**
   * Makes the folder if need be and removes what is left over in it: partial files of processes that are gone, at the latest after a day, packs that were not used for thirty.
   *
   * @throws DdrcError OUTPUT_UNWRITABLE, DISK_FULL where the folder cannot be made, otherwise what the operating system says
   */
  static async open(folder: string, identity: PackIdentity): Promise<PackWriter> {
    makeFolder(folder);
    await removeOld(folder);
    const target = packPath(folder, identity);
    const temporary = `${target}.${process.pid}-${randomBytes(6).toString('hex')}${partialSuffix}`;
    const writer = new PackWriter(await open(temporary, 'wx'), temporary, target, identity);
    // A process that leaves in the middle, as on Ctrl-C, takes its part along.
    process.once('exit', writer.remove);
    return writer;
  }

  async write(index: number, pixels: Uint8Array): Promise<void> {
    this.checksums[index] = crc32(pixels);
    await writeAt(this.file, pixels, magic.length + index * this.identity.imageBytes);
  }

  /** Completes the file and renames it, replacing whatever has its name. */
  async finish(bad: readonly BadEntry[]): Promise<void> {
    const { key, count, imageBytes } = this.identity;
    const index = Buffer.from(JSON.stringify({ key, count, imageBytes, bad }));
    const length = Buffer.alloc(4);
    length.writeUInt32LE(index.length);
    await writeAt(this.file, magic, 0);
    const tail = Buffer.concat([Buffer.from(this.checksums.buffer), index, length, magic]);
    await writeAt(this.file, tail, magic.length + count * imageBytes);
    await this.file.sync();
    await this.file.close();
    await rename(this.temporary, this.target);
    process.off('exit', this.remove);
  }

  private readonly remove = (): void => rmSync(this.temporary, { force: true });

  /** Removes what was written. */
  async discard(): Promise<void> {
    await this.file.close().catch(() => {});
    await rm(this.temporary, { force: true }).catch(() => {});
    process.off('exit', this.remove);
  }
}

function packPath(folder: string, { key }: PackIdentity): string {
  return join(folder, `images-${key.slice(0, 32)}.pack`);
}

async function readIndex(file: FileHandle, identity: PackIdentity): Promise<{ checksums: Uint32Array; bad: BadEntry[] } | null> {
  const { key, count, imageBytes } = identity;
  const start = magic.length + count * imageBytes;
  const { size } = await file.stat();
  // The index holds a few hundred bytes for each bad image; a longer tail is another file's.
  if (size < start + 4 * count + 4 + magic.length || size > start + 4 * count + 65_536 + count * 1024) return null;
  const head = Buffer.alloc(magic.length);
  const tail = Buffer.alloc(size - start);
  if (!(await readAt(file, head, 0)) || !(await readAt(file, tail, start))) return null;
  if (!head.equals(magic) || !tail.subarray(-magic.length).equals(magic)) return null;
  const end = tail.length - magic.length - 4;
  if (tail.readUInt32LE(end) !== end - 4 * count) return null;
  const index = JSON.parse(tail.toString('utf8', 4 * count, end)) as PackIdentity & { bad: BadEntry[] };
  if (index.key !== key || index.count !== count || index.imageBytes !== imageBytes || !Array.isArray(index.bad)) return null;
  if (!index.bad.every((entry) => Number.isInteger(entry.index) && typeof entry.code === 'string')) return null;
  const checksums = new Uint32Array(count);
  new Uint8Array(checksums.buffer).set(tail.subarray(0, 4 * count));
  return { checksums, bad: index.bad };
}

async function readAt(file: FileHandle, into: Uint8Array, position: number): Promise<boolean> {
  for (let done = 0; done < into.length; ) {
    const { bytesRead } = await file.read(into, done, into.length - done, position + done);
    if (bytesRead === 0) return false;
    done += bytesRead;
  }
  return true;
}

async function writeAt(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
  }
}

async function removeOld(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const isPack = /^images-[0-9a-f]{32}\.pack$/.test(name);
    if (!isPack && !(name.startsWith('images-') && name.endsWith(partialSuffix))) continue;
    const path = join(folder, name);
    const changed = await stat(path).catch(() => null);
    const old = changed && Date.now() - changed.mtimeMs > (isPack ? 30 : 1) * day;
    if (changed?.isFile() && (old || (!isPack && !isRunning(name)))) await rm(path, { force: true }).catch(() => {});
  }
}

/** Whether the process that a partial file's name says it belongs to is there. */
function isRunning(name: string): boolean {
  const id = Number(/\.pack\.(\d+)-/.exec(name)?.[1]);
  if (!id) return true;
  try {
    process.kill(id, 0);
    return true;
  } catch (error) {
    return systemCode(error) !== 'ESRCH';
  }
}
