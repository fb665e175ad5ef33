import { execFile } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { random } from '../../numeric/random.ts';
import { serializeSafetensors } from '../../runtime/safetensors.ts';
import { readSafetensors } from '../../runtime/safetensors-file.ts';
import type { TensorData } from '../../runtime/tensor.ts';
import { writeArrays } from '../cli/array-file.ts';
import { checkout, ddrc, smallModel, temporaryFolder } from '../cli/ddrc.ts';
import { interrupted } from '../cli/signals.ts';
import { needsWebgpu } from './adapter.ts';
import { compareSteps, lossesOf } from './comparison.ts';

needsWebgpu();

const folder = temporaryFolder();
const at = (...parts: string[]) => join(folder, ...parts);
const modelFile = (name: string) => join(checkout, 'models', `${name}.ts`);

async function succeeds(args: readonly string[]): Promise<void> {
  expect(await ddrc(args, { cwd: folder })).toMatchObject({ code: 0 });
}

/**
 * Draws what `ddrc step` takes for a model of this checkout: weights around the initial ones, Adam's moments after five steps, and two images.
 * @returns the flags that name the files
 */
async function drawn(name: string, options: Readonly<Record<string, number>>): Promise<string[]> {
  const next = random(name);
  const around = (center: number, reach: number) => center + reach * (2 * next() - 1);
  const chosen = Object.entries(options).flatMap(([option, value]) => ['--option', `${option}=${value}`]);
  await succeeds(['build', modelFile(name), ...chosen, '--out', at(name)]);
  const { tensors } = readSafetensors(at(name, 'initial.safetensors'));
  const state = new Map<string, TensorData>([['step', { dtype: 'int64', shape: [], data: BigInt64Array.of(5n) }]]);
  const put = (key: string, shape: readonly number[], data: ArrayLike<number>) =>
    state.set(key, { dtype: 'float32', shape, data: Float32Array.from(data) });
  for (const [key, { shape, data }] of tensors) {
    // No scale, shift, mean or variance stays 0 or 1.
    const reach = shape.length === 1 ? 0.2 : 0;
    put(
      key,
      shape,
      Float32Array.from(data as Float32Array, (value) => around(value, reach)),
    );
    if (/running_(mean|var)$/.test(key)) continue;
    put(
      `m:${key}`,
      shape,
      Float32Array.from(data as Float32Array, () => around(0, 0.01)),
    );
    put(
      `v:${key}`,
      shape,
      Float32Array.from(data as Float32Array, () => around(2e-4, 1e-4)),
    );
  }
  const { size } = options;
  const batch = new Map<string, TensorData>([
    ['image', { dtype: 'float32', shape: [2, 3, size, size], data: Float32Array.from({ length: 6 * size ** 2 }, next) }],
    ['label', { dtype: 'int64', shape: [2], data: BigInt64Array.of(2n, 0n) }],
  ]);
  writeFileSync(at(`${name}.state`), serializeSafetensors(state));
  writeFileSync(at(`${name}.batch`), serializeSafetensors(batch));
  writeFileSync(at(`${name}.json`), JSON.stringify(options));
  return ['--state', at(`${name}.state`), '--batch', at(`${name}.batch`), '--options', at(`${name}.json`)];
}

describe('ddrc step on WebGPU agrees with the processor', () => {
  it.each([
    ['ddrnet', { size: 32, channels: 8, classes: 4 }],
    ['resnet', { size: 64, depth: 18, width: 4, classes: 4 }],
  ])('in every tensor of a small %s', async (name, options) => {
    const files = await drawn(name, options);
    const out = (device: string) => at(`${name}.${device}`);
    for (const device of ['cpu', 'webgpu']) {
      await succeeds(['step', modelFile(name), ...files, '--device', device, '--out', out(device)]);
    }
    const { problems, compared } = compareSteps(out('webgpu'), out('cpu'));
    expect(problems).toEqual([]);
    expect(compared).toBeGreaterThan(100);

    // The comparison can fail: one gradient of one weight that is off by a thousandth of the largest.
    const { tensors } = readSafetensors(out('webgpu'));
    const [weight] = [...tensors].filter(([key]) => key.startsWith('grad:') && key.endsWith('weight'));
    const bent = Float32Array.from(weight[1].data as Float32Array);
    bent[0] += 1e-3 * Math.max(...bent.map(Math.abs));
    writeFileSync(at('bent'), serializeSafetensors(new Map([...tensors, [weight[0], { ...weight[1], data: bent }]])));
    expect(compareSteps(at('bent'), out('cpu')).problems).toHaveLength(1);
  });
});

const oracle = join(checkout, '..', 'shared', 'oracle');

describe.skipIf(!existsSync(oracle))('ddrc step on WebGPU and PyTorch (skipped where ../shared/oracle is absent)', () => {
  it.each([
    ['ddrnet', 'default', 125],
    ['resnet', 'resnet18-narrow', 167],
  ])('agree on %s, %s', async (model, name, tensors) => {
    const file = (kind: string) => join(oracle, 'fixtures', name, kind);
    const files = ['--state', file('state.safetensors'), '--batch', file('batch.safetensors'), '--options', file('options.json')];
    await succeeds(['step', modelFile(model), ...files, '--device', 'webgpu', '--out', at('out')]);
    const { stdout } = await promisify(execFile)(process.execPath, [
      join(oracle, 'compare.mjs'),
      at('out'),
      file('out.safetensors'),
    ]).catch((error) => error);
    expect(stdout).toContain(`all ${tensors} tensors agree`);
  });
});

describe('ddrc train on WebGPU', () => {
  const epochs = 30;
  const train = (device: string, run: string) => [
    'train',
    'small.ts',
    '--data',
    'data.safetensors',
    '--batch',
    '16',
    '--epochs',
    `${epochs}`,
    '--device',
    device,
    '--run',
    run,
  ];

  beforeAll(() => {
    writeFileSync(at('small.ts'), smallModel);
    writeArrays(at('data.safetensors'));
  });

  it('has the losses of the processor but for rounding', async () => {
    await succeeds(train('cpu', 'cpu'));
    await succeeds(train('webgpu', 'whole'));
    const expected = lossesOf(at('cpu', 'metrics.jsonl'));
    const got = lossesOf(at('whole', 'metrics.jsonl'));
    expect(got).toHaveLength(expected.length);
    expect(expected.length).toBeGreaterThanOrEqual(2 * epochs);
    expect(expected.at(-2)).toBeLessThan(0.9 * expected[0]);
    got.forEach((loss, i) => {
      expect(Math.abs(loss - expected[i])).toBeLessThan(1e-4 * expected[i]);
    });
  });

  it('ends as a run that was not stopped, byte for byte, where it is stopped and resumed', async () => {
    const { code } = await interrupted(train('webgpu', 'stopped'), [[new RegExp(`^epoch 2/${epochs} `, 'm'), 'SIGINT']], folder);
    expect(code).toBe(130);
    const before = lossesOf(at('stopped', 'metrics.jsonl')).length;
    expect(before).toBeGreaterThan(0);
    expect(before).toBeLessThan(2 * epochs);
    await succeeds(['train', '--resume', 'stopped']);
    expect(lossesOf(at('stopped', 'metrics.jsonl'))).toEqual(lossesOf(at('whole', 'metrics.jsonl')));
    for (const name of ['last.safetensors', 'best.safetensors']) {
      expect(readFileSync(at('stopped', name)).equals(readFileSync(at('whole', name))), name).toBe(true);
    }
  });

  it('averages the gradients of parts of a batch', async () => {
    await succeeds([...train('webgpu', 'parts'), '--accumulate', '2']);
    const expected = lossesOf(at('whole', 'metrics.jsonl'));
    const got = lossesOf(at('parts', 'metrics.jsonl'));
    expect(got).toHaveLength(expected.length);
    got.forEach((loss, i) => {
      expect(Math.abs(loss - expected[i])).toBeLessThan(1e-4 * expected[i]);
    });
  });
});
