import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { dependencySpec } from '../../cli/project.ts';
import { checkout, ddrc, temporaryFolder } from './ddrc.ts';

const folder = temporaryFolder();
const at = (...parts: string[]) => join(folder, ...parts);

describe('ddrc init', () => {
  beforeAll(async () => {
    const { code, stdout, stderr } = await ddrc(['init', 'My Cells'], { cwd: folder });
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toContain("cd 'My Cells'\n");
  });

  it('makes a project that depends on this ddrc', () => {
    expect(readdirSync(at('My Cells')).sort()).toEqual([
      '.gitignore',
      '.npmrc',
      'README.md',
      'data',
      'model.ts',
      'package.json',
      'tsconfig.json',
    ]);
    const { name, type, dependencies } = JSON.parse(readFileSync(at('My Cells', 'package.json'), 'utf8'));
    expect({ name, type }).toEqual({ name: 'my-cells', type: 'module' });
    expect(dependencies.ddrc).toBe(`file:${relative(at('My Cells'), checkout)}`);
    expect(dependencySpec(join(checkout, '..', 'beside'))).toBe(`file:../${basename(checkout)}`);
  });

  it('whose model builds at once', async () => {
    const { code, stdout, stderr } = await ddrc(['build', 'model.ts', '--out', 'build'], { cwd: at('My Cells') });
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toContain('built my-cells in ');
    const manifest = JSON.parse(readFileSync(at('My Cells', 'build', 'manifest.json'), 'utf8'));
    expect(Object.keys(manifest.files)).toContain('step.onnx');
    expect(manifest.statistics.length).toBe(6);
  });

  it('whose model is free of type errors', async () => {
    // What npm install would put there.
    mkdirSync(at('My Cells', 'node_modules'));
    symlinkSync(checkout, at('My Cells', 'node_modules', 'ddrc'), 'junction');
    const compiler = join(checkout, 'node_modules', 'typescript', 'bin', 'tsc');
    const run = promisify(execFile)(process.execPath, [compiler, '-p', '.'], { cwd: at('My Cells') });
    expect(
      await run.then(
        ({ stdout }) => stdout,
        (error) => error.stdout,
      ),
    ).toBe('');
  });

  it('refuses a folder that holds something, and a file', async () => {
    mkdirSync(at('full'));
    writeFileSync(at('full', 'thesis.tex'), 'years of work');
    for (const name of ['full', join('full', 'thesis.tex')]) {
      const { code, stdout, stderr } = await ddrc(['init', name], { cwd: folder });
      expect([code, stdout]).toEqual([1, '']);
      expect(stderr).toMatch(/^PROJECT_EXISTS/);
    }
    expect(readdirSync(at('full'))).toEqual(['thesis.tex']);
    expect(readFileSync(at('full', 'thesis.tex'), 'utf8')).toBe('years of work');
  });

  it('takes an empty folder, by its own name', async () => {
    mkdirSync(at('empty'));
    const { code, stdout } = await ddrc(['init', '.'], { cwd: at('empty') });
    expect(code).toBe(0);
    expect(stdout).not.toContain('  cd ');
    expect(JSON.parse(readFileSync(at('empty', 'package.json'), 'utf8')).name).toBe(basename(at('empty')));
    expect(dirname(at('empty'))).toBe(folder);
  });

  it.skipIf(process.platform === 'win32')('leaves nothing behind where it cannot write (needs a shell with ulimit)', () => {
    const command = `ulimit -f 0; exec "${process.execPath}" "${join(checkout, 'dist', 'cli', 'main.js')}" init limited`;
    const { status, stderr } = spawnSync('sh', ['-c', command], { cwd: folder, encoding: 'utf8' });
    expect(status).toBe(1);
    expect(stderr).toMatch(
      /^OUTPUT_UNWRITABLE {2}.*limited\/package\.json cannot be written: it is larger than files may be here\n/,
    );
    expect(existsSync(at('limited'))).toBe(false);
  });

  it('refuses what is no name', async () => {
    const { code, stderr } = await ddrc(['init', '...'], { cwd: folder });
    expect(code).toBe(2);
    expect(stderr).toContain('cannot be the name of a project');
  });
});
