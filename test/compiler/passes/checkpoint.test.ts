import onnxProto from 'onnx-proto';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it, vi } from 'vitest';
import { stepGraph } from '../../../compiler/artifacts/training.ts';
import { compile } from '../../../compiler/compile.ts';
import { portable, type Target } from '../../../compiler/emit/lowering.ts';
import { Graph, type Value } from '../../../compiler/ir/graph.ts';
import { ndarray } from '../../../compiler/ir/ndarray.ts';
import { print } from '../../../compiler/ir/printer.ts';
import type { Program } from '../../../compiler/ir/program.ts';
import { elementCount } from '../../../compiler/ir/types.ts';
import { operators } from '../../../compiler/ops/index.ts';
import { differentiate } from '../../../compiler/passes/autodiff.ts';
import { checkpoint, chooseCuts, type Droppable, savedBytes } from '../../../compiler/passes/checkpoint.ts';
import { interpret } from '../../../compiler/passes/interpret.ts';
import { simplify } from '../../../compiler/passes/simplify.ts';
import { verify } from '../../../compiler/passes/verify.ts';
import { random } from '../../../numeric/random.ts';
import { machineBlock } from '../lowering-check.ts';

// The model files import the package by its name, which would be the compiled one.
vi.mock('ddrc', () => import('../../../dsl/index.ts'));
const { default: ddrnet } = await import('../../../models/ddrnet.ts');
const { default: resnet } = await import('../../../models/resnet.ts');

const sgd = { kind: 'sgd', momentum: 0, nesterov: false, weightDecay: 0 } as const;
const stepOf = (program: Program, batch: number | string) =>
  simplify(stepGraph(program, { batch, optimizer: sgd, clipNorm: 0 }, true).graph);

/** y = tanh(…tanh(x·w)…), `layers` of them, its sum as the loss, and the gradient by w. */
function chain(layers: number): Graph {
  const graph = new Graph('chain', 'training', operators);
  const x = graph.input('x', { dtype: 'float32', shape: ['N', 2] }, 'data');
  const w = graph.input('w', { dtype: 'float32', shape: [2, 2] }, 'parameter');
  let y = x;
  for (let i = 0; i < layers; i++) y = graph.op('tanh', [graph.op('matmul', [y, w])]);
  const loss = graph.op('reduceSum', [y], { axes: [0, 1], keepdims: false });
  const grads = graph.during('backward', () => differentiate(graph, loss, [w]));
  graph.outputs.set('loss', loss);
  graph.outputs.set('dw', grads.get(w)!);
  return simplify(graph);
}

/** What begins the segments that are computed again, of the size of a map or more. */
function kept(graph: Graph): { value: Value; scope: string; op: string }[] {
  const starts = new Set(graph.nodes.filter(({ op }) => op.name === 'after').map(({ inputs: [x] }) => x));
  return [...starts]
    .filter(({ type, producer }) => producer && type.shape.length === 4 && (type.shape[2] as number) > 1)
    .map((value) => ({ value, scope: value.producer!.scope, op: value.producer!.op.name }));
}

describe('the choice of cuts', () => {
  /** The most that is alive with these cuts, counted value by value. */
  function mostAlive(made: readonly (readonly Droppable[])[], cuts: readonly number[]): number {
    const bounds = [0, ...cuts, made.length];
    const values = made.flatMap((list, at) => list.map((value) => ({ ...value, at })));
    return Math.max(
      ...bounds.slice(1).map((end, i) => {
        const start = bounds[i];
        const crosses = ({ at, last }: { at: number; last: number }) =>
          cuts.some((cut) => cut <= start && at < cut && last >= cut) || (at >= start && at < end && last >= end);
        const own = ({ at, saved }: { at: number; saved: boolean }) => saved && at >= start && at < end;
        return values.filter((value) => crosses(value) || own(value)).reduce((sum, { bytes }) => sum + bytes, 0);
      }),
    );
  }

  it('leaves least alive: as good as the best of all sets of cuts, on a hundred random rows of nodes', () => {
    for (let row = 0; row < 100; row++) {
      const next = random('cuts', row);
      const length = 1 + Math.floor(next() * 8);
      const made = Array.from({ length }, (_, at) =>
        Array.from({ length: Math.floor(next() * 3) }, () => ({
          bytes: Math.floor(next() * 10),
          last: at + Math.floor(next() ** 3 * (length - at)),
          saved: next() < 0.7,
        })),
      );
      const all = Array.from({ length: 2 ** (length - 1) }, (_, bits) =>
        Array.from({ length: length - 1 }, (_, i) => i + 1).filter((cut) => (bits >> (cut - 1)) & 1),
      );
      const best = Math.min(...all.map((cuts) => mostAlive(made, cuts)));
      expect(mostAlive(made, chooseCuts(made)), `row ${row}`).toBe(best);
    }
  });

  it('cuts a chain of equal layers into about the root of their number', () => {
    const made = Array.from({ length: 100 }, (_, at) => [{ bytes: 1, last: Math.min(at + 1, 99), saved: true }]);
    const cuts = chooseCuts(made);
    // Each segment may be as much shorter as one more value is kept before it: 14 + 13 + … + 1 ≥ 100 > 13 + 12 + … + 1.
    expect(mostAlive(made, cuts)).toBe(14);
    expect(cuts.length).toBeLessThan(14);
  });

  it('does not cut where nothing is saved by it', () => {
    expect(chooseCuts([])).toEqual([]);
    expect(chooseCuts([[{ bytes: 8, last: 1, saved: true }], [{ bytes: 1, last: 1, saved: true }]])).toEqual([]);
  });
});

describe('checkpoint', () => {
  it('computes a chain again from what it keeps, after the gradient that arrives there', () => {
    expect(print(checkpoint(chain(4)))).toMatchInlineSnapshot(`
      "graph chain (training)
      %x float32[N,2] = input  // data
      %w float32[2,2] = input  // parameter
      %0 float32[N,2] = matmul(%x, %w)
      %1 float32[N,2] = tanh(%0)
      %2 float32[N,2] = matmul(%1, %w)
      %3 float32[N,2] = tanh(%2)
      %4 float32[N,2] = matmul(%3, %w)
      %5 float32[N,2] = tanh(%4)
      %6 float32[N,2] = matmul(%5, %w)
      %7 float32[N,2] = tanh(%6)
      %8 float32[] = reduceSum(%7) {axes: [0,1], keepdims: false}
      %9 float32[N,2] = mul(%7, %7)
      %10 float32[N,2] = sub(1, %9)
      %11 float32[N,2] = matmul(%10, %w) {transA: false, transB: true}
      %12 float32[2,2] = matmul(%5, %10) {transA: true, transB: false}
      %13 float32[N,2] = mul(%5, %5)
      %14 float32[N,2] = sub(1, %13)
      %15 float32[N,2] = mul(%11, %14)
      %16 float32[N,2] = matmul(%15, %w) {transA: false, transB: true}
      %17 float32[2,2] = matmul(%3, %15) {transA: true, transB: false}
      %18 float32[2,2] = add(%12, %17)
      %19 float32[N,2] = mul(%3, %3)
      %20 float32[N,2] = sub(1, %19)
      %21 float32[N,2] = mul(%16, %20)
      %22 float32[N,2] = matmul(%21, %w) {transA: false, transB: true}
      %23 float32[N,2] = after(%x, %21)
      %24 float32[2,2] = after(%w, %21)
      %25 float32[N,2] = matmul(%23, %24)
      %26 float32[N,2] = tanh(%25)
      %27 float32[2,2] = matmul(%26, %21) {transA: true, transB: false}
      %28 float32[2,2] = add(%18, %27)
      %29 float32[N,2] = mul(%26, %26)
      %30 float32[N,2] = sub(1, %29)
      %31 float32[N,2] = mul(%22, %30)
      %32 float32[2,2] = matmul(%23, %31) {transA: true, transB: false}
      %33 float32[2,2] = add(%28, %32)
      return loss = %8
      return dw = %33
      "
    `);
  });

  it('gives the same numbers in double precision', () => {
    const graphs = [chain(9), checkpoint(chain(9))];
    expect(graphs[1].nodes.length).toBeGreaterThan(graphs[0].nodes.length);
    const [whole, lean] = graphs.map((graph) => {
      verify(graph);
      const feeds = new Map(graph.inputs.map((input) => [input, ndarray([2, 2], [0.5, -1, 0.25, 2])]));
      return interpret(graph, feeds, [...graph.outputs.values()]);
    });
    expect(lean).toEqual(whole);
  });

  it('leaves a graph alone that has no backward pass, or too short a one', () => {
    const forward = new Graph('forward', 'training', operators);
    forward.outputs.set('y', forward.op('tanh', [forward.input('x', { dtype: 'float32', shape: [2] }, 'data')]));
    const short = chain(1);
    for (const graph of [forward, short]) expect(checkpoint(graph)).toBe(graph);
  });

  it('is undone by no later pass', () => {
    const lean = checkpoint(stepOf(resnet.instantiate({ size: 64, width: 8 }), 2));
    expect(simplify(lean).nodes.length).toBe(lean.nodes.length);
    const again = lean.nodes.filter(({ op, phase }) => op.name === 'conv' && phase === 'backward');
    expect(again.length).toBeGreaterThan(5);
    for (const { inputs, op } of lean.nodes) if (op.name === 'after') expect(inputs[1].producer?.phase).toBe('backward');
  });
});

describe('memory', () => {
  const sizes: [string, Program, number | string, number, number][] = [
    ['DDRNet at batch 16', ddrnet.instantiate(), 16, 379_761_216, 90_000_000],
    ['ResNet-18 at batch 8', resnet.instantiate(), 8, 159_777_056, 29_000_000],
    ['ResNet-50 at batch 8', resnet.instantiate({ depth: 50 }), 8, 669_614_368, 160_000_000],
  ];
  it.each(sizes)('%s: fewer bytes of the forward pass wait for the backward pass', (_name, program, batch, before, after) => {
    const graph = stepOf(program, batch);
    const lean = checkpoint(graph);
    verify(lean);
    expect(savedBytes(graph)).toBe(before);
    expect(savedBytes(lean)).toBeLessThan(after);
  });

  it('keeps the outputs of the residual blocks of DDRNet', () => {
    const found = kept(checkpoint(stepOf(ddrnet.instantiate(), 16))).map(({ scope, op }) => `${scope} ${op}`);
    for (const block of [0, 1, 2, 3, 4, 5]) expect(found).toContain(`drdb.${block} relu`);
  });

  it('cuts ResNet-18 between its blocks', () => {
    const found = kept(checkpoint(stepOf(resnet.instantiate(), 8)));
    expect(found.length).toBeGreaterThan(0);
    for (const { scope, op } of found) expect(`${scope} ${op}`).toMatch(/^(layer\d\.\d (add|relu)| maxPool)$/);
  });

  it('works for a named batch, whose size it does not know', () => {
    const graph = stepOf(ddrnet.instantiate(), 'N');
    const lean = checkpoint(graph);
    verify(lean);
    // The name counts as 1: a sixteenth of the bytes at batch 16.
    expect(savedBytes(graph)).toBeLessThan(379_761_216 / 15);
    expect(savedBytes(lean)).toBeLessThan(savedBytes(graph) / 3);
  });
});

describe('in ONNX Runtime', async () => {
  const block = await machineBlock();
  const targets: [string, Target][] = [
    ['portable', portable],
    ['cpu', { provider: 'cpu', opset: 17, block }],
  ];
  const models: [string, Program][] = [
    ['DDRNet with dropout', ddrnet.instantiate({ size: 64, channels: 16, residualDropout: 0.3 })],
    ['ResNet with batch norms', resnet.instantiate({ size: 64, width: 16 })],
  ];

  /** Outputs of the step, with or without the pass, and its bytes. */
  async function run(program: Program, target: Target, checkpointActivations: boolean) {
    const { manifest, files } = compile(program, {
      artifacts: ['step'],
      target,
      batch: 4,
      optimizer: sgd,
      gradients: true,
      checkpointActivations,
    });
    const bytes = files.get('step.onnx')!;
    const session = await InferenceSession.create(bytes, { graphOptimizationLevel: 'disabled', intraOpNumThreads: 1 });
    const feeds = manifest.files['step.onnx'].inputs.map(({ name, dtype, shape }) => {
      const next = random('feed', name);
      const sizes = shape as number[];
      const length = elementCount(sizes);
      const data =
        dtype === 'int64'
          ? BigInt64Array.from({ length }, (_, i) => BigInt(name === 'seed' ? 77 : i % 4))
          : Float32Array.from({ length }, () => 0.2 * next() - (name === 'parameters' ? 0.1 : 0));
      return [name, new Tensor(dtype as 'float32', data as Float32Array, sizes)] as const;
    });
    expect(session.inputNames).toEqual(manifest.files['step.onnx'].inputs.map(({ name }) => name));
    const outputs = await session.run(Object.fromEntries(feeds));
    await session.release();
    return { bytes, outputs };
  }

  // The same kernels on the same numbers, and what no kernel touches is the same, so nothing is rounded differently.
  it.each(models.flatMap(([model, program]) => targets.map(([name, target]) => [model, name, program, target] as const)))(
    '%s, %s: loss, gradients and running statistics are the same to the last bit',
    async (_model, _name, program, target) => {
      const [whole, lean] = [await run(program, target, false), await run(program, target, true)];
      const graphs = [whole, lean].map(({ bytes }) => onnxProto.onnx.ModelProto.decode(bytes).graph!);
      const convs = graphs.map(({ node }) => node!.filter(({ opType }) => opType === 'Conv').length);
      expect(convs[1]).toBeGreaterThan(convs[0]);
      expect(Object.keys(lean.outputs)).toEqual(Object.keys(whole.outputs));
      for (const [name, { data }] of Object.entries(whole.outputs)) {
        const numbers = data as Float32Array;
        expect(Buffer.from((lean.outputs[name].data as Float32Array).buffer).equals(Buffer.from(numbers.buffer)), name).toBe(
          true,
        );
        expect(numbers.every(Number.isFinite), `${name} is finite`).toBe(true);
      }
      expect((whole.outputs.gradients.data as Float32Array).some((value) => value !== 0)).toBe(true);
    },
  );
});

describe('compile', () => {
  it('refuses what is neither true nor false', () => {
    const request = { checkpointActivations: 'yes' as unknown as boolean };
    expect(() => compile(resnet.instantiate({ size: 32, width: 8 }), request)).toThrow(
      'checkpointActivations must be true or false, got "yes"',
    );
  });

  it('changes step and grad, not what only goes forward', () => {
    const program = ddrnet.instantiate({ size: 32, channels: 8 });
    const [whole, lean] = [false, true].map((checkpointActivations) => compile(program, { batch: 2, checkpointActivations }));
    const changed = [...whole.files.keys()].filter((name) => !Buffer.from(whole.files.get(name)!).equals(lean.files.get(name)!));
    expect(changed).toEqual(['step.onnx', 'grad.onnx']);
    // Neither what a file takes and gives nor what a checkpoint fits depends on it.
    for (const name of changed) expect(lean.manifest.files[name].inputs).toEqual(whole.manifest.files[name].inputs);
    expect(lean.manifest.modelHash).toBe(whole.manifest.modelHash);
  });
});
