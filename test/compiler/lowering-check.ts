import * as ort from 'onnxruntime-node';
import { Emitter, NCHWC } from '../../compiler/emit/emitter.ts';
import { encodeModel, type Port } from '../../compiler/emit/encode.ts';
import { lowerWith } from '../../compiler/emit/lower.ts';
import { fitting, type Lowering, portable, type Target } from '../../compiler/emit/lowering.ts';
import { Graph, type Node, type Value } from '../../compiler/ir/graph.ts';
import type { NDArray } from '../../compiler/ir/ndarray.ts';
import type { OpDefinition, Sample } from '../../compiler/ir/op.ts';
import { type DType, elementCount, type TensorType } from '../../compiler/ir/types.ts';
import { operators } from '../../compiler/ops/index.ts';
import { BATCH, batchedSamples, staticSample, type TypedSample } from './batched-sample.ts';

/** An array with its place in the ONNX model. */
export interface Bound {
  readonly name: string;
  readonly type: TensorType;
  readonly array: NDArray;
}

/** A part of a model that can be run alone: inputs with their values, and outputs with what they must be. */
export interface Case {
  readonly title: string;
  readonly inputs: readonly Bound[];
  readonly outputs: readonly (Bound & { readonly value: string; readonly tolerance: (expected: number) => number })[];
}

/** Where ONNX Runtime computes; it may be another than the target says. */
export type ExecutionProvider = 'cpu' | 'webgpu';

/** A sample with the arrays that its outputs must be, in one of its forms. */
interface Form {
  readonly label: string;
  readonly sample: Sample;
  readonly typed: TypedSample;
  readonly expected: readonly NDArray[];
}

/** What a check of an operator's lowerings found. */
export interface LoweringReport {
  readonly problems: readonly string[];
  /** Names of the lowerings that were run. */
  readonly ran: ReadonlySet<string>;
}

const bytesOf: Record<DType, (data: Float64Array) => ort.Tensor['data']> = {
  float32: (data) => Float32Array.from(data),
  int64: (data) => BigInt64Array.from(Array.from(data, BigInt)),
  int32: (data) => Int32Array.from(data),
  uint8: (data) => Uint8Array.from(data),
  bool: (data) => Uint8Array.from(data),
};

/** The sample with its values rounded to their element type, so that the reference sees what the runtime sees. */
export function rounded(sample: Sample): Sample {
  const inputs = sample.inputs.map((array) =>
    array.dtype === 'float32' ? { ...array, data: array.data.map(Math.fround) } : array,
  );
  return { ...sample, inputs };
}

/**
 * The forms of a sample: its own sizes, and a named batch where the operator takes one. Of the ways to name it, that with the most inputs
 * and that with the first input alone are taken, as a weight may happen to have as many rows as there are samples.
 */
export function formsOf(op: OpDefinition, sample: Sample): Form[] {
  const exact = rounded(sample);
  const expected = op.evaluate(exact.inputs, exact.attrs ?? {});
  const forms: Form[] = [{ label: sample.name, sample: exact, typed: staticSample(op, exact), expected }];
  const batched = batchedSamples(op, exact, expected);
  const usable = batched.find((typed) => fitting(nodeOf(op, typed), portable).length > 0) ?? batched[0];
  const first = batched.find(({ types }) => types.every(({ shape }, i) => (shape[0] === BATCH) === (i === 0)));
  if (usable) forms.push({ label: `${sample.name}, batch ${BATCH}`, sample: exact, typed: usable, expected });
  if (first && first !== usable)
    forms.push({ label: `${sample.name}, batch ${BATCH} of input 0`, sample: exact, typed: first, expected });
  return forms;
}

/** A node of the operator on inputs of the form's types. */
export function nodeOf(op: OpDefinition, typed: TypedSample): Node {
  const graph = new Graph(op.name, 'training', operators);
  const inputs = typed.types.map((type, i) => graph.input(`x${i}`, type, 'data'));
  return graph.add(op, inputs, typed.attrs)[0].producer!;
}

/**
 * Runs every lowering of an operator that accepts a sample, for each form of each sample, on a provider of ONNX Runtime (its CPU's by default), and
 * compares with the reference. All of them go into one model; when that fails, each is tried alone so that the message names it.
 *
 * The error may be 1e-5 of the value plus 1e-6 · √(terms summed) · the largest term. The terms are counted by FLOPs an output element; the
 * largest is the greatest magnitude among inputs and outputs, and, where an operator multiplies inputs, the product of the two greatest.
 * Operators that only move elements, and outputs that are not real numbers, must be exact.
 */
export async function checkLowerings(
  op: OpDefinition,
  target: Target,
  forms: readonly Form[],
  only?: ReadonlySet<string>,
  provider: ExecutionProvider = 'cpu',
): Promise<LoweringReport> {
  const graph = new Graph(op.name, 'training', operators);
  const emitter = new Emitter(target, graph);
  const cases: Case[] = [];
  const ran = new Set<string>();
  const problems: string[] = [];
  forms.forEach((form, f) => {
    const inputs = form.typed.types.map((type, i) => {
      const value = graph.input(`x${f}.${i}`, type, 'data');
      emitter.unique(value.name!);
      emitter.setPlanar(value, value.name!);
      return value;
    });
    const rules = fitting(nodeOf(op, form.typed), target);
    if (rules.length === 0) problems.push(`${form.label}: no lowering fits`);
    rules
      .filter((rule) => only?.has(rule.name) ?? true)
      .forEach((rule, r) => {
        const title = `${form.label}: lowering '${rule.name}'`;
        emitter.scope = `${f}.${r}`;
        try {
          cases.push(emit(emitter, op, form, inputs, rule, title, `y${f}.${r}`));
          ran.add(rule.name);
        } catch (error) {
          problems.push(`${title}: ${(error as Error).message}`);
        }
      });
  });
  problems.push(...(await runCases(op.name, emitter, cases, provider)));
  return { problems, ran };
}

function emit(
  emitter: Emitter,
  op: OpDefinition,
  form: Form,
  inputs: readonly Value[],
  rule: Lowering,
  title: string,
  prefix: string,
): Case {
  const outputs = emitter.graph.add(op, inputs, form.typed.attrs);
  lowerWith(emitter, outputs[0].producer!, rule);
  const tolerance = toleranceOf(op, form);
  return {
    title,
    inputs: inputs.map((input, i) => ({ name: input.name!, type: input.type, array: form.sample.inputs[i] })),
    outputs: outputs.map((output, i) => ({
      name: `${prefix}.${i}`,
      type: output.type,
      array: form.expected[i],
      value: emitter.planar(output),
      tolerance: output.type.dtype === 'float32' ? tolerance : () => 0,
    })),
  };
}

function toleranceOf(op: OpDefinition, { sample, expected }: Form): (value: number) => number {
  if (op.properties.moves) return () => 0;
  const attrs = sample.attrs ?? {};
  const fixed = staticSample(op, sample);
  const count = expected.reduce((sum, array) => sum + elementCount(array.shape), 0);
  const terms = Math.max(1, op.flops(fixed.types, fixed.outputs, attrs) / count);
  const real = (arrays: readonly NDArray[]) => arrays.filter((array) => array.dtype === 'float32').map(greatest);
  const inputs = real(sample.inputs).sort((a, b) => b - a);
  const product = op.properties.elementwise || inputs.length < 2 ? 0 : inputs[0] * inputs[1];
  const largest = Math.max(product, ...inputs, ...real(expected));
  return (value) => 1e-5 * Math.abs(value) + 1e-6 * Math.sqrt(terms) * largest;
}

function greatest(array: NDArray): number {
  return array.data.reduce((most, value) => (Number.isFinite(value) ? Math.max(most, Math.abs(value)) : most), 0);
}

/** Runs all cases of one emitter in one session; on failure each alone. */
export async function runCases(
  name: string,
  emitter: Emitter,
  cases: readonly Case[],
  provider: ExecutionProvider = 'cpu',
): Promise<string[]> {
  if (cases.length === 0) return [];
  try {
    return await runTogether(name, emitter, cases, provider);
  } catch (error) {
    if (cases.length === 1) return [`${cases[0].title}: ${(error as Error).message}`];
    const alone: string[] = [];
    for (const one of cases) alone.push(...(await runCases(name, emitter, [one], provider)));
    return alone.length > 0 ? alone : [`all cases together: ${(error as Error).message}`];
  }
}

async function runTogether(
  name: string,
  emitter: Emitter,
  cases: readonly Case[],
  provider: ExecutionProvider,
): Promise<string[]> {
  // Inputs that a case shares with another are fed once; every case has a batch of its own, under a name of its own.
  const inputs = new Map<string, Bound>();
  cases.forEach((one) => {
    for (const input of one.inputs) inputs.set(input.name, input);
  });
  const outputs = cases.flatMap((one) => one.outputs);
  const bytes = encodeModel({
    name,
    emitter,
    inputs: [...inputs.values()].map(port),
    outputs: outputs.map((output) => ({ ...port(output), value: output.value })),
  });
  // A written model is optimised by the runtime; one for this processor has had its fusions made by the compiler, and runs as it stands.
  const session = await ort.InferenceSession.create(bytes, {
    executionProviders: [provider],
    graphOptimizationLevel: emitter.target.provider === 'cpu' ? 'disabled' : 'all',
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    logSeverityLevel: 3,
  });
  try {
    const feeds: Record<string, ort.Tensor> = {};
    for (const { name, array } of inputs.values()) {
      feeds[name] = new ort.Tensor(array.dtype, bytesOf[array.dtype](array.data) as Float32Array, array.shape);
    }
    const results = await session.run(feeds);
    return cases.flatMap((one) =>
      one.outputs.flatMap((output, i) => compare(`${one.title}, output ${i}`, results[output.name], output)),
    );
  } finally {
    await session.release();
  }
}

/** N as an input or output says it: cases of one model differ in batch size, so each input name gives its own. */
function port({ name, type }: Bound): Port {
  const batch = `${BATCH}_${name.slice(1).split('.')[0]}`;
  return { name, type: { dtype: type.dtype, shape: type.shape.map((dim) => (dim === BATCH ? batch : dim)) } };
}

function compare(title: string, result: ort.Tensor, expected: Case['outputs'][number]): string[] {
  if (result.type !== expected.array.dtype || result.dims.join() !== expected.array.shape.join()) {
    return [
      `${title}: is ${result.type}[${result.dims.join()}], expected ${expected.array.dtype}[${expected.array.shape.join()}]`,
    ];
  }
  const got = Array.from(result.data as ArrayLike<number | bigint>, Number);
  const place = got.findIndex((value, k) => !agrees(value, expected.array.data[k], expected.tolerance(expected.array.data[k])));
  if (place < 0) return [];
  const limit = expected.tolerance(expected.array.data[place]);
  return [`${title}, element ${place}: is ${got[place]}, expected ${expected.array.data[place]} ± ${limit.toExponential(1)}`];
}

function agrees(value: number, expected: number, tolerance: number): boolean {
  return Object.is(value, expected) || value === expected || Math.abs(value - expected) <= tolerance;
}

/** Channels in a block of ONNX Runtime's blocked kernels on this machine; 0 where it has none. */
export async function machineBlock(): Promise<number> {
  const graph = new Graph('block', 'inference', operators);
  const emitter = new Emitter({ provider: 'cpu', opset: 17, block: 16 }, graph);
  const value = emitter.node('ReorderInput', ['x'], {}, NCHWC);
  const type: TensorType = { dtype: 'float32', shape: ['n', 'c', 'h', 'w'] };
  try {
    const bytes = encodeModel({ name: 'block', emitter, inputs: [{ name: 'x', type }], outputs: [{ name: 'y', type, value }] });
    const session = await ort.InferenceSession.create(bytes, { logSeverityLevel: 4 });
    const { y } = await session.run({ x: new ort.Tensor('float32', new Float32Array(8), [1, 8, 1, 1]) });
    await session.release();
    return y.dims[1];
  } catch {
    return 0;
  }
}
