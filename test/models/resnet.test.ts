import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it, vi } from 'vitest';
import { compile } from '../../compiler/index.ts';
import type { Value } from '../../compiler/ir/graph.ts';
import { type NDArray, ndarray, scalar } from '../../compiler/ir/ndarray.ts';
import { elementCount } from '../../compiler/ir/types.ts';
import { interpret } from '../../compiler/passes/interpret.ts';
import type { TableEntry } from '../../contract/manifest.ts';
import { checkout, ddrc, temporaryFolder } from '../cli/ddrc.ts';
import { noise } from '../compiler/ops/run-graph.ts';

// The model file imports the package by its name, which would be the compiled one.
vi.mock('ddrc', () => import('../../dsl/index.ts'));
const { default: resnet } = await import('../../models/resnet.ts');

describe('the parameters are those of torchvision', () => {
  it.each([
    [18, 11_689_512],
    [34, 21_797_672],
    [50, 25_557_032],
    [101, 44_549_160],
  ])('ResNet-%i with 1000 classes has %i of them', (depth, count) => {
    const built = resnet.instantiate({ depth, classes: 1000 }).build({ mode: 'inference', batch: 'N', loss: false });
    expect(built.outputs.get('logits')!.type).toEqual({ dtype: 'float32', shape: ['N', 1000] });
    const sizes = new Map(built.parameters.map(({ name, shape }) => [name, elementCount(shape)]));
    expect([...sizes.values()].reduce((sum, size) => sum + size)).toBe(count);
    // Every batch norm has two of each.
    expect(built.statistics).toHaveLength([...sizes.keys()].filter((name) => /(bn\d|downsample\.1)\./.test(name)).length);
    expect(sizes.get('layer2.0.downsample.0.weight')).toBe(depth < 50 ? 64 * 128 : 256 * 512);
    expect(sizes.get('layer4.1.conv2.weight')).toBe(512 * 512 * 9);
  });
});

/** Weights by name around their initial values, so that no scale, shift, mean or variance is 0 or 1. */
function shaken(initial: ReadonlyMap<string, NDArray>): Map<string, NDArray> {
  return new Map(
    [...initial].map(([name, array], i) => {
      const shift = noise(array.shape, /running_var$/.test(name) ? 0.5 : 0, array.shape.length === 1 ? 0.2 : 0, i + 1);
      return [
        name,
        ndarray(
          array.shape,
          array.data.map((value, k) => Math.fround(value + shift.data[k])),
        ),
      ];
    }),
  );
}

const flat = (table: readonly TableEntry[], weights: ReadonlyMap<string, NDArray>) =>
  Float32Array.from(table.flatMap(({ name }) => [...weights.get(name)!.data]));

async function run(bytes: Uint8Array, feeds: Record<string, Tensor>): Promise<Record<string, number[]>> {
  const session = await InferenceSession.create(bytes, { intraOpNumThreads: 1 });
  try {
    const results = await session.run(feeds);
    return Object.fromEntries(Object.entries(results).map(([name, { data }]) => [name, Array.from(data as Float32Array)]));
  } finally {
    await session.release();
  }
}

it.each([18, 50])('the files of a narrow ResNet-%i give the numbers of double precision', async (depth) => {
  const program = resnet.instantiate({ depth, width: 4, classes: 3, size: 32 });
  const { initial } = compile(program, { artifacts: [] });
  const weights = shaken(initial);
  const { files, manifest, choices } = compile(program, { artifacts: ['model', 'eval'], weights });
  const image = noise([2, 3, 32, 32], 0.5, 0.25, 99);
  const labels = [2, 0];

  const built = program.build({ mode: 'inference', batch: 2, loss: true, weights });
  const input = (name: string) => built.graph.inputs.find((value) => value.name === name) as Value;
  const feeds = new Map([
    [input('image'), image],
    [input('label'), ndarray([2], labels, 'int64')],
  ]);
  const [logits, loss] = interpret(built.graph, feeds, [built.outputs.get('logits')!, built.loss!]);

  const images = new Tensor('float32', Float32Array.from(image.data), image.shape);
  const vector = (table: readonly TableEntry[]) => {
    const data = flat(table, weights);
    return new Tensor('float32', data, [data.length]);
  };
  const model = await run(files.get('model.onnx')!, { image: images });
  const evaluated = await run(files.get('eval.onnx')!, {
    image: images,
    label: new Tensor('int64', BigInt64Array.from(labels, BigInt), [2]),
    parameters: vector(manifest.parameters),
    statistics: vector(manifest.statistics),
  });

  const largest = logits.data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const off = (found: readonly number[], exact: NDArray) =>
    exact.data.reduce((most, value, i) => Math.max(most, Math.abs(value - found[i])), 0);
  // Float32 through 18 or 50 layers: a few roundings of 6e-8 in each.
  expect(off(model.logits, logits) / largest).toBeLessThan(1e-5);
  expect(off(evaluated.logits, logits) / largest).toBeLessThan(1e-5);
  expect(off(evaluated.loss, loss)).toBeLessThan(1e-5 * largest);
  // The images' scores differ, so that a result which does not depend on them would be found.
  expect(off([...logits.data.slice(3)], ndarray([3], logits.data.slice(0, 3))) / largest).toBeGreaterThan(1e-3);
  expect(loss).toEqual(scalar(loss.data[0]));

  // Batch norms with constant statistics are part of the convolutions before them.
  expect(choices.get('model.onnx')!.filter(({ op }) => op === 'batchNormInference')).toEqual([]);
  const count = choices.get('eval.onnx')!.filter(({ op }) => op === 'batchNormInference').length;
  expect(count).toBe(manifest.statistics.length / 2);
});

const oracle = join(checkout, '..', 'shared', 'oracle');
const folder = temporaryFolder();

describe.skipIf(!existsSync(oracle))('a step of ResNet-18 and PyTorch (skipped where ../shared/oracle is absent)', () => {
  it('agree in all tensors', async () => {
    const fixture = (name: string) => join(oracle, 'fixtures', 'resnet18-narrow', name);
    const out = join(folder, 'out.safetensors');
    const files = ['--state', fixture('state.safetensors'), '--batch', fixture('batch.safetensors'), '--out', out];
    const model = join(checkout, 'models', 'resnet.ts');
    const outcome = await ddrc(['step', model, ...files, '--options', fixture('options.json')]);
    expect(outcome).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(readFileSync(fixture('options.json'), 'utf8'))).toMatchObject({ depth: 18, width: 16 });
    const { stdout } = await promisify(execFile)(process.execPath, [
      join(oracle, 'compare.mjs'),
      out,
      fixture('out.safetensors'),
    ]).catch((error) => error);
    expect(stdout).toContain('all 167 tensors agree');
  });
});
