import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { checkout } from './ddrc.ts';

const folder = mkdtempSync(join(tmpdir(), 'ddrc-interrupt-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.skipIf(process.platform === 'win32')('a signal (skipped on Windows: a process cannot be sent one there)', () => {
  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)(
    '%s stands for exit code %i, and twice ends a process at once by the signal, while a thread of it is busy',
    async (asked, code) => {
      const program = join(folder, 'busy.mjs');
      writeFileSync(
        program,
        `import { Worker } from 'node:worker_threads';
       import { onInterrupt } from ${JSON.stringify(pathToFileURL(join(checkout, 'dist/cli/interrupt.js')).href)};
       import { writeSync } from 'node:fs';
       onInterrupt((code) => writeSync(1, 'first ' + code + ' '), () => writeSync(1, 'second '));
       new Worker('const end = Date.now() + 20000; while (Date.now() < end);', { eval: true });
       setInterval(() => {}, 1000);
       writeSync(1, 'ready ');`,
      );
      const child = spawn(process.execPath, [program]);
      let stdout = '';
      child.stdout.on('data', (text) => {
        stdout += text;
        if (stdout === 'ready ') child.kill(asked);
        if (stdout === `ready first ${code} `) setTimeout(() => child.kill(asked), 900);
      });
      const signal = await new Promise((resolve) => child.on('close', (_code, signal) => resolve(signal)));
      expect([stdout, signal]).toEqual([`ready first ${code} second `, asked]);
    },
    15_000,
  );
});
