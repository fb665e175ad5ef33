import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';

export const checkout = join(import.meta.dirname, '..', '..');
const program = join(checkout, 'dist', 'cli', 'main.js');

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the compiled `ddrc` in a process of its own. */
export function ddrc(args: readonly string[], { cwd = checkout, env = {} }: { cwd?: string; env?: Record<string, string> } = {}): Promise<Outcome> {
  if (!existsSync(program)) throw new Error('there is no dist/cli/main.js: npm run build makes it');
  return new Promise((resolve) => {
    execFile(process.execPath, [program, ...args], { cwd, env: { ...process.env, ...env } }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      resolve({ code, stdout, stderr });
    });
  });
}

/** A folder for a test file, removed at its end. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'ddrc-cli-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A model that builds in a moment: 8 numbers to three classes. */
export const smallModel = `import { array, classIndex, defineModel, int, linear, relu, scope, softmaxCrossEntropy, type Tensor } from 'ddrc';

const hidden = (x: Tensor, units: number) => scope(x, 'hidden', (x) => relu(linear(x, 'fc', { units })));

export default defineModel({
  name: 'small',
  options: { classes: int(3, { min: 2 }), width: int(16, { min: 1 }) },
  inputs: () => ({ x: array([8]) }),
  targets: () => ({ label: classIndex() }),
  forward: ({ x }, { classes, width }) => ({ logits: linear(hidden(x, width), 'head', { units: classes }) }),
  loss: ({ logits }, { label }) => softmaxCrossEntropy(logits, label),
});
`;
