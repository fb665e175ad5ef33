import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import type { Command } from './program.ts';

/** A package that a program can load. */
export interface NodePackage {
  /** The file that is its entry. */
  readonly entry: string;
  readonly version: string;
}

/** A package as it is found from these folders, each version of it once. */
export function packagesNamed(name: string, folders: readonly string[]): NodePackage[] {
  const found = folders.map((folder) => packageFrom(folder, name)).filter((one) => one !== null);
  return found.filter(({ version }, i) => found.findIndex((other) => other.version === version) === i);
}

function packageFrom(folder: string, name: string): NodePackage | null {
  const require = createRequire(resolve(folder, 'package.json'));
  try {
    const entry = require.resolve(name);
    // Not every package lets its package.json be asked for by name.
    for (let at = dirname(entry); at !== dirname(at); at = dirname(at)) {
      const known = described(join(at, 'package.json'));
      if (known) return { entry, version: known };
    }
  } catch {
    // It is not there.
  }
  return null;
}

function described(file: string): string | null {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).version ?? null;
  } catch {
    return null;
  }
}

/** The start of every program: what `program.ts` describes. `serve(run)` calls `run` with the arrays by name and says what it resolves to. */
const prelude = `
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const asked = JSON.parse(process.argv[1]);
const load = () => createRequire(asked.entry)(asked.entry);
const say = (answer) => process.stdout.write('ddrc ' + JSON.stringify(answer) + '\\n');
const arrays = { float32: Float32Array, float64: Float64Array, int64: BigInt64Array, int32: Int32Array, uint8: Uint8Array, bool: Uint8Array };

async function attempt(action, wordsOf = (error) => error?.message ?? String(error)) {
  try {
    return await action();
  } catch (error) {
    say({ failed: wordsOf(error) });
    process.exit();
  }
}

async function serve(run, wordsOf) {
  const ports = asked.inputs.map((port) => ({ ...port, length: port.shape.reduce((a, b) => a * b, 1) }));
  const total = ports.reduce((sum, { dtype, length }) => sum + length * arrays[dtype].BYTES_PER_ELEMENT, 0);
  let chunks = [];
  let held = 0;
  say({ ready: true });
  for await (const chunk of process.stdin) {
    chunks.push(chunk);
    held += chunk.length;
    if (held < total) continue;
    const bytes = new Uint8Array(Buffer.concat(chunks));
    chunks = [];
    held = 0;
    const feeds = {};
    let at = 0;
    for (const { name, dtype, shape, length } of ports) {
      const size = length * arrays[dtype].BYTES_PER_ELEMENT;
      feeds[name] = { dtype, shape, data: new arrays[dtype](bytes.slice(at, at + size).buffer) };
      at += size;
    }
    const values = await attempt(() => run(feeds), wordsOf);
    say({ values: Array.from(values, (value) => (Number.isFinite(value) ? value : null)) });
  }
}
`;

/** A program for this Node, on the prelude above. */
export function nodeProgram(text: string): Command {
  return { file: process.execPath, args: ['--input-type=module', '-e', `${prelude}\n${text}`] };
}
