import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { checkout, type Outcome } from './ddrc.ts';

/** Runs a command in `cwd` and sends it signals, each when a line of its stderr matches. */
export function interrupted(
  args: readonly string[],
  signals: readonly (readonly [when: RegExp, signal: NodeJS.Signals])[],
  cwd: string,
): Promise<Outcome> {
  const child = spawn(process.execPath, [join(checkout, 'dist', 'cli', 'main.js'), ...args], { cwd });
  const left = [...signals];
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (text) => {
    stdout += text;
  });
  child.stderr.on('data', (text) => {
    stderr += text;
    if (left.length > 0 && left[0][0].test(stderr)) child.kill(left.shift()![1]);
  });
  return new Promise((resolve) => child.on('close', (code) => resolve({ code: code ?? -1, stdout, stderr })));
}
