import { appendFileSync, cpSync, existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { defaultAugmentation } from '../../runtime/data/augment.ts';
import { readLines } from '../../runtime/files.ts';
import { openRun, type Run } from '../../runtime/runfolder.ts';
import { checkout, ddrc, type Outcome, temporaryFolder } from './ddrc.ts';
import { ddrcInOneProcess } from './one-process.ts';
import { pictureFolder } from './picture-folder.ts';
import { interrupted } from './signals.ts';

const folder = temporaryFolder();
const at = (...parts: string[]) => join(folder, ...parts);
// A copy, because tests change it.
const model = at('net.ts');
const settings = ['--size', '32', '--option', 'channels=4', '--option', 'drdb=false', '--batch', '4', '--epochs', '12'];
const start = ['train', 'net.ts', '--data', 'data', '--device', 'cpu', '--cache', 'none', ...settings];

/** What a run leaves that follows from its seed. */
function remains(run: string) {
  const lines = readLines(at(run, 'metrics.jsonl')) as Record<string, unknown>[];
  const bytes = (name: string) => readFileSync(at(run, name)).toString('base64');
  return {
    lines: lines.map(({ seconds, ...line }) => line),
    last: bytes('last.safetensors'),
    best: bytes('best.safetensors'),
    model: bytes('model.onnx'),
    predictions: bytes('predictions.csv'),
  };
}

beforeAll(async () => {
  cpSync(join(checkout, 'models', 'ddrnet.ts'), model);
  await pictureFolder(at('data'), { split: 'TRAIN', each: 24 });
  await pictureFolder(at('data'), { split: 'TEST', each: 4 });
  cpSync(at('data'), at('copy'), { recursive: true });
  cpSync(at('data'), at('changed'), { recursive: true });
  cpSync(at('data', 'TRAIN', 'red', '001.png'), at('changed', 'TRAIN', 'red', '000.png'));
  expect(await ddrc([...start, '--run', 'whole'], { cwd: folder })).toMatchObject({ code: 0 });
});

describe('a run that is stopped and resumed', () => {
  it('ends as one that was not, byte for byte: Ctrl-C, then kill -9, then to the end', async () => {
    const stopped = await interrupted([...start, '--run', 'stopped'], [[/^epoch 2\/12 /m, 'SIGINT']], folder);
    expect(stopped.code).toBe(130);
    expect(stopped.stderr).toContain('stopping after this step');
    expect(stopped.stdout).toMatch(/^stopped after \d+ of 12 epochs; go on with\n {2}npx ddrc train --resume stopped\n$/);
    const done = Number(/after (\d+) of/.exec(stopped.stdout)![1]);
    expect(done).toBeGreaterThanOrEqual(2);
    expect(done).toBeLessThan(12);
    expect(existsSync(at('stopped', 'train.lock'))).toBe(false);
    expect(readFileSync(at('stopped', 'report.html'), 'utf8')).toContain(`stopped: ${done} of 12 epochs are finished.`);
    cpSync(at('stopped'), at('base'), { recursive: true });

    const again = ['train', '--resume', 'stopped', '--cache', 'none'];
    const killed = await interrupted(again, [[new RegExp(`^epoch ${Math.min(done + 2, 11)}/12 `, 'm'), 'SIGKILL']], folder);
    expect(killed.code).toBe(-1);
    expect(readLines(at('stopped', 'metrics.jsonl')).length).toBeLessThan(13);

    // A comment in the model file changes nothing.
    appendFileSync(model, '// read again\n');
    const resumed = await ddrc(again, { cwd: folder });
    expect(resumed).toMatchObject({ code: 0, stdout: expect.stringMatching(/^8 test examples/) });
    expect(remains('stopped')).toEqual(remains('whole'));
  });

  it('ends as one that was not after SIGTERM while nothing has been saved but the start', async () => {
    const { code } = await interrupted([...start, '--run', 'early'], [[/^run +early/m, 'SIGTERM']], folder);
    expect(code).toBe(143);
    // Stopped while it read the images: nothing is left. Stopped later: it goes on.
    const again = existsSync(at('early')) ? ['train', '--resume', 'early', '--cache', 'none'] : [...start, '--run', 'early'];
    expect(await ddrc(again, { cwd: folder })).toMatchObject({ code: 0 });
    expect(remains('early')).toEqual(remains('whole'));
  });

  it('goes on with a copy of its data; a run of before contents were looked at, with changed ones too', async () => {
    const path = (run: string, path: string, more: object) => {
      cpSync(at('base'), at(run), { recursive: true });
      const config = JSON.parse(readFileSync(at(run, 'config.json'), 'utf8'));
      writeFileSync(at(run, 'config.json'), JSON.stringify({ ...config, data: { ...config.data, path, ...more } }));
      return ['train', '--resume', run, '--cache', 'none'];
    };
    expect(statSync(at('copy', 'TRAIN', 'red', '000.png')).mtimeMs).not.toBe(
      statSync(at('data', 'TRAIN', 'red', '000.png')).mtimeMs,
    );
    const calls = [path('copied', '../copy', {}), path('old', '../changed', { contents: undefined })];
    for (const outcome of await ddrcInOneProcess(calls, folder)) expect(outcome).toMatchObject({ code: 0 });
    expect(remains('copied')).toEqual(remains('whole'));
  });

  it('says so where it is complete, and changes nothing', async () => {
    const before = remains('whole');
    const calls = [[], ['--json']].map((more) => ['train', '--resume', 'whole', '--cache', 'none', ...more]);
    const [{ code, stdout, stderr }, asJson] = await ddrcInOneProcess(calls, folder);
    expect([code, stderr]).toEqual([0, 'the run in whole is complete: 12 of 12 epochs\n']);
    expect(stdout).toMatch(/^8 test examples, weights of epoch \d+/);
    expect(stdout).toContain('macro mean');
    expect(remains('whole')).toEqual(before);
    // The same model.onnx is made again where it was lost.
    cpSync(at('whole'), at('modelless'), { recursive: true });
    rmSync(at('modelless', 'model.onnx'));
    expect(await ddrc(['train', '--resume', 'modelless', '--cache', 'none'], { cwd: folder })).toMatchObject({ code: 0 });
    expect(remains('modelless')).toEqual(before);
    const json = JSON.parse(asJson.stdout);
    expect(json).toMatchObject({ stopped: false, epochs: 12, test: (before.lines.at(-1) as { test: object }).test });
    expect((before.lines[json.bestEpoch - 1] as unknown as { val: { loss: number } }).val.loss).toBe(json.bestLoss);
  });
});

describe('a run cannot be resumed', () => {
  /** What becomes of a copy of the run that was stopped. */
  const ruin: Record<string, [ruin: (run: string) => void, error: string, sentence: RegExp]> = {
    'with another model': [
      (run) => configure(run, (config) => ({ ...config, modelFile: '../relu.ts' })),
      'RESUME_DIFFERS',
      /the model is not the one that the run was started with: .*relu\.ts compiles to another/,
    ],
    'with the same model of other names': [
      (run) => configure(run, (config) => ({ ...config, modelFile: '../names.ts' })),
      'RESUME_DIFFERS',
      /names\.ts compiles to another/,
    ],
    'with other data': [
      (run) => configure(run, ({ data, ...config }) => ({ ...config, data: { ...(data as object), path: '../more' } })),
      'RESUME_DIFFERS',
      /the data are not those that the run was started with/,
    ],
    'with a picture of other content under its name': [
      (run) => configure(run, ({ data, ...config }) => ({ ...config, data: { ...(data as object), path: '../changed' } })),
      'RESUME_DIFFERS',
      /the data are not those that the run was started with: images of .*changed have other contents now/,
    ],
    'from weights that are gone, before its first checkpoint': [
      (run) => {
        for (const name of ['last.safetensors', 'best.safetensors', 'metrics.jsonl']) rmSync(at(run, name));
        configure(run, (config) => ({ ...config, weights: '../gone.safetensors' }));
      },
      'FILE_MISSING',
      /gone\.safetensors does not exist, and the run has no checkpoint yet: [\s\S]*hint: bring the file back, or start a new run$/m,
    ],
    'from a checkpoint with a flipped bit': [
      (run) => change(run, 'last.safetensors', (bytes) => bytes.map((byte, i) => byte ^ (i === bytes.length - 1000 ? 4 : 0))),
      'CHECKPOINT_DAMAGED',
      /last\.safetensors is damaged: its bytes do not have the checksum/,
    ],
    'from a checkpoint that does not say how far it is': [
      (run) =>
        change(run, 'last.safetensors', (bytes) => Buffer.from(replaced(bytes, '"progress":"{', '"progress":"['), 'latin1')),
      'CHECKPOINT_DAMAGED',
      /last\.safetensors is damaged/,
    ],
    'without its checkpoint, whose epochs it would train over': [
      (run) => rmSync(at(run, 'last.safetensors')),
      'FILE_MISSING',
      /has trained epochs, but its checkpoint .*last\.safetensors is missing/,
    ],
    'from a truncated checkpoint': [
      (run) => change(run, 'last.safetensors', (bytes) => bytes.subarray(0, bytes.length - 7)),
      'SAFETENSORS_TRUNCATED',
      /last\.safetensors/,
    ],
    'without settings in its config.json': [
      (run) => writeFileSync(at(run, 'config.json'), '{"version": 1, "model": "ddrnet"}'),
      'RUN_INVALID',
      /has no usable "options"/,
    ],
    'without data in its config.json': [
      (run) => configure(run, (config) => ({ ...config, data: {} })),
      'RUN_INVALID',
      /has no usable "data\.path"/,
    ],
    'with a number for a part of the data': [
      (run) => configure(run, ({ data, ...config }) => ({ ...config, data: { ...(data as object), val: 0.2 } })),
      'RUN_INVALID',
      /has no usable "data\.val"/,
    ],
    'without the counts of the examples': [
      (run) => configure(run, ({ data, ...config }) => ({ ...config, data: { ...(data as object), examples: null } })),
      'RUN_INVALID',
      /has no usable "data\.examples"/,
    ],
    'with an augmentation beyond its limits': [
      (run) => configure(run, (config) => ({ ...config, augmentation: { ...defaultAugmentation, rotate: 181 } })),
      'RUN_INVALID',
      /has no usable "augmentation"/,
    ],
    'on a device that nobody knows': [
      (run) => configure(run, (config) => ({ ...config, provider: 'abacus' })),
      'RUN_INVALID',
      /has no usable "provider"/,
    ],
    'while another process trains into it': [
      (run) => locks.push(openRun(at(run), { lock: true })),
      'RUN_LOCKED',
      new RegExp(`process ${process.pid} is training into`),
    ],
  };
  const locks: Run[] = [];
  const names = Object.keys(ruin);
  const runOf = (name: string) => `ruined-${names.indexOf(name)}`;
  const change = (run: string, file: string, edit: (bytes: Buffer) => Uint8Array) =>
    writeFileSync(at(run, file), edit(readFileSync(at(run, file))));
  const configure = (run: string, edit: (config: Record<string, unknown>) => object) =>
    change(run, 'config.json', (bytes) => Buffer.from(JSON.stringify(edit(JSON.parse(bytes.toString())))));
  const replaced = (bytes: Buffer, from: string, to: string) => {
    expect(bytes.includes(from)).toBe(true);
    return bytes.toString('latin1').replace(from, to);
  };
  let before: Map<string, string>;
  let outcomes: readonly Outcome[];
  const contents = (run: string) =>
    readdirSync(at(run))
      .map((name) => readFileSync(at(run, name)).toString('base64'))
      .join();

  beforeAll(async () => {
    const text = readFileSync(model, 'utf8');
    writeFileSync(at('relu.ts'), text.replaceAll('tanh(', 'relu('));
    writeFileSync(at('names.ts'), text.replaceAll("'glfeb'", "'glf'"));
    cpSync(at('data'), at('more'), { recursive: true });
    cpSync(at('data', 'TRAIN', 'red', '000.png'), at('more', 'TRAIN', 'red', 'zzz.png'));
    for (const name of names) {
      cpSync(at('base'), at(runOf(name)), { recursive: true });
      ruin[name][0](runOf(name));
    }
    before = new Map(names.map((name) => [name, contents(runOf(name))]));
    const calls = names.map((name) => ['train', '--resume', runOf(name), '--cache', 'none']);
    outcomes = await ddrcInOneProcess(calls, folder);
    for (const { release } of locks) release();
  });

  it.each(names)('%s', (name) => {
    const { code, stdout, stderr } = outcomes[names.indexOf(name)];
    const [, error, sentence] = ruin[name];
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(new RegExp(`^${error} {2}`, 'm'));
    expect(stderr).toMatch(sentence);
    expect(existsSync(at(runOf(name), 'train.lock'))).toBe(false);
    if (error !== 'RUN_LOCKED') expect(contents(runOf(name))).toBe(before.get(name));
  });
});
