import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { LoadedModel, ModelFile } from './engine.ts';

/*
 * An engine in a process of its own, which a crash or an exception handler of the engine cannot take ddrc down with. The program is told on its command line, in
 * JSON, the path of the model, its inputs and its output, and what else it needs. It says that it has loaded the model, then reads the arrays of a run from its
 * standard input, one after the other, and says the probabilities; and so on, until the input ends. What it says is a line `ddrc {…}` with `ready`, `values` or
 * `failed`; other lines are the engine's own.
 */

/** Seconds after which an engine counts as one that does not answer. */
const patience = 120;

interface Answer {
  readonly ready?: true;
  readonly values?: readonly (number | null)[];
  readonly failed?: string;
}

/** A command that runs a program's text, which it has as the last of its arguments. */
export interface Command {
  readonly file: string;
  readonly args: readonly string[];
}

/**
 * Starts a program and waits until it has loaded the model.
 * @param more what the program needs to know besides
 * @throws Error with the engine's words
 */
export async function startProgram({ file, args }: Command, model: ModelFile, more: object = {}): Promise<LoadedModel> {
  const { path, inputs, output } = model;
  const child = spawn(file, [...args, JSON.stringify({ path, inputs, output, ...more })], { stdio: 'pipe' });
  let complaint = '';
  let waiting: { resolve(answer: Answer): void; reject(error: Error): void } | null = null;
  let gone: Error | null = null;
  const fail = (message: string) => {
    gone ??= new Error(message);
    waiting?.reject(gone);
  };
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(-2000);
  });
  // A program that has ended reads no more; its end is noticed by itself.
  child.stdin.on('error', () => {});
  child.on('error', (error) => fail(`${file} cannot be started: ${error.message}`));
  const ended = new Promise<void>((resolve) => {
    child.on('close', (code, signal) => {
      const last = complaint.trim().split('\n').at(-1);
      fail(`its process ended with ${signal ?? `exit code ${code}`}${last ? `: ${last}` : ''}`);
      resolve();
    });
    child.on('error', () => resolve());
  });
  createInterface({ input: child.stdout }).on('line', (line) => {
    if (!line.startsWith('ddrc {')) return;
    try {
      waiting?.resolve(JSON.parse(line.slice('ddrc '.length)));
    } catch {
      // The engine wrote its own words between.
      fail('its answer cannot be read');
    }
  });
  const answer = (): Promise<Answer> =>
    new Promise<Answer>((resolve, reject) => {
      if (gone) throw gone;
      const timer = setTimeout(() => {
        fail(`it did not answer within ${patience} s`);
        child.kill('SIGKILL');
      }, patience * 1000);
      const settle = () => {
        clearTimeout(timer);
        waiting = null;
      };
      waiting = {
        resolve: (value) => {
          settle();
          if (value.failed === undefined) resolve(value);
          else reject(new Error(value.failed));
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      };
    });
  const close = async () => {
    child.stdin.end();
    // A graceful end is of no use to anyone.
    child.kill();
    await ended;
  };
  try {
    await answer();
  } catch (error) {
    await close();
    throw error;
  }
  return {
    async run(feeds) {
      const answered = answer();
      for (const { name } of inputs) {
        const { buffer, byteOffset, byteLength } = feeds[name].data;
        child.stdin.write(new Uint8Array(buffer, byteOffset, byteLength).slice());
      }
      const { values = [] } = await answered;
      return Float32Array.from(values, (value) => value ?? Number.NaN);
    },
    close,
  };
}
