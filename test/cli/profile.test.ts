import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type KernelTimes, kernelTimes } from '../../cli/kernel-times.ts';
import { profileText } from '../../cli/profile-text.ts';
import type { Choice } from '../../compiler/emit/lower.ts';
import { checkout, ddrc, smallModel, temporaryFolder } from './ddrc.ts';

const folder = temporaryFolder();
writeFileSync(join(folder, 'small.ts'), smallModel);
const scratch = join(folder, 'scratch');
mkdirSync(scratch);
const env = { TMPDIR: scratch, TEMP: scratch, TMP: scratch };

/** What the command has left in the folder for temporary files; others keep theirs there too. */
const left = () => readdirSync(scratch).filter((name) => name.startsWith('ddrc'));

const sum = (rows: readonly { readonly ms: number }[]) => rows.reduce((total, { ms }) => total + ms, 0);

/** Every list parts the same kernels, up to the rounding of sums. */
function expectParts({ total, phases, operators, kinds, kernels }: KernelTimes): void {
  for (const list of [phases, operators, kinds, kernels]) {
    expect(sum(list)).toBeCloseTo(total.ms, 9);
    expect(list.reduce((count, row) => count + row.kernels, 0)).toBeCloseTo(total.kernels, 9);
  }
}

describe('the times of kernels', () => {
  const choices: Choice[] = [
    {
      scope: 'a.conv',
      phase: 'forward',
      op: 'conv',
      lowering: 'nchwc',
      others: [],
      flops: 4e6,
      nodes: ['a.conv/Reorder', 'a.conv/Conv'],
    },
    { scope: 'a', phase: 'forward', op: 'relu', lowering: 'standard', others: [], flops: 0, nodes: ['a/Relu'] },
    {
      scope: 'a.conv',
      phase: 'backward',
      op: 'convWeightGrad',
      lowering: 'unfold',
      others: [],
      flops: 6e6,
      nodes: ['a.conv/Conv.2', 'a.conv/MatMul'],
    },
    { scope: '', phase: 'optimizer', op: 'sub', lowering: 'standard', others: [], flops: 0, nodes: ['sub/Sub'] },
    { scope: 'b', phase: 'forward', op: 'conv', lowering: 'standard', others: [], flops: 9e9, nodes: [] },
  ];
  // Two runs: what is said below is the half of it.
  const kernel = (node: string, kind: string, microseconds: number) => ({ node, kind, calls: 2, microseconds });
  const times = kernelTimes(
    {
      runs: 2,
      microseconds: 30_000,
      kernels: [
        kernel('parameters/Split', 'Split', 1000),
        kernel('a.conv/Reorder', 'ReorderInput', 2000),
        kernel('fused a.conv/Conv', 'FusedConv', 6000),
        kernel('a/Relu:0_nchwc', 'Relu', 3000),
        kernel('a.conv/Conv.2', 'Conv', 5000),
        kernel('a.conv/MatMul', 'MatMul', 4000),
        kernel('sub/Sub', 'Sub', 1000),
      ],
    },
    choices,
  );

  it('are parted by phase, with what no operator asked for apart', () => {
    expect(times.total).toEqual({ ms: 11, share: 1, kernels: 7, gflop_s: 10e6 / 8.5 / 1e6 });
    expect(times.run_ms).toBe(15);
    expect(times.phases).toEqual([
      { phase: 'forward', ms: 5.5, share: 0.5, kernels: 3, gflop_s: 1 },
      { phase: 'backward', ms: 4.5, share: 4.5 / 11, kernels: 2, gflop_s: 6 / 4.5 },
      { phase: 'optimizer', ms: 0.5, share: 0.5 / 11, kernels: 1, gflop_s: null },
      { phase: 'other', ms: 0.5, share: 0.5 / 11, kernels: 1, gflop_s: null },
    ]);
    expectParts(times);
  });

  it('are summed by scope with those below it, in the order of the model', () => {
    expect(times.scopes.map(({ scope, ms, forward_ms, backward_ms }) => [scope, ms, forward_ms, backward_ms])).toEqual([
      ['a', 10, 5.5, 4.5],
      ['a.conv', 8.5, 4, 4.5],
    ]);
  });

  it('say of a product what its lowering achieves, and of its multiplying kernel what that achieves', () => {
    expect(times.products).toMatchObject([
      {
        scope: 'a.conv',
        phase: 'backward',
        operator: 'convWeightGrad',
        lowering: 'unfold',
        ms: 4.5,
        gflop_s: 6 / 4.5,
      },
      { scope: 'a.conv', phase: 'forward', operator: 'conv', lowering: 'nchwc', ms: 4, gflop_s: 1 },
    ]);
    expect(times.kernels.map(({ node, operator, gflop_s }) => [node, operator, gflop_s])).toEqual([
      ['fused a.conv/Conv', 'conv', 4 / 3],
      ['a.conv/Conv.2', 'convWeightGrad', null],
      ['a.conv/MatMul', 'convWeightGrad', 3],
      ['a/Relu:0_nchwc', 'relu', null],
      ['a.conv/Reorder', 'conv', null],
      ['parameters/Split', null, null],
      ['sub/Sub', 'sub', null],
    ]);
  });

  it('are shown with the heaviest first', () => {
    const text = profileText({ model: 'two', graph: 'step', batch: 4, size: 32, threads: 1 }, times);
    expect(text).toContain('two, training step, batch 4, 32 px, 1 thread; means of 2 runs after one to warm up\n');
    expect(text).toContain('15.0 ms a run: 11.0 in 7 kernels, 4.00 between them and in recording\n');
    expect(text).toMatch(/^backward +4\.50 +40\.9 % +2 +1\.3$/m);
    expect(text).toMatch(/^ {2}conv +4\.00 +4\.50 +8\.50 +77\.3 % +4 +1\.2$/m);
  });
});

describe('ddrc profile', () => {
  it('parts the time of a training step exactly', async () => {
    const args = ['--size', '32', '--option', 'channels=4', '--batch', '2', '--steps', '2', '--threads', '1', '--json'];
    const { code, stdout, stderr } = await ddrc(['profile', join(checkout, 'models', 'ddrnet.ts'), ...args], {
      cwd: folder,
      env,
    });
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/^\{[^\n]*\}\n$/);
    const result = JSON.parse(stdout) as KernelTimes;
    expect(Object.keys(result)).toEqual(
      'model graph batch size threads runs run_ms total phases operators kinds scopes products kernels'.split(' '),
    );
    expect(result).toMatchObject({ model: 'ddrnet', graph: 'step', batch: 2, size: 32, threads: 1, runs: 2 });
    expect(result.phases.map(({ phase }) => phase)).toEqual(['forward', 'backward', 'optimizer', 'other']);
    expectParts(result);
    expect(result.run_ms).toBeGreaterThan(result.total.ms);
    // Each convolution of the network once forward and once for its weight; the stem's input, an image, needs no gradient.
    const count = (name: string) => result.products.filter(({ operator }) => operator === name).length;
    expect(count('convWeightGrad')).toBe(count('conv'));
    expect(count('convInputGrad')).toBe(count('conv') - 1);
    for (const { operator, phase } of result.products) {
      if (operator.endsWith('Grad')) expect(phase).toBe('backward');
      if (operator === 'conv') expect(phase).toBe('forward');
    }
    for (const { phase, operator } of result.kernels) expect(operator === null).toBe(phase === 'other');
    expect(left()).toEqual([]);
  });

  it('shows inference in tables of at most 100 columns, also of a model that takes no images', async () => {
    const { code, stdout } = await ddrc(['profile', 'small.ts', '--infer', '--batch', '4', '--steps', '1'], { cwd: folder, env });
    expect(code).toBe(0);
    expect(stdout).toMatch(/^small, inference, batch 4, \d+ threads?; means of 1 run after one to warm up$/m);
    expect(stdout).toMatch(/^hidden\.fc +forward +linear /m);
    expect(stdout).not.toMatch(/^backward/m);
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(100);
    expect(left()).toEqual([]);
  });
});
