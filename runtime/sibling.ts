import { type ChildProcess, fork } from 'node:child_process';
import { statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { disableTelemetry } from './telemetry.ts';

/*
 * Programs of this folder that run beside the main one. Where this file is compiled, they are too. Where it is TypeScript (in tests, or run by a loader),
 * what stands in dist is taken if it is not older than the source, and otherwise the source, through tsx, which takes two seconds to start in a thread.
 */
const source = import.meta.url.endsWith('.ts');

function programUrl(name: string): URL {
  if (!source) return new URL(`./${name}.js`, import.meta.url);
  const written = new URL(`./${name}.ts`, import.meta.url);
  const compiled = new URL(`../dist/runtime/${name}.js`, import.meta.url);
  const age = (url: URL) => statSync(fileURLToPath(url), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  return age(compiled) >= age(written) ? compiled : written;
}

function loader(entry: string): string {
  return pathToFileURL(
    createRequire(import.meta.url)
      .resolve(entry)
      .replace(/\.cjs$/, '.mjs'),
  ).href;
}

/** Starts the program `name` in a thread of its own. */
export function startThread(name: string, workerData: unknown): Worker {
  disableTelemetry();
  const url = programUrl(name);
  if (url.pathname.endsWith('.js')) return new Worker(url, { workerData });
  // In threads, Node 20 ignores the hooks that --import registers.
  const code = `import(${JSON.stringify(loader('tsx/esm/api'))}).then(({ register }) => { register(); return import(${JSON.stringify(url.href)}); })`;
  return new Worker(code, { workerData, eval: true });
}

/** Starts the program `name` in a process of its own that can send messages and prints nothing. */
export function startProcess(name: string, args: readonly string[]): ChildProcess {
  disableTelemetry();
  const url = programUrl(name);
  const execArgv = url.pathname.endsWith('.js') ? [] : ['--import', loader('tsx')];
  return fork(url, args, { execArgv, stdio: ['ignore', 'ignore', 'ignore', 'ipc'] });
}
