import { randomBytes } from 'node:crypto';
import { existsSync, linkSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { DdrcError } from '../diagnostics/error.ts';
import { shellWord } from '../diagnostics/shell-word.ts';
import { makeFolder, outputError, partialSuffix, systemCode, writeFileAtomic } from './files.ts';

/** The version of the layout and of `config.json`. */
export const runVersion = 1;

/** What `config.json` holds: how the training was asked for. Which further keys there are is the trainer's matter; all are plain JSON. */
export interface RunConfig {
  /** The model's name. */
  readonly model: string;
  readonly [key: string]: unknown;
}

/** A run folder's files, as absolute paths; only `config` is certain to exist. */
export interface RunPaths {
  readonly folder: string;
  /** How the training was asked for. */
  readonly config: string;
  /** A line of JSON for each epoch, and a last one for the test. */
  readonly metrics: string;
  /** The checkpoint with the lowest validation loss. */
  readonly best: string;
  /** The newest checkpoint. */
  readonly last: string;
  /** The inference model with the best parameters. */
  readonly model: string;
  /** What the best parameters make of each test example; only a run that has come to its end has it. */
  readonly predictions: string;
  /** What came out, as a page. */
  readonly report: string;
  /** Says which process trains into the folder. */
  readonly lock: string;
}

/** A run folder in use. */
export interface Run {
  readonly paths: RunPaths;
  readonly config: RunConfig;
  /** Gives the lock back; harmless where there is none. A process that ends without it leaves a lock that the next one takes over. */
  release(): void;
}

/** The files of a run folder. */
export function runPaths(folder: string): RunPaths {
  const root = resolve(folder);
  return {
    folder: root,
    config: join(root, 'config.json'),
    metrics: join(root, 'metrics.jsonl'),
    best: join(root, 'best.safetensors'),
    last: join(root, 'last.safetensors'),
    model: join(root, 'model.onnx'),
    predictions: join(root, 'predictions.csv'),
    report: join(root, 'report.html'),
    lock: join(root, 'train.lock'),
  };
}

/** The folder for a new run where none was asked for: `runs/MODEL-N`, N one above the highest there is. It is not made yet. */
export function nextRunFolder(model: string, root = 'runs'): string {
  const name = model.replaceAll(/[^\w.-]+/g, '-');
  const numbers = namesIn(root)
    .filter((entry) => entry.startsWith(`${name}-`))
    .map((entry) => entry.slice(name.length + 1))
    .filter((suffix) => /^\d+$/.test(suffix))
    .map(Number);
  return join(root, `${name}-${Math.max(0, ...numbers) + 1}`);
}

/**
 * Makes a run folder (or takes an empty one), locks it and writes its `config.json`.
 * @throws DdrcError RUN_EXISTS where the folder holds something, RUN_LOCKED, OUTPUT_UNWRITABLE, DISK_FULL
 */
export function createRun(folder: string, config: RunConfig): Run {
  const paths = runPaths(folder);
  makeFolder(paths.folder);
  const release = acquireLock(paths);
  try {
    const others = namesIn(paths.folder).filter((name) => name !== basename(paths.lock));
    if (others.length > 0) {
      const isRun = existsSync(paths.config);
      const message = isRun ? `${folder} holds a run already` : `${folder} is not empty: it holds ${others[0]}`;
      const hint = isRun
        ? `go on with --resume ${shellWord(folder)}, or give --run another folder`
        : 'give --run a folder that is new or empty';
      throw new DdrcError({ code: 'RUN_EXISTS', message, where: paths.folder, hint });
    }
    writeFileAtomic(paths.config, `${JSON.stringify({ version: runVersion, ...config }, null, 2)}\n`);
  } catch (error) {
    release();
    throw error;
  }
  return { paths, config, release };
}

/**
 * Adds to the `notes` of a run's config.json: what a reader of the run should know, a sentence each.
 * @throws DdrcError OUTPUT_UNWRITABLE, DISK_FULL
 */
export function addNotes({ config: file }: RunPaths, notes: readonly string[]): void {
  const config = JSON.parse(readFileSync(file, 'utf8'));
  writeFileAtomic(file, `${JSON.stringify({ ...config, notes: [...(config.notes ?? []), ...notes] }, null, 2)}\n`);
}

/**
 * Opens an existing run folder; with `lock`, to train on in it (which `eval` and `predict` do not need).
 * @throws DdrcError RUN_INVALID (no folder, no or unreadable config.json, another version), RUN_LOCKED, OUTPUT_UNWRITABLE
 */
export function openRun(folder: string, { lock = false }: { lock?: boolean } = {}): Run {
  const paths = runPaths(folder);
  const config = readConfig(folder, paths);
  return { paths, config, release: lock ? acquireLock(paths) : () => {} };
}

/**
 * Takes a folder's lock, as a training does.
 * @returns gives it back
 * @throws DdrcError RUN_LOCKED, OUTPUT_UNWRITABLE
 */
export function lockFolder(folder: string): () => void {
  return acquireLock(runPaths(folder));
}

/** Whether a process trains into the folder, as far as this machine can tell. */
export function isTraining({ lock }: RunPaths): boolean {
  const holder = readHolder(lock);
  return holder !== undefined && isHeld(holder);
}

function readConfig(folder: string, paths: RunPaths): RunConfig {
  const invalid = (message: string, where: string, hint: string, cause?: unknown) =>
    new DdrcError({ code: 'RUN_INVALID', message, where, hint, cause });
  if (!statSync(paths.folder, { throwIfNoEntry: false })?.isDirectory()) {
    const siblings = namesIn(dirname(paths.folder)).filter((name) =>
      existsSync(join(dirname(paths.folder), name, 'config.json')),
    );
    const hint =
      siblings.length > 0 ? `there are ${siblings.slice(0, 5).join(', ')} beside it` : 'give a folder that ddrc train made';
    throw invalid(`there is no run folder ${folder}`, paths.folder, hint);
  }
  let text: string;
  try {
    text = readFileSync(paths.config, 'utf8');
  } catch (error) {
    if (systemCode(error) !== 'ENOENT')
      throw invalid(`${paths.config} cannot be read`, paths.config, 'give this user the right to read it', error);
    throw invalid(`${folder} is not a run folder: it has no config.json`, paths.folder, 'give a folder that ddrc train made');
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalid(`${paths.config} is not JSON`, paths.config, 'restore the file, or train anew', error);
  }
  if (
    typeof value !== 'object' ||
    value === null ||
    !('version' in value) ||
    !('model' in value) ||
    typeof value.model !== 'string'
  ) {
    throw invalid(`${paths.config} is not the configuration of a run`, paths.config, 'give a folder that ddrc train made');
  }
  const { version, ...config } = value;
  if (version !== runVersion) {
    const message = `${folder} has run version ${JSON.stringify(version)}, this ddrc reads version ${runVersion}`;
    throw invalid(message, paths.config, 'use the version of ddrc that made it, or train anew');
  }
  return config as RunConfig;
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** Who holds a lock. A process id is used again after its process has died, so the time when the process started belongs to it. */
interface Holder {
  readonly pid: number;
  readonly host: string;
  /** The process's start in ticks since the machine started, where the system tells (Linux). */
  readonly started: string | null;
  /** Tells two locks of one process apart. */
  readonly token: string;
}

/** The tokens of the locks that this process holds. */
const held = new Set<string>();

/** Takes the folder's lock, also from a process that is dead, and removes what that one left half-written. Returns what gives the lock back. */
function acquireLock(paths: RunPaths): () => void {
  const own: Holder = {
    pid: process.pid,
    host: hostname(),
    started: startOf(process.pid),
    token: randomBytes(8).toString('hex'),
  };
  try {
    if (!createLock(paths.lock, own)) {
      setStaleAside(paths);
      if (!createLock(paths.lock, own)) throw lockedError(paths, readHolder(paths.lock));
    }
    for (const name of namesIn(paths.folder)) if (name.endsWith(partialSuffix)) rmSync(join(paths.folder, name), { force: true });
  } catch (error) {
    throw outputError(paths.lock, error);
  }
  held.add(own.token);
  return () => {
    if (held.delete(own.token) && readHolder(paths.lock)?.token === own.token) rmSync(paths.lock, { force: true });
  };
}

/** Makes the lock file; false where there is one. It is written under another name first: a lock that can be seen is whole. */
function createLock(path: string, holder: Holder): boolean {
  const text = `${JSON.stringify(holder)}\n`;
  const temporary = `${path}.${randomBytes(6).toString('hex')}${partialSuffix}`;
  try {
    writeFileSync(temporary, text, { flag: 'wx' });
    linkSync(temporary, path);
    return true;
  } catch (error) {
    // Who takes the lock removes partial files, this one too: then there is a lock.
    if (systemCode(error) === 'EEXIST' || (systemCode(error) === 'ENOENT' && existsSync(path))) return false;
    if (withoutLinks.has(systemCode(error)) && existsSync(temporary)) return createInPlace(path, text);
    throw error;
  } finally {
    rmSync(temporary, { force: true });
  }
}

/** What a file system says that has no hard links (FAT, some of the network). */
const withoutLinks: ReadonlySet<string> = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EINVAL']);

function createInPlace(path: string, text: string): boolean {
  try {
    writeFileSync(path, text, { flag: 'wx' });
    return true;
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false;
    // A full disk takes the name and not the content.
    rmSync(path, { force: true });
    throw error;
  }
}

/** Moves a dead process's lock away; only one of several processes that try succeeds. */
function setStaleAside(paths: RunPaths): void {
  const holder = readHolder(paths.lock);
  if (holder && isHeld(holder)) throw lockedError(paths, holder);
  const aside = `${paths.lock}.${randomBytes(6).toString('hex')}${partialSuffix}`;
  try {
    renameSync(paths.lock, aside);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return;
    throw error;
  }
  // Between reading and moving, another process may have taken the stale lock over: then what was moved is its lock.
  const moved = readHolder(aside);
  if (moved && moved.token !== holder?.token && isHeld(moved)) {
    renameSync(aside, paths.lock);
    throw lockedError(paths, moved);
  }
  rmSync(aside, { force: true });
}

function readHolder(path: string): Holder | undefined {
  try {
    const value = JSON.parse(readFileSync(path, 'utf8'));
    return Number.isInteger(value.pid) && value.pid > 0 ? value : undefined;
  } catch {
    return undefined;
  }
}

function isHeld({ pid, host, started, token }: Holder): boolean {
  // Another machine's processes cannot be seen from here.
  if (host !== hostname()) return true;
  const start = startOf(pid);
  if (started !== null && start !== null) return start === started;
  if (pid === process.pid) return held.has(token);
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCode(error) === 'EPERM';
  }
}

/** When a process started, from Linux's `/proc`: the 22nd field, counted behind the name, which may contain anything. */
function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A zombie has ended; its parent has not asked for its exit code yet.
    return fields[0] === 'Z' ? 'ended' : fields[19];
  } catch {
    return null;
  }
}

function lockedError({ folder, lock }: RunPaths, holder: Holder | undefined): DdrcError {
  const who = holder ? `process ${holder.pid}${holder.host === hostname() ? '' : ` on ${holder.host}`}` : 'another process';
  const hint = `wait for it or stop it, or use another folder; if it does not exist any more, delete ${lock}`;
  return new DdrcError({ code: 'RUN_LOCKED', message: `${who} is training into ${folder}`, where: lock, hint });
}
