import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { afterAll, describe, expect, it } from 'vitest';
import { DdrcError } from '../../diagnostics/error.ts';
import { createRun, nextRunFolder, openRun, runPaths } from '../../runtime/runfolder.ts';

const root = join(import.meta.dirname, '../..');
const base = mkdtempSync(join(tmpdir(), 'ddrc-run-'));
const children: ChildProcess[] = [];
afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(base, { recursive: true, force: true });
});

function failure(action: () => unknown): DdrcError {
  try {
    action();
  } catch (error) {
    if (error instanceof DdrcError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

/** Another process that makes a run in `folder` and waits; resolved when it holds the lock. */
async function trainElsewhere(folder: string): Promise<ChildProcess> {
  const source = pathToFileURL(join(root, 'runtime/runfolder.ts')).href;
  const text = `import { createRun } from '${source}'; createRun(${JSON.stringify(folder)}, { model: 'x' }); console.log('ready'); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', text], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  await new Promise((done) => child.stdout.once('data', done));
  return child;
}

describe('a run folder', () => {
  it('is made with its configuration, opened again, and released', () => {
    const folder = join(base, 'deep', 'run');
    const run = createRun(folder, { model: 'ddrnet', seed: 7, options: { size: 64 } });
    expect(JSON.parse(readFileSync(run.paths.config, 'utf8'))).toEqual({
      version: 1,
      model: 'ddrnet',
      seed: 7,
      options: { size: 64 },
    });
    expect(readdirSync(folder).toSorted()).toEqual(['config.json', 'train.lock']);
    run.release();
    expect(readdirSync(folder)).toEqual(['config.json']);
    const again = openRun(folder);
    expect(again.config).toEqual({ model: 'ddrnet', seed: 7, options: { size: 64 } });
    expect(again.paths).toEqual(runPaths(folder));
    expect(again.paths.best).toBe(join(folder, 'best.safetensors'));
    again.release();
  });

  it('is taken where it is empty, and refused where it holds something', () => {
    const empty = join(base, 'empty');
    mkdirSync(empty);
    createRun(empty, { model: 'x' }).release();
    const twice = failure(() => createRun(empty, { model: 'x' }));
    expect(twice).toMatchObject({ code: 'RUN_EXISTS', message: `${empty} holds a run already` });
    expect(twice.hint).toContain('--resume');
    const other = join(base, 'other');
    mkdirSync(other);
    writeFileSync(join(other, 'thesis.doc'), '');
    expect(failure(() => createRun(other, { model: 'x' })).message).toBe(`${other} is not empty: it holds thesis.doc`);
    expect(readdirSync(other)).toEqual(['thesis.doc']);
  });

  it('cannot be made below a file', () => {
    writeFileSync(join(base, 'file'), '');
    expect(failure(() => createRun(join(base, 'file', 'run'), { model: 'x' })).code).toBe('OUTPUT_UNWRITABLE');
  });

  it.each([
    ['a folder that does not exist', undefined, 'there is no run folder'],
    ['a folder without config.json', null, 'is not a run folder: it has no config.json'],
    ['a configuration that is cut off', '{"version": 1', 'is not JSON'],
    ['another configuration', '{"compilerOptions": {}}', 'is not the configuration of a run'],
    ['a list', '[]', 'is not the configuration of a run'],
    ['another version', '{"version": 2, "model": "x"}', 'has run version 2, this ddrc reads version 1'],
  ])('is not opened: %s', (what, config, message) => {
    const folder = join(base, what);
    if (config !== undefined) mkdirSync(folder);
    if (config) writeFileSync(join(folder, 'config.json'), config);
    const error = failure(() => openRun(folder));
    expect(error.code).toBe('RUN_INVALID');
    expect(error.message).toContain(message);
    expect(error.hint).toBeTruthy();
  });

  it('that does not exist: the runs beside it are named', () => {
    const runs = join(base, 'runs-a');
    createRun(join(runs, 'ddrnet-1'), { model: 'ddrnet' }).release();
    expect(failure(() => openRun(join(runs, 'ddrnet-2'))).hint).toBe('there are ddrnet-1 beside it');
  });

  it('gets a number above the highest of its model', () => {
    const runs = join(base, 'runs-b');
    expect(nextRunFolder('ddrnet', runs)).toBe(join(runs, 'ddrnet-1'));
    for (const name of ['ddrnet-2', 'ddrnet-10', 'ddrnet-x', 'ddrnet-small-70', 'resnet-40'])
      mkdirSync(join(runs, name), { recursive: true });
    expect(nextRunFolder('ddrnet', runs)).toBe(join(runs, 'ddrnet-11'));
    expect(nextRunFolder('my/net v2', runs)).toBe(join(runs, 'my-net-v2-1'));
  });
});

describe('the lock', () => {
  it('keeps a second training of this process out, not a reader', () => {
    const folder = join(base, 'locked');
    const run = createRun(folder, { model: 'x' });
    const error = failure(() => openRun(folder, { lock: true }));
    expect(error).toMatchObject({
      code: 'RUN_LOCKED',
      message: `process ${process.pid} is training into ${folder}`,
      where: run.paths.lock,
    });
    openRun(folder).release();
    expect(existsSync(run.paths.lock)).toBe(true);
    run.release();
    run.release();
    openRun(folder, { lock: true }).release();
    expect(existsSync(run.paths.lock)).toBe(false);
  });

  it('of another process holds while it lives, and is taken over with what it left half-written when it was killed', async () => {
    const folder = join(base, 'elsewhere');
    const child = await trainElsewhere(folder);
    expect(failure(() => openRun(folder, { lock: true })).message).toBe(`process ${child.pid} is training into ${folder}`);
    writeFileSync(join(folder, '.last.safetensors.abc.partial'), 'half');
    child.kill('SIGKILL');
    await new Promise((done) => child.once('close', done));
    const run = openRun(folder, { lock: true });
    expect(JSON.parse(readFileSync(run.paths.lock, 'utf8')).pid).toBe(process.pid);
    expect(readdirSync(folder).toSorted()).toEqual(['config.json', 'train.lock']);
    run.release();
  });

  it('is whole whenever it can be seen', async () => {
    const folder = join(base, 'seen');
    createRun(folder, { model: 'x' }).release();
    const { lock } = runPaths(folder);
    // Another thread reads the file as fast as it can, and counts what is no lock.
    const reading = `
      const { readFileSync } = require('node:fs');
      const { parentPort, workerData } = require('node:worker_threads');
      const { lock, ended } = workerData;
      let [whole, broken] = [0, 0];
      while (Atomics.load(ended, 0) === 0) {
        let text;
        try { text = readFileSync(lock, 'utf8'); } catch { continue; }
        if (text.endsWith('\\n')) whole++; else broken++;
      }
      parentPort.postMessage({ whole, broken });`;
    const ended = new Int32Array(new SharedArrayBuffer(4));
    const reader = new Worker(reading, { eval: true, workerData: { lock, ended } });
    await once(reader, 'online');
    const counts = once(reader, 'message');
    for (let i = 0; i < 500; i++) openRun(folder, { lock: true }).release();
    const run = openRun(folder, { lock: true });
    await new Promise((resolve) => setTimeout(resolve, 50));
    Atomics.store(ended, 0, 1);
    const [{ whole, broken }] = await counts;
    run.release();
    expect(whole).toBeGreaterThan(0);
    expect(broken).toBe(0);
    expect(readdirSync(folder)).toEqual(['config.json']);
  });

  it('that is unreadable counts as stale; one from another machine does not', () => {
    const folder = join(base, 'strange');
    createRun(folder, { model: 'x' }).release();
    const { lock } = runPaths(folder);
    writeFileSync(lock, '');
    openRun(folder, { lock: true }).release();
    writeFileSync(lock, JSON.stringify({ pid: 1, host: `not-${hostname()}`, started: null, token: 'x' }));
    const error = failure(() => openRun(folder, { lock: true }));
    expect(error.message).toBe(`process 1 on not-${hostname()} is training into ${folder}`);
    expect(error.hint).toContain(`delete ${lock}`);
  });

  it.skipIf(!existsSync('/proc/self/stat'))(
    'is stale where its process id belongs to a process that started at another time (skipped where there is no /proc)',
    () => {
      const folder = join(base, 'reused');
      createRun(folder, { model: 'x' }).release();
      writeFileSync(runPaths(folder).lock, JSON.stringify({ pid: process.ppid, host: hostname(), started: '1', token: 'x' }));
      openRun(folder, { lock: true }).release();
    },
  );
});
