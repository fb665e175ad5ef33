import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { checkout } from './ddrc.ts';

const folder = mkdtempSync(join(tmpdir(), 'ddrc-interrupt-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.skipIf(process.platform === 'win32')('Ctrl-C (skipped on Windows: a process cannot be sent it there)', () => {
  it('twice ends a process at once by the signal, while a thread of it is busy', async () => {
    const program = join(folder, 'busy.mjs');
    writeFileSync(
      program,
      `import { Worker } from 'node:worker_threads';
       import { onInterrupt } from ${JSON.stringify(pathToFileURL(join(checkout, 'dist/cli/interrupt.js')).href)};
       import { writeSync } from 'node:fs';
       onInterrupt(() => writeSync(1, 'first '), () => writeSync(1, 'second '));
       new Worker('const end = Date.now() + 20000; while (Date.now() < end);', { eval: true });
       setInterval(() => {}, 1000);
       writeSync(1, 'ready ');`,
    );
    const child = spawn(process.execPath, [program]);
    let stdout = '';
    child.stdout.on('data', (text) => {
      stdout += text;
      if (stdout === 'ready ') child.kill('SIGINT');
      if (stdout === 'ready first ') setTimeout(() => child.kill('SIGINT'), 900);
    });
    const signal = await new Promise((resolve) => child.on('close', (_code, signal) => resolve(signal)));
    expect([stdout, signal]).toEqual(['ready first second ', 'SIGINT']);
  }, 15_000);
});
