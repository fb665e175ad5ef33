import { execFile, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { serializeSafetensors } from '../../runtime/safetensors.ts';
import { readSafetensors } from '../../runtime/safetensors-file.ts';
import type { TensorData } from '../../runtime/tensor.ts';
import { checkout, ddrc, temporaryFolder } from './ddrc.ts';

const oracle = join(checkout, '..', 'shared', 'oracle');
const folder = temporaryFolder();
const fixture = (name: string) => join(oracle, 'fixtures', name);
const model = join(checkout, 'models', 'ddrnet.ts');

/** Runs `ddrc step` on the state and batch in a folder, and the oracle's comparison with its `out.safetensors`. */
async function compare(from: string, name: string): Promise<string> {
  const out = join(folder, `${name}.safetensors`);
  const file = (kind: string) => join(from, `${kind}.safetensors`);
  const args = ['--state', file('state'), '--batch', file('batch'), '--options', join(from, 'options.json'), '--out', out];
  expect(await ddrc(['step', model, ...args])).toMatchObject({ code: 0, stderr: '' });
  const { stdout } = await promisify(execFile)(process.execPath, [join(oracle, 'compare.mjs'), out, file('out')]).catch(
    (error) => error,
  );
  return stdout;
}

describe.skipIf(!existsSync(oracle))('ddrc step and the PyTorch oracle (skipped where ../shared/oracle is absent)', () => {
  it.each([
    ['default', 125],
    ['conv-glfeb-csab', 49],
    ['resumed', 107],
  ])('agree on %s', async (name, tensors) => {
    expect(await compare(fixture(name), name)).toContain(`all ${tensors} tensors agree`);
  });

  it('disagree where one weight differs: the comparison can fail', async () => {
    const { tensors } = readSafetensors(join(fixture('default'), 'state.safetensors'));
    const bent = new Map<string, TensorData>(tensors);
    const weight = tensors.get('drdb.3.conv1.weight')!;
    const data = Float32Array.from(weight.data as Float32Array);
    data[0] += 0.05;
    bent.set('drdb.3.conv1.weight', { ...weight, data });
    const from = join(folder, 'bent');
    await promisify(execFile)('cp', ['-r', fixture('default'), from]);
    await promisify(execFile)('chmod', ['-R', 'u+w', from]);
    writeFileSync(join(from, 'state.safetensors'), serializeSafetensors(bent));
    expect(await compare(from, 'bent')).toMatch(/\d+ of 125 tensors differ/);
    rmSync(from, { recursive: true });
  });
});

const python = '/usr/bin/python3';
const hasTorch = () => existsSync(oracle) && spawnSync(python, ['-c', 'import torch']).status === 0;

describe.skipIf(!hasTorch())('ddrc step and fresh draws of the oracle (skipped where /usr/bin/python3 has no torch)', () => {
  it.each([
    [
      'the paper’s equations, two classes, moments',
      ['--spatial', 'equation', '--channels', '16', '--classes', '2', '--moments', '5'],
    ],
    ['neither drdb nor csab, few channels', ['--no-drdb', '--no-csab', '--channels', '8']],
  ])('agree on %s', async (_, options) => {
    const from = join(folder, 'drawn');
    const args = [join(oracle, 'ddrnet_oracle.py'), 'fixture', from, '--size', '32', '--batch', '3', ...options];
    await promisify(execFile)(python, args, { env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1' } });
    expect(readFileSync(join(from, 'options.json'), 'utf8')).toContain('"size": 32');
    expect(await compare(from, 'drawn')).toMatch(/all \d+ tensors agree/);
    rmSync(from, { recursive: true });
  });
});
