import { spawn } from 'node:child_process';
import { appendFileSync, cpSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { readLines } from '../../runtime/files.ts';
import { openRun } from '../../runtime/runfolder.ts';
import { checkout, ddrc, type Outcome, temporaryFolder } from './ddrc.ts';
import { pictureFolder } from './picture-folder.ts';

const folder = temporaryFolder();
const at = (...parts: string[]) => join(folder, ...parts);
// A copy, because a test changes it.
const model = at('net.ts');
const settings = ['--size', '32', '--option', 'channels=4', '--option', 'drdb=false', '--batch', '4', '--epochs', '16'];
const start = ['train', 'net.ts', '--data', 'data', '--device', 'cpu', '--cache', 'none', ...settings];
const resume = (run: string, ...more: string[]) => ddrc(['train', '--resume', run, '--cache', 'none', ...more], { cwd: folder });

/** Runs a command and sends it signals, each when a line of its stderr matches. */
function interrupted(
  args: readonly string[],
  signals: readonly (readonly [when: RegExp, signal: NodeJS.Signals])[],
): Promise<Outcome> {
  const child = spawn(process.execPath, [join(checkout, 'dist', 'cli', 'main.js'), ...args], { cwd: folder });
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

/** What a run leaves that follows from its seed. */
function remains(run: string) {
  const lines = readLines(at(run, 'metrics.jsonl')) as Record<string, unknown>[];
  const bytes = (name: string) => readFileSync(at(run, name)).toString('base64');
  return {
    lines: lines.map(({ seconds, ...line }) => line),
    last: bytes('last.safetensors'),
    best: bytes('best.safetensors'),
    model: bytes('model.onnx'),
  };
}

beforeAll(async () => {
  cpSync(join(checkout, 'models', 'ddrnet.ts'), model);
  await pictureFolder(at('data'), { split: 'TRAIN', each: 24 });
  await pictureFolder(at('data'), { split: 'TEST', each: 4 });
  expect(await ddrc([...start, '--run', 'whole'], { cwd: folder })).toMatchObject({ code: 0 });
});

describe('a run that is stopped and resumed', () => {
  it('ends as one that was not, byte for byte: Ctrl-C, then kill -9, then to the end', async () => {
    const stopped = await interrupted([...start, '--run', 'stopped'], [[/^epoch 3\/16 /m, 'SIGINT']]);
    expect(stopped.code).toBe(130);
    expect(stopped.stderr).toContain('stopping after this step');
    expect(stopped.stdout).toMatch(/^stopped after \d+ of 16 epochs; go on with\n {2}npx ddrc train --resume stopped\n$/);
    const done = Number(/after (\d+) of/.exec(stopped.stdout)![1]);
    expect(done).toBeGreaterThanOrEqual(3);
    expect(done).toBeLessThan(16);
    expect(existsSync(at('stopped', 'train.lock'))).toBe(false);

    const again = ['train', '--resume', 'stopped', '--cache', 'none'];
    const killed = await interrupted(again, [[new RegExp(`^epoch ${Math.min(done + 4, 14)}/16 `, 'm'), 'SIGKILL']]);
    expect(killed.code).toBe(-1);
    expect(readLines(at('stopped', 'metrics.jsonl')).length).toBeLessThan(17);

    expect(await resume('stopped')).toMatchObject({ code: 0, stdout: expect.stringMatching(/^8 test examples/) });
    expect(remains('stopped')).toEqual(remains('whole'));
  });

  it('ends as one that was not after SIGTERM while nothing has been saved but the start', async () => {
    const { code } = await interrupted([...start, '--run', 'early'], [[/^run +early/m, 'SIGTERM']]);
    expect(code).toBe(130);
    // Stopped while it read the images: nothing is left. Stopped later: it goes on.
    if (existsSync(at('early'))) expect(await resume('early')).toMatchObject({ code: 0 });
    else expect(await ddrc([...start, '--run', 'early'], { cwd: folder })).toMatchObject({ code: 0 });
    expect(remains('early')).toEqual(remains('whole'));
  });

  it('says so where it is complete, and changes nothing', async () => {
    const before = remains('whole');
    const { code, stdout, stderr } = await resume('whole');
    expect([code, stderr]).toEqual([0, 'the run in whole is complete: 16 of 16 epochs\n']);
    expect(stdout).toMatch(/^8 test examples, weights of epoch \d+/);
    expect(stdout).toContain('macro mean');
    expect(remains('whole')).toEqual(before);
    const json = JSON.parse((await resume('whole', '--json')).stdout);
    const [{ bestEpoch }] = [json];
    expect(json).toMatchObject({ stopped: false, epochs: 16, test: (before.lines.at(-1) as { test: object }).test });
    expect((before.lines[bestEpoch - 1] as unknown as { val: { loss: number } }).val.loss).toBe(json.bestLoss);
  });
});

describe('a run cannot be resumed', () => {
  /** A run that was stopped after its first epoch. */
  const stopped = async (name: string) => {
    const { code } = await interrupted([...start, '--run', name], [[/^epoch 1\/16 /m, 'SIGINT']]);
    expect(code).toBe(130);
  };
  const refused = async (run: string, error: string, sentence: RegExp) => {
    const { code, stdout, stderr } = await resume(run);
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(new RegExp(`^${error} {2}`, 'm'));
    expect(stderr).toMatch(sentence);
    expect(existsSync(at(run, 'train.lock'))).toBe(false);
  };

  beforeAll(() => stopped('base'));
  const copy = (name: string) => cpSync(at('base'), at(name), { recursive: true });

  it('with another model', async () => {
    const text = readFileSync(model, 'utf8');
    writeFileSync(model, text.replaceAll('tanh(', 'relu('));
    await refused(
      'base',
      'RESUME_DIFFERS',
      /the model is not the one that the run was started with: .*net\.ts compiles to another/,
    );
    writeFileSync(model, text.replaceAll("'glfeb'", "'glf'"));
    await refused('base', 'RESUME_DIFFERS', /net\.ts compiles to another/);
    // A comment changes nothing.
    writeFileSync(model, text);
    appendFileSync(model, '// read again\n');
    copy('commented');
    expect(await resume('commented')).toMatchObject({ code: 0 });
    writeFileSync(model, text);
    expect(remains('commented')).toEqual(remains('whole'));
  });

  it('with other data', async () => {
    const added = at('data', 'TRAIN', 'red', 'zzz.png');
    cpSync(at('data', 'TRAIN', 'red', '000.png'), added);
    await refused('base', 'RESUME_DIFFERS', /the data are not those that the run was started with/);
    rmSync(added);
  });

  it('from a damaged checkpoint', async () => {
    const bytes = readFileSync(at('base', 'last.safetensors'));
    copy('flipped');
    const flipped = Buffer.from(bytes);
    flipped[bytes.length - 1000] ^= 4;
    writeFileSync(at('flipped', 'last.safetensors'), flipped);
    await refused('flipped', 'CHECKPOINT_DAMAGED', /last\.safetensors is damaged: its bytes do not have the checksum/);
    writeFileSync(at('flipped', 'last.safetensors'), bytes.subarray(0, bytes.length - 7));
    await refused('flipped', 'SAFETENSORS_TRUNCATED', /last\.safetensors/);
    expect(readFileSync(at('flipped', 'last.safetensors')).length).toBe(bytes.length - 7);
  });

  it('without a usable config.json', async () => {
    copy('configless');
    writeFileSync(at('configless', 'config.json'), '{"version": 1, "model": "ddrnet"}');
    await refused('configless', 'RUN_INVALID', /has no usable "options"/);
  });

  it('while another process trains into it', async () => {
    copy('locked');
    const { release } = openRun(at('locked'), { lock: true });
    const { code, stderr } = await resume('locked');
    release();
    expect(code).toBe(1);
    expect(stderr).toContain(`RUN_LOCKED  process ${process.pid} is training into ${at('locked')}`);
  });
});
