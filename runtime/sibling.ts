import { type ChildProcess, fork } from 'node:child_process';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';

/*
 * Programs of this folder that run beside the main one. Where this file is compiled, they are too; where it is TypeScript (in tests, or run by a loader),
 * they are loaded through tsx.
 */
const source = import.meta.url.endsWith('.ts');

function programUrl(name: string): URL {
  return new URL(`./${name}.${source ? 'ts' : 'js'}`, import.meta.url);
}

function loader(entry: string): string {
  return pathToFileURL(createRequire(import.meta.url).resolve(entry).replace(/\.cjs$/, '.mjs')).href;
}

/** Starts the program `name` in a thread of its own. */
export function startThread(name: string, workerData: unknown): Worker {
  const url = programUrl(name);
  if (!source) return new Worker(url, { workerData });
  // In threads, Node 20 ignores the hooks that --import registers.
  const code = `import(${JSON.stringify(loader('tsx/esm/api'))}).then(({ register }) => { register(); return import(${JSON.stringify(url.href)}); })`;
  return new Worker(code, { workerData, eval: true });
}

/** Starts the program `name` in a process of its own that can send messages and prints nothing. */
export function startProcess(name: string, args: readonly string[]): ChildProcess {
  const execArgv = source ? ['--import', loader('tsx')] : [];
  return fork(programUrl(name), args, { execArgv, stdio: ['ignore', 'ignore', 'ignore', 'ipc'] });
}
