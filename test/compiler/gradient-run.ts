import { lowerGraph } from '../../compiler/emit/lower.ts';
import type { Target } from '../../compiler/emit/lowering.ts';
import { Graph, type Value } from '../../compiler/ir/graph.ts';
import { type NDArray, ndarray } from '../../compiler/ir/ndarray.ts';
import type { OpDefinition } from '../../compiler/ir/op.ts';
import { formatType, sameType } from '../../compiler/ir/types.ts';
import { operators } from '../../compiler/ops/index.ts';
import { interpret } from '../../compiler/passes/interpret.ts';
import { staticSample } from './batched-sample.ts';
import { gradientGraph, isReal, weightsFor } from './gradient-check.ts';
import { type Bound, type Case, formsOf, runCases } from './lowering-check.ts';

/**
 * A whole gradient is compared with this part of its largest element; single nodes have bounds of their own. Most samples stay below 1e-6, some float32
 * roundings; the greatest error is 6e-6, of tanh far out, where 1 − y² has few digits left.
 */
const TOLERANCE = 1e-5;

/**
 * Emits the gradients of every form of every sample and runs them against the interpreter: a gradient that is right in double precision
 * may still be made of nodes that a named batch or the runtime does not allow. Answers with what is wrong.
 */
export async function runGradients(op: OpDefinition, target: Target): Promise<string[]> {
  const graph = new Graph(op.name, 'training', operators);
  const forms = op
    .samples()
    .filter((sample) => isReal(op, sample))
    .flatMap((sample) => formsOf(op, sample));
  const planned: { title: string; inputs: Bound[]; grads: { value: Value; array: NDArray }[] }[] = [];
  const problems: string[] = [];
  forms.forEach(({ label, sample, typed, expected }, f) => {
    try {
      const { inputs, weights, grads } = gradientGraph(op, typed.types, typed.attrs, { graph, prefix: `${f}.` });
      grads.forEach((grad, i) => {
        if (grad && !sameType(grad.type, inputs[i].type)) {
          problems.push(`${label}: dx${i} is ${formatType(grad.type)}, x${i} ${formatType(inputs[i].type)}`);
        }
      });
      const reals = weights.flatMap((weight, i) =>
        weight ? [{ value: weight, array: floats(weightsFor(expected[i].shape, i)) }] : [],
      );
      const feeds = [...inputs.map((value, i) => ({ value, array: sample.inputs[i] })), ...reals];
      // The interpreter takes the static form: attributes of the other may hold names.
      const still = staticSample(op, sample);
      const exact = gradientGraph(op, still.types, still.attrs);
      const exactFeeds = new Map<Value, NDArray>(exact.inputs.map((value, i) => [value, sample.inputs[i]]));
      exact.weights
        .filter((weight) => weight !== null)
        .forEach((weight, i) => {
          exactFeeds.set(weight, reals[i].array);
        });
      const asked = grads.flatMap((grad, i) => (grad?.producer && exact.grads[i] ? [i] : []));
      const arrays = interpret(
        exact.graph,
        exactFeeds,
        asked.map((i) => exact.grads[i]!),
      );
      planned.push({
        title: `${label}: gradient`,
        inputs: feeds.map(({ value, array }) => ({ name: value.name!, type: value.type, array })),
        grads: asked.map((i, a) => ({ value: grads[i]!, array: arrays[a] })),
      });
    } catch (error) {
      problems.push(`${label}: ${(error as Error).message}`);
    }
  });
  if (problems.length > 0) return problems;
  const { emitter } = lowerGraph(graph, target);
  const cases: Case[] = planned.map(({ title, inputs, grads }, f) => {
    const largest = Math.max(...grads.map(({ array }) => array.data.reduce((most, value) => Math.max(most, Math.abs(value)), 0)));
    return {
      title,
      inputs,
      outputs: grads.map(({ value, array }, i) => ({
        name: `d${f}.${i}`,
        type: value.type,
        array,
        value: emitter.planar(value),
        tolerance: () => TOLERANCE * largest,
      })),
    };
  });
  return runCases(
    op.name,
    emitter,
    cases.filter((one) => one.outputs.length > 0),
  );
}

function floats({ shape, data }: NDArray): NDArray {
  return ndarray(shape, data.map(Math.fround));
}
