import { spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkout, ddrc, smallModel, temporaryFolder } from './ddrc.ts';

const folder = temporaryFolder();
writeFileSync(join(folder, 'small.ts'), smallModel);
const commands = ['init', 'build', 'summary', 'doctor'];

describe('ddrc', () => {
  it('shows its version', async () => {
    const { version } = JSON.parse(readFileSync(join(checkout, 'package.json'), 'utf8'));
    expect(await ddrc(['--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
  });

  it('lists its commands', async () => {
    const { code, stdout } = await ddrc(['--help']);
    expect(code).toBe(0);
    for (const command of commands) expect(stdout).toMatch(new RegExp(`^  ${command}\\b`, 'm'));
  });

  it.each(commands)('%s --help ends with an example', async (command) => {
    const { code, stdout } = await ddrc([command, '--help']);
    expect(code).toBe(0);
    expect(stdout.trimEnd().split('\n').at(-1)).toMatch(new RegExp(`^  \\$ ddrc ${command} `.trimEnd()));
  });

  it('without a command is wrong usage and shows the help', async () => {
    const { code, stdout, stderr } = await ddrc([]);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toContain('Usage: ddrc');
  });

  it.each([
    ['an unknown command', ['biuld'], "unknown command 'biuld', did you mean build?"],
    ['an unknown flag', ['summary', '--jsn'], 'unknown option --jsn, did you mean --json?'],
    ['a flag without its value', ['summary', '--size'], 'option --size <n> argument missing'],
    ['a value out of range', ['build', '--out', 'x', '--opset', '12'], 'It must be a whole number from 13 to 25.'],
    ['an option without =', ['summary', '--option', 'drdb'], 'It must be NAME=VALUE.'],
    ['a required flag left out', ['build'], 'required option --out <folder> not specified'],
    ['one argument too many', ['doctor', 'now'], "too many arguments for 'doctor'"],
  ])('calls %s wrong usage', async (_, args, sentence) => {
    const { code, stdout, stderr } = await ddrc(args, { cwd: folder });
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(/^USAGE {2}/);
    expect(stderr).toContain(sentence);
    expect(stderr).not.toMatch(/^\s+at .*:\d+:\d+/m);
  });

  it('shows a stack only when asked to', async () => {
    const args = ['summary', 'nowhere.ts'];
    expect((await ddrc(args, { cwd: folder })).stderr).not.toContain('findFile');
    expect((await ddrc(args, { cwd: folder, env: { DDRC_DEBUG: '1' } })).stderr).toContain('findFile');
  });

  it('says so where its output cannot be written (needs /dev/full)', async ({ skip }) => {
    skip(!existsSync('/dev/full'), 'there is no /dev/full');
    const full = openSync('/dev/full', 'w');
    const { status, stderr } = spawnSync(process.execPath, [join(checkout, 'dist', 'cli', 'main.js'), 'summary', 'small.ts'], {
      cwd: folder,
      stdio: ['ignore', full, 'pipe'],
      encoding: 'utf8',
    });
    closeSync(full);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^OUTPUT_UNWRITABLE {2}standard output cannot be written \(ENOSPC\)\n/);
  });

  it('says so where the model file ends the process', async () => {
    writeFileSync(join(folder, 'leaves.ts'), 'process.exit(0);\n');
    const { code, stdout, stderr } = await ddrc(['summary', 'leaves.ts'], { cwd: folder });
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toBe('MODEL_FAILED  the model file ended the process (process.exit)\n  at leaves.ts\n');
  });

  it('is not disturbed by a reader that stops reading', async () => {
    const child = spawn(process.execPath, [join(checkout, 'dist', 'cli', 'main.js'), 'summary', 'small.ts'], {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child.stdout.destroy();
    let stderr = '';
    child.stderr.on('data', (chunk) => {
      stderr += chunk;
    });
    const code = await new Promise((resolve) => child.on('close', resolve));
    expect([code, stderr]).toEqual([0, '']);
  });
});
