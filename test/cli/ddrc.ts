import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll } from 'vitest';

export const checkout = join(import.meta.dirname, '..', '..');
const program = join(checkout, 'dist', 'cli', 'main.js');

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the compiled `ddrc` in a process of its own. */
export function ddrc(
  args: readonly string[],
  { cwd = checkout, env = {} }: { cwd?: string; env?: Record<string, string> } = {},
): Promise<Outcome> {
  if (!existsSync(program)) throw new Error('there is no dist/cli/main.js: npm run build makes it');
  return new Promise((resolve) => {
    execFile(process.execPath, [program, ...args], { cwd, env: { ...process.env, ...env } }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      resolve({ code, stdout, stderr });
    });
  });
}

/**
 * Loads these model files one after the other in one process, as the commands do, and sets their options to the defaults.
 * @returns what the command would have written to stderr, by file; null for a file that is fine
 */
export async function loadAll(files: readonly string[], cwd: string): Promise<Record<string, string | null>> {
  const from = (name: string) => JSON.stringify(pathToFileURL(join(checkout, 'dist', name)).href);
  const code = `
    import { formatDiagnosis } from ${from('diagnostics/error.js')};
    import { instantiate, loadModel } from ${from('cli/load-model.js')};
    const texts = {};
    for (const file of ${JSON.stringify(files)}) {
      try {
        instantiate(await loadModel(file), {});
        texts[file] = null;
      } catch (error) {
        texts[file] = error.name === 'DdrcError' ? formatDiagnosis(error) : error.stack;
      }
    }
    console.log(JSON.stringify(texts));`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', code], { cwd });
  return JSON.parse(stdout);
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
