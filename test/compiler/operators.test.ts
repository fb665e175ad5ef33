import { readdirSync } from 'node:fs';
import { expect, it } from 'vitest';
import { fitting, portable, type Target } from '../../compiler/emit/lowering.ts';
import { ndarray } from '../../compiler/ir/ndarray.ts';
import type { OpDefinition, Sample } from '../../compiler/ir/op.ts';
import { operators } from '../../compiler/ops/index.ts';
import { BATCH, mismatches, staticSample } from './batched-sample.ts';
import { checkGradient, checkZeroGradient, gradientGraph, isReal } from './gradient-check.ts';
import { runGradients } from './gradient-run.ts';
import { checkLowerings, formsOf, machineBlock, nodeOf } from './lowering-check.ts';

const block = await machineBlock();
const targets: Target[] = [
  ...[13, 17, 21].map((opset) => ({ provider: 'portable', opset, block: 0 }) as const),
  { provider: 'cpu', opset: 17, block: 0 },
  ...(block > 0 ? [{ provider: 'cpu', opset: 17, block } as const] : []),
];
/** Targets whose lowerings run here only as far as the CPU provider has the operators. */
const elsewhere: Target[] = [
  { provider: 'webgpu', opset: 17, block: 0 },
  { provider: 'cuda', opset: 17, block: 0 },
];

for (const op of operators.values()) {
  const samples = op.samples();

  it(`${op.name}: is complete`, () => {
    expect(op.summary).toMatch(/\.$/);
    expect(samples.length).toBeGreaterThanOrEqual(2);
    const names = samples.map((sample) => sample.name);
    expect([...new Set(names)]).toEqual(names);
    const rules = op.lower.map((rule) => rule.name);
    expect([...new Set(rules)]).toEqual(rules);
    if (typeof op.vjp !== 'function') expect(Object.values(op.vjp)[0]).not.toBe('');
    for (const sample of samples) {
      const { types, outputs, attrs } = staticSample(op, sample);
      const flops = op.flops(types, outputs, attrs);
      expect(flops, sample.name).toBeGreaterThanOrEqual(0);
      expect(flops, sample.name).toBeLessThan(Number.POSITIVE_INFINITY);
    }
  });

  it(`${op.name}: shape rule gives the types of the reference's arrays`, () => {
    for (const sample of samples) {
      const before = sample.inputs.map((input) => input.data.slice());
      const arrays = op.evaluate(sample.inputs, sample.attrs ?? {});
      expect(mismatches(staticSample(op, sample).outputs, arrays), sample.name).toEqual([]);
      expect(
        sample.inputs.map((input) => input.data),
        `${sample.name}: evaluate leaves its inputs alone`,
      ).toEqual(before);
      if (op.properties.commutes) {
        const exchanged = op.evaluate([sample.inputs[1], sample.inputs[0]], sample.attrs ?? {});
        expect(exchanged[0].data, `${sample.name}: exchanged`).toEqual(arrays[0].data);
      }
    }
  });

  it(`${op.name}: takes a named batch`, () => {
    const batched = samples.filter((sample) => formsOf(op, sample).length > 1);
    expect(batched.length, `samples of ${op.name} in which the first axis may be called ${BATCH}`).toBeGreaterThan(0);
  });

  if (typeof op.vjp === 'function') {
    const real = samples.filter((sample) => isReal(op, sample));
    it(`${op.name}: gradient agrees with central differences`, () => {
      const found = real.filter((sample) => !sample.kink).flatMap((sample) => gradientProblems(op, sample));
      expect(found).toEqual([]);
    });
    if (real.some((sample) => sample.kink)) {
      it(`${op.name}: gradient at kinks and ties is the stated one`, () => {
        const found = real.filter((sample) => sample.kink).flatMap((sample) => gradientProblems(op, sample));
        expect(found).toEqual([]);
      });
    }
    if (real.length > 0) {
      it(`${op.name}: gradient runs in ONNX Runtime, with a named batch too`, async () => {
        expect(await runGradients(op, portable)).toEqual([]);
      });
    }
  } else if ('zero' in op.vjp) {
    it(`${op.name}: passes no gradient on, and the differences are zero`, () => {
      const real = samples.filter(({ inputs }) => inputs.some(({ dtype }) => dtype === 'float32'));
      const smooth = real.filter((sample) => !sample.kink);
      expect(smooth.length > 0 || real.length === 0, 'a sample that sits on no step').toBe(true);
      const found = smooth.flatMap((sample) => checkZeroGradient(op, sample).map((problem) => `${sample.name}: ${problem}`));
      expect(found).toEqual([]);
    });
  } else if (samples.some((sample) => isReal(op, sample))) {
    it(`${op.name}: says why it has no gradient`, () => {
      const { types, attrs } = staticSample(op, samples.find((sample) => isReal(op, sample))!);
      expect(() => gradientGraph(op, types, attrs)).toThrow(`${op.name}: has no gradient, `);
    });
  }

  for (const target of targets) {
    it(`${op.name}: lowerings for ${title(target)} agree with the reference`, async () => {
      const forms = samples.flatMap((sample) => formsOf(op, sample));
      expect((await checkLowerings(op, target, forms)).problems).toEqual([]);
    });
  }

  it(`${op.name}: every lowering was run`, async (context) => {
    const forms = samples.flatMap((sample) => formsOf(op, sample));
    const reached = (list: readonly Target[]) =>
      new Set(
        forms.flatMap(({ typed }) => list.flatMap((target) => fitting(nodeOf(op, typed), target).map((rule) => rule.name))),
      );
    const here = reached(targets);
    const blocked = reached([
      { provider: 'cpu', opset: 17, block: 16 },
      { provider: 'cpu', opset: 17, block: 8 },
    ]);
    const skipped: string[] = [];
    for (const { name } of op.lower.filter((rule) => !here.has(rule.name))) {
      const target = elsewhere.find((candidate) => reached([candidate]).has(name));
      if (target) {
        const { problems } = await checkLowerings(op, target, forms, new Set([name]));
        const missing = problems.find((problem) => /Could not find an implementation/.test(problem));
        if (missing) skipped.push(`'${name}' for ${title(target)}: ${missing}`);
        else expect(problems).toEqual([]);
      } else if (block === 0 && blocked.has(name)) skipped.push(`'${name}': this machine has no blocked kernels`);
      else expect.fail(`no sample reaches the lowering '${name}'`);
    }
    if (skipped.length > 0) context.skip(`not run: ${skipped.join('; ')}`);
  });
}

it('operators: every definition of a family is in the list once', async () => {
  const folder = new URL('../../compiler/ops/', import.meta.url);
  const defined: string[] = [];
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.ts') && name !== 'index.ts')) {
    const family = (await import(new URL(file, folder).href)) as Record<string, unknown>;
    for (const member of Object.values(family)) {
      if (typeof member === 'object' && member !== null && 'infer' in member) defined.push((member as OpDefinition).name);
    }
  }
  expect(defined.sort()).toEqual([...operators.keys()].sort());
});

/* The judges themselves: a rule that is slightly wrong must be found. */
const mul = operators.get('mul')!;
const [mulSample] = mul.samples();

it('operators: a shape rule that does not give the types of the reference is found', () => {
  const arrays = mul.evaluate(mulSample.inputs, {});
  expect(mismatches([{ dtype: 'float32', shape: [2, 3] }], arrays)).toEqual([]);
  expect(mismatches([{ dtype: 'float32', shape: [3, 2] }], arrays)[0]).toBe(
    'output 0: infer gives float32[3,2], evaluate float32[2,3]',
  );
  expect(mismatches([{ dtype: 'int64', shape: [2, 3] }], arrays)).toHaveLength(1);
  expect(mismatches([{ dtype: 'float32', shape: ['N', 3] }], arrays, 2)).toEqual([]);
  expect(mismatches([], arrays)).toHaveLength(1);
});

it('operators: a gradient that is wrong by 1e-5 is found', () => {
  expect(checkGradient(mul, mulSample)).toEqual([]);
  const wrong: OpDefinition = {
    ...mul,
    vjp: (graph, { inputs: [x, y], grads: [dz] }) => {
      const factor = graph.constant(ndarray([], [1 + 1e-5]));
      return [graph.op('mul', [graph.op('mul', [dz!, y]), factor]), graph.op('mul', [dz!, x])];
    },
  };
  expect(checkGradient(wrong, mulSample)[0]).toMatch(/^dx0\[0\] is .*, differences give /);
  const missing: OpDefinition = { ...mul, vjp: (graph, { inputs: [x], grads: [dz] }) => [null, graph.op('mul', [dz!, x])] };
  expect(checkGradient(missing, mulSample)[0]).toMatch(/^dx0\[0\] is 0, differences give /);
  const elsewhere: OpDefinition = {
    ...mul,
    vjp: (graph, { inputs: [x, y], grads: [dz], wanted }) => [
      graph.op('mul', [dz!, wanted[1] ? y : x]),
      graph.op('mul', [dz!, x]),
    ],
  };
  expect(checkGradient(elsewhere, mulSample)[0]).toMatch(/when it alone is wanted$/);
  const { samples } = mul;
  const tied = { ...samples()[0], kink: true, expectedGrads: [ndarray([2, 3], new Array(6).fill(1)), null] };
  expect(checkGradient(mul, tied)[0]).toMatch(/^dx0 is .* expected \[1,1,1,1,1,1\]$/);
});

it('operators: an operator that claims the gradient zero and has another is found', () => {
  expect(checkZeroGradient(operators.get('less')!, mulSample)).toEqual([]);
  expect(checkZeroGradient(mul, mulSample)[0]).toMatch(/^output 0 changes with x0\[0\] around /);
});

it('operators: a lowering that is wrong by 3e-5 is found, and a model that the runtime refuses', async () => {
  const [target] = targets;
  const lowered = (emit: OpDefinition['lower'][number]['emit']): OpDefinition => ({ ...mul, lower: [{ name: 'wrong', emit }] });
  const forms = (op: OpDefinition) => formsOf(op, mulSample);
  const wrong = lowered((e, _node, [x, y]) => e.node('Mul', [e.node('Mul', [x, y]), e.floats(1 + 3e-5)]));
  const { problems } = await checkLowerings(wrong, target, forms(wrong));
  expect(problems).toHaveLength(2);
  expect(problems[0]).toMatch(/^same shapes: lowering 'wrong', output 0, element \d+: is .*, expected /);
  expect(problems[1]).toMatch(/^same shapes, batch N: lowering 'wrong'/);
  const refused = lowered((e, _node, [x, y]) => e.node('Mull', [x, y]));
  expect((await checkLowerings(refused, target, forms(refused))).problems[0]).toContain('Mull');
  const flat = lowered((e, _node, [x, y]) => e.reshape(e.node('Mul', [x, y]), [-1]));
  expect((await checkLowerings(flat, target, forms(flat))).problems.join()).toMatch(/\[6\]|mismatch/i);
});

it('operators: a gradient that a named batch does not allow is found', async () => {
  expect(await runGradients(mul, portable)).toEqual([]);
  const flat: OpDefinition = {
    ...mul,
    vjp(graph, { inputs: [x, y], grads: [dz] }) {
      const dx = graph.op('mul', [dz!, graph.constant(ndarray([2, 3], new Array(6).fill(1)))]);
      return [graph.op('mul', [dx, y]), graph.op('mul', [dz!, x])];
    },
    samples: () => [mulSample],
  };
  expect((await runGradients(flat, portable)).join()).toMatch(/same shapes, batch N: .*\[2,3\]/);
});

function gradientProblems(op: OpDefinition, sample: Sample): string[] {
  try {
    return checkGradient(op, sample).map((problem) => `${sample.name}: ${problem}`);
  } catch (error) {
    return [`${sample.name}: ${(error as Error).message}`];
  }
}

function title({ provider, opset, block }: Target): string {
  return `${provider} opset ${opset}${block > 0 ? ` with blocks of ${block}` : ''}`;
}
