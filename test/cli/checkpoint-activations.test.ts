import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { readLines } from '../../runtime/files.ts';
import { readSafetensors } from '../../runtime/safetensors-file.ts';
import { checkout, ddrc, temporaryFolder } from './ddrc.ts';
import { ddrcInOneProcess } from './one-process.ts';
import { pictureFolder } from './picture-folder.ts';

const folder = temporaryFolder();
const at = (...parts: string[]) => join(folder, ...parts);
// Batch norm, group norms, and dropout inside and behind the residual blocks.
const options = ['--size', '32', '--option', 'channels=8', '--option', 'residualDropout=0.2'];
const start = [
  'train',
  'net.ts',
  '--data',
  'data',
  '--device',
  'cpu',
  '--cache',
  'none',
  '--batch',
  '4',
  '--epochs',
  '3',
  ...options,
];

const config = (run: string) => JSON.parse(readFileSync(at(run, 'config.json'), 'utf8'));
const metrics = (run: string) =>
  (readLines(at(run, 'metrics.jsonl')) as Record<string, unknown>[]).map(({ seconds, ...line }) => line);
const bytes = (run: string, name: string) => readFileSync(at(run, name)).toString('base64');

beforeAll(async () => {
  cpSync(join(checkout, 'models', 'ddrnet.ts'), at('net.ts'));
  await pictureFolder(at('data'), { split: 'TRAIN', each: 12 });
  await pictureFolder(at('data'), { split: 'TEST', each: 4 });
  expect(await ddrc([...start, '--run', 'whole'], { cwd: folder })).toMatchObject({ code: 0 });
  const lean = await ddrc([...start, '--checkpoint-activations', '--run', 'lean'], { cwd: folder });
  expect(lean).toMatchObject({ code: 0, stderr: expect.not.stringMatching(/warning|onnxruntime/i) });
});

describe('train --checkpoint-activations', () => {
  it('trains another graph to the same numbers: losses, scores, parameters, moments, statistics', () => {
    expect(config('lean').checkpointActivations).toBe(true);
    expect(config('whole').checkpointActivations).toBe(false);
    expect(config('lean').step.sha256).not.toBe(config('whole').step.sha256);
    expect(metrics('lean')).toEqual(metrics('whole'));
    expect(bytes('lean', 'model.onnx')).toBe(bytes('whole', 'model.onnx'));
    const [lean, whole] = ['lean', 'whole'].map((run) => readSafetensors(at(run, 'last.safetensors')).tensors);
    expect([...lean.keys()]).toEqual([...whole.keys()]);
    for (const [name, { data }] of whole) expect(lean.get(name)!.data, name).toEqual(data);
  });

  it('is what a resumed run is compiled with', async () => {
    // With a constant rate, one epoch is the beginning of two: the settings of a run that was stopped in between.
    const again = [...start, '--checkpoint-activations', '--schedule', 'constant', '--run'];
    expect(await ddrc([...again, 'two', '--epochs', '2'], { cwd: folder })).toMatchObject({ code: 0 });
    expect(await ddrc([...again, 'one', '--epochs', '1'], { cwd: folder })).toMatchObject({ code: 0 });
    writeFileSync(at('one', 'config.json'), JSON.stringify({ ...config('one'), epochs: 2 }));
    const resumed = await ddrc(['train', '--resume', 'one', '--cache', 'none'], { cwd: folder });
    expect(resumed).toMatchObject({ code: 0, stdout: expect.stringMatching(/^8 test examples/) });
    expect(bytes('one', 'best.safetensors')).toBe(bytes('two', 'best.safetensors'));
    expect(metrics('one').filter((line) => line.epoch)).toEqual(metrics('two').filter((line) => line.epoch));
  });

  it('cannot be changed by --resume, in the command or in config.json', async () => {
    cpSync(at('lean'), at('other'), { recursive: true });
    writeFileSync(at('other', 'config.json'), JSON.stringify({ ...config('other'), epochs: 9, checkpointActivations: false }));
    cpSync(at('lean'), at('odd'), { recursive: true });
    writeFileSync(at('odd', 'config.json'), JSON.stringify({ ...config('odd'), checkpointActivations: 'yes' }));
    const [beside, other, odd] = await ddrcInOneProcess(
      [['lean', '--checkpoint-activations'], ['other'], ['odd']].map((more) => ['train', '--resume', ...more]),
      folder,
    );
    expect(beside.code).toBe(2);
    expect(beside.stderr).toContain('so --checkpoint-activations cannot stand beside it');
    expect(other.stderr).toMatch(/RESUME_DIFFERS.*compiles to another training step/);
    expect(odd.stderr).toContain('has no usable "checkpointActivations"');
  });

  it('takes a run folder from before there was the setting as one without it', async () => {
    cpSync(at('whole'), at('older'), { recursive: true });
    const { checkpointActivations, ...older } = config('older');
    writeFileSync(at('older', 'config.json'), JSON.stringify(older));
    const [{ code, stderr }] = await ddrcInOneProcess([['train', '--resume', 'older']], folder);
    expect([code, stderr]).toEqual([0, 'the run in older is complete: 3 of 3 epochs\n']);
  });
});

describe('bench and profile', () => {
  const calls = (...more: string[]) => [
    `net.ts`,
    '--batch',
    '2',
    '--steps',
    '1',
    '--threads',
    '1',
    '--json',
    ...options,
    ...more,
  ];

  it('time the step that computes again', async () => {
    const flag = '--checkpoint-activations';
    const outcomes = await ddrcInOneProcess(
      [
        ['bench', ...calls(flag)],
        ['profile', ...calls()],
        ['profile', ...calls(flag)],
        ['profile', ...calls(flag, '--infer')],
      ],
      folder,
    );
    const [bench, whole, lean] = outcomes.slice(0, 3).map(({ stdout }) => JSON.parse(stdout));
    expect(bench).toMatchObject({ model: 'ddrnet', checkpoint_activations: true, train_img_s_best: expect.any(Number) });
    const convs = ({ kernels }: { kernels: { kind: string }[] }) => kernels.filter(({ kind }) => kind === 'Conv').length;
    expect(convs(lean)).toBeGreaterThan(convs(whole));
    expect(outcomes[3]).toMatchObject({ code: 2, stderr: expect.stringContaining('--infer runs none') });
  });
});
