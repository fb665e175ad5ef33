import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '../..');
const folders: string[] = [];

/** What a program leaves in an empty temporary folder. */
function leftBehind(program: string): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'ddrc-telemetry-'));
  folders.push(folder);
  const empty = mkdtempSync(join(folder, 'tmp-'));
  const file = join(folder, 'program.mjs');
  writeFileSync(file, program);
  // The library also keeps quiet where a variable says that this is a build server.
  const quiet = ['ORT_DISABLE_TELEMETRY', 'CI', 'GITHUB_ACTIONS', 'TF_BUILD'];
  const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !quiet.includes(name)));
  execFileSync(process.execPath, [file], { cwd: root, env: { ...environment, TMPDIR: empty } });
  return readdirSync(empty);
}

afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

describe.skipIf(process.platform !== 'linux')(
  "ONNX Runtime's usage reports (Linux only: elsewhere the library has no such client)",
  () => {
    const runtime = JSON.stringify(pathToFileURL(join(root, 'dist/runtime/index.js')).href);

    it('start with a bare session, which shows that this test sees them', () => {
      const model = `(await import(${runtime})).blockSize`;
      const bare = JSON.stringify(pathToFileURL(join(root, 'node_modules/onnxruntime-node/dist/index.js')).href);
      const left = leftBehind(`
      void ${model};
      const { InferenceSession } = (await import(${bare})).default;
      await InferenceSession.create(new Uint8Array([8, 8])).catch(() => {});
    `);
      expect(left.some((name) => name.startsWith('mat-debug'))).toBe(true);
    });

    it('do not start with ours, in a thread or in a process', () => {
      const left = leftBehind(`
      const { blockSize, probe } = await import(${runtime});
      await blockSize();
      await probe('cpu');
    `);
      expect(left).toEqual([]);
    });
  },
);
