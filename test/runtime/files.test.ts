import { spawn, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { DdrcError } from '../../diagnostics/error.ts';
import {
  appendLine,
  makeFolder,
  outputError,
  partialSuffix,
  readBytes,
  readLines,
  writeFileAtomic,
  writeLines,
} from '../../runtime/files.ts';

const folder = mkdtempSync(join(tmpdir(), 'ddrc-files-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const root = join(import.meta.dirname, '../..');
const source = pathToFileURL(join(root, 'runtime/files.ts')).href;
/** The arguments with which Node runs a program that imports our sources. */
const program = (text: string) => [
  '--import',
  'tsx',
  '--input-type=module',
  '-e',
  `import * as files from '${source}';\n${text}`,
];

function failure(action: () => unknown): DdrcError {
  try {
    action();
  } catch (error) {
    if (error instanceof DdrcError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('writeFileAtomic', () => {
  it('writes and replaces, and leaves nothing beside the file', () => {
    const place = join(folder, 'plain');
    mkdirSync(place);
    const path = join(place, 'a.bin');
    writeFileAtomic(path, Uint8Array.of(1, 2, 3));
    writeFileAtomic(path, 'größer');
    expect(readFileSync(path, 'utf8')).toBe('größer');
    expect(readdirSync(place)).toEqual(['a.bin']);
  });

  it('writes through a symbolic link and keeps it', () => {
    const target = join(folder, 'target');
    const link = join(folder, 'link');
    writeFileSync(target, 'old');
    symlinkSync(target, link);
    writeFileAtomic(link, 'new');
    expect(readFileSync(target, 'utf8')).toBe('new');
  });

  it('refuses a folder, a folder that does not exist, and a path through a file', () => {
    mkdirSync(join(folder, 'sub'));
    writeFileSync(join(folder, 'file'), '');
    expect(failure(() => writeFileAtomic(join(folder, 'sub'), ''))).toMatchObject({
      code: 'OUTPUT_UNWRITABLE',
      hint: 'name a file',
    });
    const missing = failure(() => writeFileAtomic(join(folder, 'none', 'x'), ''));
    expect(missing).toMatchObject({ code: 'OUTPUT_UNWRITABLE', where: join(folder, 'none', 'x') });
    expect(missing.message).toContain('its folder does not exist');
    expect(failure(() => writeFileAtomic(join(folder, 'file', 'x'), '')).message).toContain('a part of the path is a file');
    expect(failure(() => makeFolder(join(folder, 'file', 'x', 'y'))).code).toBe('OUTPUT_UNWRITABLE');
    expect(failure(() => makeFolder(join(folder, 'file'))).message).toContain('a file of that name is in the way');
  });

  it.skipIf(!existsSync('/proc/self'))('refuses a place where nobody may write (skipped where there is no /proc)', () => {
    expect(failure(() => writeFileAtomic('/proc/ddrc-test', 'x')).code).toBe('OUTPUT_UNWRITABLE');
    expect(failure(() => makeFolder('/proc/ddrc-test/a/b')).code).toBe('OUTPUT_UNWRITABLE');
  });

  it('says each reason of the system in words', () => {
    const said = (code: string) => outputError('x', Object.assign(new Error(), { code })) as DdrcError;
    expect(said('ENOSPC')).toMatchObject({ code: 'DISK_FULL', message: 'x cannot be written: the disk is full' });
    expect(said('EDQUOT')).toMatchObject({ code: 'DISK_FULL', message: 'x cannot be written: the disk quota is used up' });
    expect(said('EACCES')).toMatchObject({ code: 'OUTPUT_UNWRITABLE', message: 'x cannot be written: permission denied' });
    expect(said('EROFS')).toMatchObject({
      code: 'OUTPUT_UNWRITABLE',
      message: 'x cannot be written: the file system is read-only',
    });
    expect(said('EWEIRD')).toMatchObject({ code: 'OUTPUT_UNWRITABLE', message: 'x cannot be written: EWEIRD' });
    const other = new TypeError('a defect');
    expect(outputError('x', other)).toBe(other);
  });

  it.skipIf(!existsSync('/dev/full'))('says that the disk is full (skipped where there is no /dev/full)', () => {
    for (const write of [() => writeFileAtomic('/dev/full', 'x'), () => appendLine('/dev/full', {})]) {
      expect(failure(write)).toMatchObject({ code: 'DISK_FULL', message: '/dev/full cannot be written: the disk is full' });
    }
    expect(statSync('/dev/full').isCharacterDevice()).toBe(true);
  });

  it.skipIf(process.platform === 'win32')(
    'where a write fails in the middle, keeps the old file and removes the partial one (skipped on Windows: no ulimit)',
    () => {
      const place = join(folder, 'limited');
      mkdirSync(place);
      const path = join(place, 'a.bin');
      writeFileSync(path, 'old');
      const text = `try { files.writeFileAtomic(${JSON.stringify(path)}, new Uint8Array(4e6)); } catch (error) { console.log(error.code, error.message); }`;
      // No file of more than 1024 blocks, so the write stops in its middle.
      const run = spawnSync('sh', ['-c', 'ulimit -f 1024; exec "$0" "$@"', process.execPath, ...program(text)], {
        cwd: root,
        encoding: 'utf8',
      });
      expect(run.stdout).toBe(`OUTPUT_UNWRITABLE ${path} cannot be written: it is larger than files may be here\n`);
      expect(readdirSync(place)).toEqual(['a.bin']);
      expect(readFileSync(path, 'utf8')).toBe('old');
    },
  );

  it('killed at any moment, leaves a whole file under the name', async () => {
    const place = join(folder, 'killed');
    mkdirSync(place);
    const path = join(place, 'a.bin');
    const size = 1_000_000;
    const text = `for (let n = 0; ; n++) { files.writeFileAtomic(${JSON.stringify(path)}, new Uint8Array(${size}).fill(n)); if (n === 0) console.log('ready'); }`;
    let interrupted = 0;
    // At least four rounds, and as many as it takes to hit a write: one in which nothing was interrupted would show nothing.
    for (let round = 0; round < 4 || (interrupted === 0 && round < 40); round++) {
      const child = spawn(process.execPath, program(text), { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
      await new Promise((done) => child.stdout.once('data', done));
      await new Promise((done) => setTimeout(done, 7 * (round % 5)));
      child.kill('SIGKILL');
      await new Promise((done) => child.once('close', done));
      const bytes = readFileSync(path);
      expect(bytes.length).toBe(size);
      expect(bytes.equals(Buffer.alloc(size, bytes[0]))).toBe(true);
      const others = readdirSync(place).filter((name) => name !== 'a.bin');
      interrupted += others.length;
      expect(others.every((name) => name.endsWith(partialSuffix))).toBe(true);
      for (const name of others) rmSync(join(place, name));
    }
    expect(interrupted).toBeGreaterThan(0);
  });
});

describe('lines of JSON', () => {
  const path = join(folder, 'metrics.jsonl');
  const partial = '{"epoch":3,"train":{"lo';

  it('appends, and reads without the line that was cut off', () => {
    appendLine(path, { epoch: 1, loss: 0.1 });
    appendLine(path, { epoch: 2 });
    appendFileSync(path, partial);
    expect(readLines(path)).toEqual([{ epoch: 1, loss: 0.1 }, { epoch: 2 }]);
  });

  it('cuts an incomplete last line off before it appends, also a long one and an only one', () => {
    appendLine(path, { epoch: 3 });
    expect(readFileSync(path, 'utf8')).toBe('{"epoch":1,"loss":0.1}\n{"epoch":2}\n{"epoch":3}\n');
    appendFileSync(path, `{"x":"${'y'.repeat(10_000)}`);
    appendLine(path, { epoch: 4 });
    expect(readLines(path)).toHaveLength(4);
    const single = join(folder, 'single.jsonl');
    writeFileSync(single, '{"a":"'.padEnd(9000, 'b'));
    appendLine(single, { a: 1 });
    expect(readFileSync(single, 'utf8')).toBe('{"a":1}\n');
  });

  it('replaces all lines', () => {
    writeLines(path, [{ epoch: 1 }]);
    expect(readFileSync(path, 'utf8')).toBe('{"epoch":1}\n');
  });

  it('names the line that is damaged in the middle', () => {
    writeFileSync(path, '{"epoch":1}\n\n{"epo\n{"epoch":3}\n');
    expect(failure(() => readLines(path))).toMatchObject({ code: 'FILE_UNREADABLE', where: `${path}:3` });
  });
});

describe('readBytes', () => {
  it('tells a missing file from a folder', () => {
    expect(failure(() => readBytes(join(folder, 'nothing')))).toMatchObject({ code: 'FILE_MISSING' });
    expect(failure(() => readBytes(folder))).toMatchObject({
      code: 'FILE_UNREADABLE',
      message: `${folder} cannot be read: it is a folder`,
    });
  });
});
