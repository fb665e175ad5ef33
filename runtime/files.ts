import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { DdrcError } from '../diagnostics/error.ts';

/** The end of the names of files that are still being written; one that a killed process left behind may be deleted. */
export const partialSuffix = '.partial';

/** The system's code of an error (`ENOENT`, …), or an empty string for what is no error of the system. */
export function systemCode(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return /^E[A-Z0-9]+$/.test(code) || code === 'ERR_FS_FILE_TOO_LARGE' ? code : '';
}

/**
 * The whole content of a file.
 * @throws DdrcError FILE_MISSING, FILE_UNREADABLE
 */
export function readBytes(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw inputError(path, error);
  }
}

/** The {@link DdrcError} for a file that could not be read; other errors than the system's come back unchanged. */
export function inputError(path: string, error: unknown): unknown {
  const code = systemCode(error);
  if (!code) return error;
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    const hint = 'check the spelling; relative paths start from the folder in which the command runs';
    return new DdrcError({ code: 'FILE_MISSING', message: `${path} does not exist`, where: resolve(path), hint, cause: error });
  }
  const reasons: Record<string, [reason: string, hint: string]> = {
    EISDIR: ['it is a folder', 'name a file in it'],
    EACCES: ['permission denied', 'give this user the right to read it'],
    EPERM: ['permission denied', 'give this user the right to read it'],
    ERR_FS_FILE_TOO_LARGE: ['it is larger than 2 GiB', 'split it into several files'],
  };
  const [reason, hint] = reasons[code] ?? [code, 'check the disk and the path'];
  return new DdrcError({
    code: 'FILE_UNREADABLE',
    message: `${path} cannot be read: ${reason}`,
    where: resolve(path),
    hint,
    cause: error,
  });
}

/** The {@link DdrcError} for a file or folder that could not be written; other errors than the system's come back unchanged. */
export function outputError(path: string, error: unknown): unknown {
  const code = systemCode(error);
  if (!code) return error;
  const where = resolve(path);
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    const what = code === 'ENOSPC' ? 'the disk is full' : 'the disk quota is used up';
    const hint = 'free some space, or write to another disk';
    return new DdrcError({ code: 'DISK_FULL', message: `${path} cannot be written: ${what}`, where, hint, cause: error });
  }
  const rights = 'choose another place, or give this user the right to write there';
  const reasons: Record<string, [reason: string, hint: string]> = {
    EACCES: ['permission denied', rights],
    EPERM: ['permission denied', rights],
    EROFS: ['the file system is read-only', 'choose a place on another disk'],
    ENOENT: ['its folder does not exist', `make the folder ${dirname(where)} first`],
    ENOTDIR: ['a part of the path is a file, not a folder', 'choose another path'],
    EEXIST: ['a file of that name is in the way', 'choose another path, or move the file'],
    EISDIR: ['it is a folder', 'name a file'],
    EFBIG: ['it is larger than files may be here', 'raise the limit (ulimit -f), or write to another disk'],
    EMFILE: ['too many files are open', 'raise the limit (ulimit -n)'],
  };
  const [reason, hint] = reasons[code] ?? [code, 'check the disk and the path'];
  return new DdrcError({ code: 'OUTPUT_UNWRITABLE', message: `${path} cannot be written: ${reason}`, where, hint, cause: error });
}

/**
 * Makes a folder and those above it; one that exists is fine. One after the other: Node's own recursion says ENOENT of a read-only file system, and
 * does not end in one that takes no folders.
 * @throws DdrcError OUTPUT_UNWRITABLE, DISK_FULL
 */
export function makeFolder(path: string): void {
  if (isFolder(path)) return;
  const above = dirname(resolve(path));
  if (above !== resolve(path)) makeFolder(above);
  try {
    mkdirSync(path);
  } catch (error) {
    // Another process may have made it meanwhile.
    if (!isFolder(path)) throw outputError(path, error);
  }
}

function isFolder(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
  } catch (error) {
    throw outputError(path, error);
  }
}

/**
 * Writes a file so that its name always stands for a whole file, the old one or the new one, whenever the process or the machine stops:
 * into a temporary file in the same folder (see {@link partialSuffix}), flushed, renamed. A symbolic link keeps pointing where it pointed. What is not
 * a regular file (a device, a pipe) is written directly. The folder must exist.
 * @throws DdrcError OUTPUT_UNWRITABLE, DISK_FULL; the temporary file is then gone and an older file untouched
 */
export function writeFileAtomic(path: string, content: Uint8Array | string): void {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content;
  try {
    const existing = statSync(path, { throwIfNoEntry: false });
    if (existing?.isDirectory()) throw Object.assign(new Error(path), { code: 'EISDIR' });
    if (existing && !existing.isFile()) {
      writeFlushed(path, 'w', bytes);
      return;
    }
    const target = existing ? realpathSync(path) : path;
    const temporary = join(dirname(target), `.${basename(target)}.${randomBytes(6).toString('hex')}${partialSuffix}`);
    try {
      writeFlushed(temporary, 'wx', bytes);
      renameSync(temporary, target);
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    }
    flushFolder(dirname(target));
  } catch (error) {
    throw outputError(path, error);
  }
}

/**
 * Appends a value as one line of JSON and flushes it. A last line without its newline, left by a process that was killed
 * while it appended, is cut off first. The file is made where there is none.
 * @throws DdrcError OUTPUT_UNWRITABLE, DISK_FULL
 */
export function appendLine(path: string, value: object): void {
  try {
    const file = openSync(path, 'a+');
    try {
      cutPartialLine(file);
      writeAll(file, Buffer.from(`${JSON.stringify(value)}\n`));
      flush(file);
    } finally {
      closeSync(file);
    }
  } catch (error) {
    throw outputError(path, error);
  }
}

/**
 * Replaces a file of lines of JSON by these values, atomically: what `--resume` does to drop lines that are newer than the checkpoint.
 * @throws DdrcError OUTPUT_UNWRITABLE, DISK_FULL
 */
export function writeLines(path: string, values: readonly object[]): void {
  writeFileAtomic(path, values.map((value) => `${JSON.stringify(value)}\n`).join(''));
}

/**
 * The values of a file of lines of JSON. A last line that a killed process left incomplete is dropped; empty lines are skipped.
 * @throws DdrcError FILE_MISSING; FILE_UNREADABLE with the line's number where another line is not JSON
 */
export function readLines(path: string): unknown[] {
  const lines = Buffer.from(readBytes(path)).toString('utf8').split('\n');
  const values: unknown[] = [];
  lines.forEach((line, index) => {
    if (line.trim() === '') return;
    try {
      values.push(JSON.parse(line));
    } catch (error) {
      // Only what stands behind the last newline can be a line that was cut off.
      if (index === lines.length - 1) return;
      const place = `${resolve(path)}:${index + 1}`;
      const hint = 'remove this line, or restore the file';
      throw new DdrcError({
        code: 'FILE_UNREADABLE',
        message: `line ${index + 1} of ${path} is not JSON`,
        where: place,
        hint,
        cause: error,
      });
    }
  });
  return values;
}

function writeFlushed(path: string, flags: string, bytes: Uint8Array): void {
  const file = openSync(path, flags);
  try {
    writeAll(file, bytes);
    flush(file);
  } finally {
    closeSync(file);
  }
}

function writeAll(file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at, bytes.length - at);
}

function flush(file: number): void {
  try {
    fsyncSync(file);
  } catch (error) {
    // Devices, pipes and some network file systems cannot be flushed: that is no reason to fail.
    if (!['EINVAL', 'ENOSYS', 'ENOTSUP', 'EROFS'].includes(systemCode(error))) throw error;
  }
}

function flushFolder(path: string): void {
  try {
    const folder = openSync(path, 'r');
    try {
      fsyncSync(folder);
    } finally {
      closeSync(folder);
    }
  } catch {
    // Windows opens no folders; the rename itself has happened.
  }
}

function cutPartialLine(file: number): void {
  const stat = fstatSync(file);
  if (!stat.isFile()) return;
  const block = Buffer.alloc(4096);
  for (let end = stat.size; end > 0; ) {
    const start = Math.max(0, end - block.length);
    const read = readSync(file, block, 0, end - start, start);
    const newline = block.subarray(0, read).lastIndexOf(0x0a);
    const keep = newline < 0 ? start : start + newline + 1;
    if (newline >= 0 || start === 0) {
      if (keep < stat.size) ftruncateSync(file, keep);
      return;
    }
    end = start;
  }
}
