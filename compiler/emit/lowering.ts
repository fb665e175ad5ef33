import type { GraphMode, Node } from '../ir/graph.ts';
import { type Attrs, formatType } from '../ir/types.ts';
import type { Emitter } from './emitter.ts';

/** What a graph is compiled for. `portable` uses standard operators only. */
export interface Target {
  readonly provider: 'portable' | 'cpu' | 'webgpu' | 'cuda';
  /** ONNX opset, 13 or newer. */
  readonly opset: number;
  /** Channels in a block of ONNX Runtime's NCHWc kernels on this machine (16 with AVX-512, 8 with AVX2); 0: do not use them. */
  readonly block: number;
  /** How the graph that is emitted is meant to run; the emission sets it. */
  readonly mode?: GraphMode;
  /** The lowering that was measured to be the fastest for a node, by its {@link signature}; it overrules what `pays` says. */
  readonly tuned?: ReadonlyMap<string, string>;
}

/** The opsets whose operators the lowerings know. */
export const oldestOpset = 13;
export const newestOpset = 25;

export const portable: Target = { provider: 'portable', opset: 17, block: 0 };

/** Whether a graph may run on WebGPU, some of whose kernels in ONNX Runtime are wrong and have to be gone round: one for every engine may. */
export function mayRunOnWebgpu({ provider }: Target): boolean {
  return provider === 'webgpu' || provider === 'portable';
}

/** A condition on a node and a target, with the words that complete "needs …" where it does not hold. */
export interface Condition<A extends Attrs = Attrs> {
  readonly text: string;
  holds(node: Node, target: Target, attrs: A): boolean;
}

export function needs<A extends Attrs = Attrs>(text: string, holds: Condition<A>['holds']): Condition<A> {
  return { text, holds };
}

/** One way to write an operator in ONNX. */
export interface Lowering<A extends Attrs = Attrs> {
  /** Short name for `--explain` and test titles: `nchwc`, `unfold`, `standard`. */
  readonly name: string;
  /** When it is right; left out means always. */
  readonly when?: Condition<A>;
  /** When it is expected to be faster than those after it; left out means whenever it is right. A measurement (`ddrc tune`) overrules it. */
  readonly pays?: Condition<A>;
  /** Emits ONNX nodes; `x` are the names of the inputs' values. Returns the name of the output, or of each output. */
  emit(e: Emitter, node: Node, x: readonly string[], attrs: A): string | readonly string[];
}

/** What the speed of a node's lowerings depends on: operator, attributes, and the types of its inputs. */
export function signature({ op, attrs, inputs }: Node): string {
  const types = inputs.map(({ type }) => formatType(type)).join(' ');
  return `${op.name} ${JSON.stringify(attrs)} ${types}`;
}

/** The lowerings of a node's operator that are right for it, the preferred ones first. */
export function fitting(node: Node, target: Target): readonly Lowering[] {
  return node.op.lower.filter(({ when }) => when?.holds(node, target, node.attrs) ?? true);
}

/** A lowering that was not taken, and why. */
export interface Rejection {
  readonly lowering: string;
  readonly reason: string;
}

/**
 * The lowering for a node: the one that was measured to be the fastest, otherwise the first that is right and expected to pay. Undefined where none is right.
 */
export function choose(
  node: Node,
  target: Target,
): { readonly taken: Lowering | undefined; readonly measured: boolean; readonly others: readonly Rejection[] } {
  const pays = ({ pays }: Lowering) => pays?.holds(node, target, node.attrs) ?? true;
  const fits = fitting(node, target);
  // What was measured are training steps, in which weights come with each run.
  const fastest = target.mode === 'training' ? target.tuned?.get(signature(node)) : undefined;
  const measured = fits.find(({ name }) => name === fastest);
  const taken = measured ?? fits.find(pays);
  const reasonAgainst = (rule: Lowering): string => {
    if (!fits.includes(rule)) return `needs ${rule.when!.text}`;
    if (measured) return 'was not faster when measured here';
    return pays(rule) ? `${taken!.name} is preferred` : `pays with ${rule.pays!.text}`;
  };
  const others = node.op.lower.filter((rule) => rule !== taken);
  return {
    taken,
    measured: measured !== undefined,
    others: others.map((rule) => ({ lowering: rule.name, reason: reasonAgainst(rule) })),
  };
}
