import { execFile, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it, vi } from 'vitest';
import type { Value } from '../../compiler/ir/graph.ts';
import { type NDArray, ndarray } from '../../compiler/ir/ndarray.ts';
import type { BuiltGraph, Program } from '../../compiler/ir/program.ts';
import { differentiate } from '../../compiler/passes/autodiff.ts';
import { interpret } from '../../compiler/passes/interpret.ts';
import { readSafetensors } from '../../runtime/safetensors-file.ts';
import type { TensorData } from '../../runtime/tensor.ts';
import { temporaryFolder } from '../cli/ddrc.ts';

// The model files import the package by its name, which would be the compiled one.
vi.mock('ddrc', () => import('../../dsl/index.ts'));
const models = {
  mobilenetv2: (await import('../../models/mobilenetv2.ts')).default,
  alexnet: (await import('../../models/alexnet.ts')).default,
  'vgg16-eca': (await import('../../models/vgg16-eca.ts')).default,
  vit: (await import('../../models/vit.ts')).default,
};

const folder = temporaryFolder();
const python = '/usr/bin/python3';
const script = join(import.meta.dirname, 'torchvision_gradients.py');
const hasTorchvision = spawnSync(python, ['-c', 'import torchvision']).status === 0;
const batch = 3;

type Tensors = ReadonlyMap<string, TensorData>;

/** Values of the graph's parameters, statistics and inputs, by name in `given`. */
function values({ graph, parameters, statistics }: BuiltGraph, given: Tensors): Map<Value, NDArray> {
  const inputs = graph.inputs.map((value) => ({ name: value.name ?? '', value }));
  return new Map(
    [...parameters, ...statistics, ...inputs].flatMap(({ name, value }) => {
      const tensor = given.get(name);
      if (!tensor) return [];
      const { shape, data, dtype } = tensor;
      return [[value, ndarray(shape, Array.from(data as ArrayLike<number | bigint>, Number), dtype as 'float32' | 'int64')]];
    }),
  );
}

/** What torchvision's script writes, from our graphs and our differentiation in double precision. */
function gradients(program: Program, given: Tensors): Map<string, NDArray> {
  const inference = program.build({ mode: 'inference', batch, loss: false });
  const [scores] = interpret(inference.graph, values(inference, given), [inference.outputs.get('logits')!]);
  const training = program.build({ mode: 'training', batch, loss: true });
  const { graph, parameters, outputs, loss } = training;
  const slopes = differentiate(
    graph,
    loss!,
    parameters.map(({ value }) => value),
  );
  const asked: [string, Value][] = [
    ['train_logits', outputs.get('logits')!],
    ['loss', loss!],
    ...parameters.map(({ name, value }): [string, Value] => [`grad:${name}`, slopes.get(value)!]),
  ];
  const results = interpret(
    graph,
    values(training, given),
    asked.map(([, value]) => value),
  );
  return new Map([['eval_logits', scores], ...asked.map(([name], i): [string, NDArray] => [name, results[i]])]);
}

/*
 * In double precision, as a rounding that moves one ReLU or one max pool over its kink changes gradients by a hundredth: MobileNetV2 in float32 PyTorch is
 * that far off from itself in float64.
 */
describe.skipIf(!hasTorchvision)('torchvision (skipped where /usr/bin/python3 has none)', () => {
  it.each([
    // With channels that are rounded to multiples of 8.
    ['mobilenetv2', { width: 0.35, size: 32 }],
    ['mobilenetv2', { width: 1.3, size: 32 }],
    // Last maps of 6, 4 and 1 places, of which adaptive pooling makes 6.
    ['alexnet', { width: 4, size: 224 }],
    ['alexnet', { width: 4, size: 160 }],
    ['alexnet', { width: 4, size: 64 }],
    // Last maps of 3 and 1 places, of which it makes 7.
    ['vgg16-eca', { width: 4, size: 96 }],
    ['vgg16-eca', { width: 8, size: 32 }],
    ['vit', { stem: 'convolutional', dim: 48, depth: 3, heads: 3, size: 64 }],
    ['vit', { stem: 'patchify', dim: 48, depth: 2, heads: 4, size: 48 }],
  ] as const)('agrees with logits, loss and all gradients of %s %o', async (name, options) => {
    const at = (file: string) => join(folder, `${name}-${Object.values(options).join('-')}`, file);
    mkdirSync(at('.'));
    await promisify(execFile)(python, [script, name, JSON.stringify(options), at('.')]);
    const expected = readSafetensors(at('out.safetensors')).tensors;
    const program = models[name].instantiate({ ...options, classes: 3, dropout: 0 });
    const found = gradients(program, readSafetensors(at('in.safetensors')).tensors);
    expect([...found.keys()].toSorted()).toEqual([...expected.keys()].toSorted());
    for (const [tensor, { data }] of found) {
      const exact = Float64Array.from(expected.get(tensor)!.data as Float64Array);
      expect(data.length).toBe(exact.length);
      const largest = exact.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      const off = exact.reduce((most, value, i) => Math.max(most, Math.abs(value - data[i])), 0);
      // Gradients of what a batch norm or a softmax takes away again are 0 but for rounding.
      expect(off, tensor).toBeLessThan(1e-8 * largest + 1e-9);
    }
  });
});
