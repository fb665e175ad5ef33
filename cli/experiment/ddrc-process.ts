import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { packageRoot } from '../project.ts';

export interface DdrcOutcome {
  /** Null where it was ended by a signal. */
  readonly code: number | null;
  readonly stdout: string;
  /** The last 4,000 letters of what it wrote to stderr. */
  readonly said: string;
}

/**
 * Has this process stop where the one that started it by {@link runDdrc} was killed: as by SIGTERM, so a training leaves a checkpoint.
 */
export function endWithParent(): void {
  process.channel?.unref();
  if (process.channel) process.on('disconnect', () => process.kill(process.pid, 'SIGTERM'));
}

/**
 * Runs a command of ddrc in a process of its own, which stops when this one is gone.
 * @param signal asks it to stop (SIGTERM), as a training does with a checkpoint. Ctrl-C in a terminal reaches it as well
 * @param onLine told of each line that it writes to stderr
 */
export function runDdrc(
  args: readonly string[],
  signal: AbortSignal,
  onLine: (line: string) => void = () => {},
): Promise<DdrcOutcome> {
  const child = spawn(process.execPath, [join(packageRoot, 'dist', 'cli', 'main.js'), ...args], {
    // The channel tells it when this process is gone, see endWithParent.
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  const stop = () => child.kill('SIGTERM');
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop);
  let [stdout, said] = ['', ''];
  child.stdout!.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-4000);
    for (const line of text.split(/[\r\n]+/)) if (line.trim() !== '') onLine(line.trim());
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      signal.removeEventListener('abort', stop);
      resolve({ code, stdout, said });
    });
  });
}
