import { Emitter } from '../emit/emitter.ts';
import { encodeModel, type Port } from '../emit/encode.ts';
import { lowerWith } from '../emit/lower.ts';
import { choose, fitting, type Lowering, signature, type Target } from '../emit/lowering.ts';
import { Graph, type Node } from '../ir/graph.ts';
import type { Program } from '../ir/program.ts';
import { simplify } from '../passes/simplify.ts';
import { stepGraph } from './training.ts';

/** An operator on inputs of given types that can be written in several ways, as a training step has it. */
export interface Candidate {
  /** What its measurement is kept under. */
  readonly signature: string;
  readonly op: string;
  /** A convolution, a matrix product or a gradient of one. */
  readonly isProduct: boolean;
  /** Scope of the first of them. */
  readonly scope: string;
  /** How many the step has. */
  readonly count: number;
  /** Names of the lowerings that are right for it; the first is what the rules take. */
  readonly lowerings: readonly string[];
  /** What a file of it takes. */
  readonly inputs: readonly Port[];
  /** ONNX file of this operator alone in one of its lowerings. Its output `y` is one element of the result, so that no copy is timed. */
  emit(lowering: string): Uint8Array;
}

/** The operators of a program's training step that can be written in several ways, those that do the same work once. */
export function candidates(program: Program, batch: number, target: Target): Candidate[] {
  const { optimizer, clipNorm } = program.training;
  const { nodes } = simplify(stepGraph(program, { batch, optimizer, clipNorm }).graph);
  const groups = new Map<string, Node[]>();
  for (const node of nodes) {
    const key = signature(node);
    groups.set(key, [...(groups.get(key) ?? []), node]);
  }
  const situation: Target = { ...target, mode: 'training', tuned: undefined };
  return [...groups].flatMap(([key, [node, ...more]]) => {
    const rules = fitting(node, situation);
    if (rules.length < 2) return [];
    const first = choose(node, situation).taken!;
    const ordered = [first, ...rules.filter((rule) => rule !== first)];
    const byName = new Map(ordered.map((rule) => [rule.name, rule]));
    const inputs = node.inputs.flatMap(({ type, constant }, i) => (constant ? [] : [{ name: `x${i}`, type }]));
    return {
      signature: key,
      op: node.op.name,
      isProduct: node.op.properties.products === true,
      scope: node.scope,
      count: more.length + 1,
      lowerings: [...byName.keys()],
      inputs,
      emit: (name: string) => emitAlone(node, byName.get(name)!, situation),
    };
  });
}

function emitAlone(node: Node, lowering: Lowering, target: Target): Uint8Array {
  const graph = new Graph(node.op.name, 'training', new Map([[node.op.name, node.op]]));
  const emitter = new Emitter(target, graph);
  const values = node.inputs.map((input, i) => {
    if (input.constant) return input;
    const value = graph.input(`x${i}`, input.type, 'data');
    emitter.unique(value.name!);
    emitter.setPlanar(value, value.name!);
    return value;
  });
  const [result] = graph.add(node.op, values, node.attrs);
  lowerWith(emitter, result.producer!, lowering);
  const first = emitter.node('Gather', [emitter.reshape(emitter.planar(result), [-1]), emitter.ints([0])]);
  const inputs = graph.inputs.map(({ name, type }) => ({ name: name!, type }));
  const output = { name: 'y', type: { dtype: result.type.dtype, shape: [1] }, value: first };
  return encodeModel({ name: node.op.name, emitter, inputs, outputs: [output] });
}
