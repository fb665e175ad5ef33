import { Graph, type Value } from '../../compiler/ir/graph.ts';
import { type NDArray, ndarray, scalar } from '../../compiler/ir/ndarray.ts';
import { defineOp, type OpDefinition, type Sample } from '../../compiler/ir/op.ts';
import { type Attrs, elementCount, formatType, sameType, type TensorType } from '../../compiler/ir/types.ts';
import { operators } from '../../compiler/ops/index.ts';
import { differentiate } from '../../compiler/passes/autodiff.ts';
import { interpret } from '../../compiler/passes/interpret.ts';
import { typeOf } from './batched-sample.ts';

/** Relative error that a gradient may have against central differences. */
const TOLERANCE = 1e-6;
/** Gradients below this are compared absolutely: differences of values near 1 have rounding errors of about 1e-12. */
const SMALLEST_SCALE = 1e-4;
/** Powers of two, so that x ± h is exact. The widest stencil, 2h, stays below the distance of 1e-3 that samples keep from kinks. */
const STEPS = [2 ** -11, 2 ** -14, 2 ** -17];

/** Σ w·y: independent of the reductions under test. */
const contract = defineOp('contract', {
  summary: 'loss = Σ w · y.',
  properties: {},
  infer: () => [{ dtype: 'float32', shape: [] }],
  vjp: (graph, { inputs: [, w], grads: [dz] }) => [graph.op('mul', [dz!, w]), null],
  lower: [{ name: 'standard', emit: (e, _node, [y, w]) => e.node('ReduceSum', [e.node('Mul', [y, w])], { keepdims: 0 }) }],
  flops: () => 0,
  evaluate: ([y, w]) => [scalar(y.data.reduce((sum, value, i) => sum + value * w.data[i], 0))],
  samples: () => [],
});

/** One node, and the gradients of Σ w·y over all its float outputs. */
export interface GradientGraph {
  readonly graph: Graph;
  readonly inputs: readonly Value[];
  /** The weights w of each output; null for an integer or a truth value. */
  readonly weights: readonly (Value | null)[];
  /** By each input; null where none is asked for. */
  readonly grads: readonly (Value | null)[];
}

/** Where a gradient is built: in a graph of its own by default; `ask` says by which inputs (all float ones). */
export interface GradientPlace {
  readonly graph?: Graph;
  /** Part of the inputs' names: `x3.0`, `w3.0`. */
  readonly prefix?: string;
  readonly ask?: (input: number) => boolean;
}

/** Builds the gradient of one node. */
export function gradientGraph(
  op: OpDefinition,
  types: readonly TensorType[],
  attrs: Attrs,
  { graph = new Graph(op.name, 'training', operators), prefix = '', ask = () => true }: GradientPlace = {},
): GradientGraph {
  const inputs = types.map((type, i) => graph.input(`x${prefix}${i}`, type, 'data'));
  const outputs = graph.add(op, inputs, attrs);
  const real = (value: Value) => value.type.dtype === 'float32';
  const weights = outputs.map((output, i) => (real(output) ? graph.input(`w${prefix}${i}`, output.type, 'data') : null));
  const losses = outputs.flatMap((output, i) => (weights[i] ? [...graph.add(contract, [output, weights[i]])] : []));
  const wanted = inputs.filter((input, i) => real(input) && ask(i));
  const loss = losses.length > 0 ? losses.reduce((sum, term) => graph.op('add', [sum, term])) : null;
  const grads = loss ? differentiate(graph, loss, wanted) : new Map<Value, Value>();
  return { graph, inputs, weights, grads: inputs.map((input) => grads.get(input) ?? null) };
}

/** Whether an operator takes and gives real numbers, so that a gradient may be asked of it. */
export function isReal(op: OpDefinition, sample: Sample): boolean {
  const real = (array: NDArray) => array.dtype === 'float32';
  return sample.inputs.some(real) && op.evaluate(sample.inputs, sample.attrs ?? {}).some(real);
}

/** Fixed weights between 0.5 and 1.5 with mixed signs. */
export function weightsFor(shape: readonly number[], output: number): NDArray {
  const weight = (i: number) => {
    const fraction = (Math.sin(12.9898 * (i + 1) + 78.233 * (output + 1)) * 43758.5453) % 1;
    return (fraction < 0 ? -1 : 1) * (0.5 + Math.abs(fraction));
  };
  return ndarray(
    shape,
    Array.from({ length: elementCount(shape) }, (_, i) => weight(i)),
  );
}

/**
 * Judges an operator's vjp on a sample; an empty answer means that it is right.
 *
 * 1. Each gradient has the type of its input.
 * 2. An element is right when |vjp − differences| ≤ 1e-6 · max(|vjp|, |differences|, the largest gradient of the sample), for one of three
 *    step sizes of the fourth-order central difference. A kink sample is compared with its `expectedGrads` instead.
 * 3. A gradient asked for alone is the same.
 */
export function checkGradient(op: OpDefinition, sample: Sample): string[] {
  const attrs = sample.attrs ?? {};
  const types = sample.inputs.map(typeOf);
  const outputs = op.evaluate(sample.inputs, attrs);
  const weights = outputs.map((output, i) =>
    sample.kink ? { ...output, data: output.data.map(() => (i === 0 ? 1 : 0)) } : weightsFor(output.shape, i),
  );
  const grads = gradientsOf(gradientGraph(op, types, attrs), sample.inputs, weights);
  const problems = grads.flatMap((grad, i) =>
    grad && !sameType(typeOf(grad), types[i]) ? [`dx${i} is ${formatType(typeOf(grad))}, x${i} ${formatType(types[i])}`] : [],
  );
  if (problems.length > 0) return problems;
  grads.forEach((grad, i) => {
    if (!grad) return;
    const [alone] = gradientsOf(gradientGraph(op, types, attrs, { ask: (input) => input === i }), sample.inputs, weights).filter(
      (other) => other !== null,
    );
    const place = grad.data.findIndex((value, k) => Math.abs(value - alone.data[k]) > 1e-12 * Math.max(1, Math.abs(value)));
    if (place >= 0) problems.push(`dx${i}[${place}] is ${grad.data[place]}, and ${alone.data[place]} when it alone is wanted`);
  });
  if (sample.kink) {
    if (!sample.expectedGrads) return [...problems, 'a kink sample without expectedGrads'];
    return [...problems, ...sample.expectedGrads.flatMap((expected, i) => (expected ? compare(grads[i], expected, i) : []))];
  }
  const largest = Math.max(
    SMALLEST_SCALE,
    ...grads.map((grad) => grad?.data.reduce((most, value) => Math.max(most, Math.abs(value)), 0) ?? 0),
  );
  grads.forEach((grad, i) => {
    grad?.data.forEach((value, k) => {
      const tried: number[] = [];
      const right = STEPS.some((step) => {
        const number = difference(op, sample, weights, i, k, step);
        tried.push(number);
        return Math.abs(value - number) <= TOLERANCE * Math.max(Math.abs(value), Math.abs(number), largest);
      });
      if (!right) problems.push(`dx${i}[${k}] is ${value}, differences give ${tried.join(', ')}`);
    });
  });
  return problems;
}

/**
 * Judges an operator that claims the gradient zero: on both sides of a sample, `STEPS[0]` away in one element of a float input, every output must be
 * the same, of whatever element type. Of a long input, elements at even distances are tried. An empty answer means that it is right.
 */
export function checkZeroGradient(op: OpDefinition, sample: Sample): string[] {
  const [step] = STEPS;
  const problems: string[] = [];
  sample.inputs.forEach((input, i) => {
    if (input.dtype !== 'float32') return;
    for (let k = 0; k < input.data.length; k += Math.ceil(input.data.length / 32)) {
      const at = (move: number) => {
        const moved = { ...input, data: input.data.with(k, input.data[k] + move) };
        return op.evaluate(sample.inputs.with(i, moved), sample.attrs ?? {});
      };
      const [ahead, behind] = [at(step), at(-step)];
      const output = ahead.findIndex(({ data }, o) => data.some((value, e) => value !== behind[o].data[e]));
      if (output >= 0) problems.push(`output ${output} changes with x${i}[${k}] around ${input.data[k]}`);
    }
  });
  return problems;
}

function gradientsOf(built: GradientGraph, inputs: readonly NDArray[], weights: readonly NDArray[]): (NDArray | null)[] {
  const feeds = new Map<Value, NDArray>();
  built.inputs.forEach((input, i) => {
    feeds.set(input, inputs[i]);
  });
  built.weights.forEach((weight, i) => {
    if (weight) feeds.set(weight, weights[i]);
  });
  const wanted = built.grads.filter((grad) => grad !== null);
  const arrays = interpret(built.graph, feeds, wanted);
  return built.grads.map((grad) => (grad ? arrays[wanted.indexOf(grad)] : null));
}

function compare(grad: NDArray | null, expected: NDArray, input: number): string[] {
  if (!grad) return [`no gradient by input ${input}, expected [${expected.data.join()}]`];
  const same =
    grad.data.length === expected.data.length && grad.data.every((value, k) => Math.abs(value - expected.data[k]) <= 1e-12);
  return same ? [] : [`dx${input} is [${grad.data.join()}], expected [${expected.data.join()}]`];
}

/** d(Σ w·y)/dx[input][k] by f' ≈ (8(f(h) − f(−h)) − (f(2h) − f(−2h))) / 12h, subtracted before it is summed. */
function difference(
  op: OpDefinition,
  sample: Sample,
  weights: readonly NDArray[],
  input: number,
  k: number,
  step: number,
): number {
  const at = (move: number) => {
    const inputs = sample.inputs.map((array, i) =>
      i === input ? { ...array, data: array.data.with(k, array.data[k] + move) } : array,
    );
    return op.evaluate(inputs, sample.attrs ?? {});
  };
  const [near, nearBack, far, farBack] = [at(step), at(-step), at(2 * step), at(-2 * step)];
  let sum = 0;
  near.forEach((output, o) => {
    if (output.dtype !== 'float32') return;
    output.data.forEach((_, e) => {
      const slope = 8 * (output.data[e] - nearBack[o].data[e]) - (far[o].data[e] - farBack[o].data[e]);
      sum += weights[o].data[e] * slope;
    });
  });
  return sum / (12 * step);
}
