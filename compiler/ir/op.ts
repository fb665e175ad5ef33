import type { Lowering } from '../emit/lowering.ts';
import type { Graph, Node, Value } from './graph.ts';
import type { NDArray } from './ndarray.ts';
import type { Attrs, TensorType } from './types.ts';

/** Where a shape rule is asked: for the sentence it throws. */
export interface Site {
  readonly op: string;
  readonly scope: string;
  /** What each input is: `drdb.3.conv1.weight`. */
  readonly labels: readonly string[];
}

/** What a gradient rule gets to work with. */
export interface VjpArgs {
  readonly node: Node;
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  /** Gradient of the loss by each output; null where the loss does not depend on it. At least one is not null. */
  readonly grads: readonly (Value | null)[];
  /** Which inputs need a gradient: the others may be answered with null. */
  readonly wanted: readonly boolean[];
}

/** Builds IR for the gradient by each input; null for an input that has none (an index, or one that is not wanted). */
export type Vjp = (graph: Graph, args: VjpArgs) => readonly (Value | null)[];

/**
 * Why an operator has no gradient rule. `zero`: its result does not change with small changes of its inputs (a comparison, a mask, a size).
 * `none`: it does, but no rule is there, so a loss cannot be differentiated through it.
 */
export type NoGradient = { readonly zero: string } | { readonly none: string };

/** One input set that the tests run an operator on. */
export interface Sample {
  /** What is special about it: `stride 2, asymmetric pads`. */
  readonly name: string;
  readonly inputs: readonly NDArray[];
  readonly attrs?: Attrs;
  /** Inputs whose gradient is not checked by differences here, because a value sits on a kink or a step; `expectedGrads` says what it must be, where there is one. */
  readonly kink?: boolean;
  /** Expected gradient by each input, for a gradient of ones by the first output: for ties and kinks, where differences mean nothing. */
  readonly expectedGrads?: readonly (NDArray | null)[];
}

/** What passes may ask of an operator instead of comparing its name. */
export interface OpProperties {
  /** Each output element depends on the elements at the same (broadcast) place only. */
  readonly elementwise?: boolean;
  /** The two inputs may be exchanged. */
  readonly commutes?: boolean;
  /** Elements are only moved or viewed: no arithmetic. */
  readonly moves?: boolean;
  /** The first input is only repeated by broadcasting, so an element-wise consumer of the same shape may read that input itself. */
  readonly repeats?: boolean;
  /** Its operations are the multiply-adds of a product (convolution, matrix product): what is counted as MACs. */
  readonly products?: boolean;
  /** What a convolution right before it can do in its place: add its other input, a map of the same type, or take the ReLU of its result. */
  readonly ofConvolution?: 'sum' | 'Relu';
  /** Constants that leave the other input as it is: [0, 0] for a sum, [null, 1] for a quotient. */
  readonly neutral?: readonly [left: number | null, right: number | null];
}

/** y = scale · x + shift for each channel [C]. */
export interface ChannelAffine {
  readonly scale: NDArray;
  readonly shift: NDArray;
}

/** One operator, complete: each interpretation of it is one rule, in one place. */
export interface OpDefinition {
  readonly name: string;
  /** One sentence with the formula, for `docs/operators.md`. */
  readonly summary: string;
  readonly properties: OpProperties;
  /** The shape rule: types of the outputs, or a DdrcError with the sentence that the type error shows. */
  infer(inputs: readonly TensorType[], attrs: Attrs, site: Site): readonly TensorType[];
  /** The gradient rule, or why there is none. */
  readonly vjp: Vjp | NoGradient;
  /** ONNX forms, first match wins; the last one must fit every target. */
  readonly lower: readonly Lowering[];
  /** Floating-point operations, a multiply-add counted as two; symbolic dimensions count as 1. */
  flops(inputs: readonly TensorType[], outputs: readonly TensorType[], attrs: Attrs): number;
  /** Plain double-precision reference: the judge of `vjp` and `lower`, and the constant folder's arithmetic. */
  evaluate(inputs: readonly NDArray[], attrs: Attrs): readonly NDArray[];
  /** For an operator that scales and shifts channels by constants: what it does; null where its inputs are not constants. */
  affine?(node: Node): ChannelAffine | null;
  /** For an operator that can take a scale and shift of its output channels into its constant weights: the new output. */
  absorb?(graph: Graph, node: Node, inputs: readonly Value[], affine: ChannelAffine): Value | null;
  /** Inputs that tests use: ordinary ones and the awkward (ties, size 1, odd strides, asymmetric pads). */
  samples(): readonly Sample[];
}

/** The operators by name. */
export type OpTable = ReadonlyMap<string, OpDefinition>;

/** An operator whose attributes have the type `A`: what a family's file writes. */
export interface TypedOp<A extends Attrs>
  extends Omit<OpDefinition, 'name' | 'infer' | 'lower' | 'flops' | 'evaluate' | 'samples' | 'vjp'> {
  infer(inputs: readonly TensorType[], attrs: A, site: Site): readonly TensorType[];
  readonly vjp: ((graph: Graph, args: VjpArgs, attrs: A) => readonly (Value | null)[]) | NoGradient;
  readonly lower: readonly Lowering<A>[];
  flops(inputs: readonly TensorType[], outputs: readonly TensorType[], attrs: A): number;
  evaluate(inputs: readonly NDArray[], attrs: A): readonly NDArray[];
  samples(): readonly (Omit<Sample, 'attrs'> & { readonly attrs?: A })[];
}

/** Defines an operator; a part left out is a type error. */
export function defineOp<A extends Attrs>(name: string, rules: TypedOp<A>): OpDefinition {
  const { vjp } = rules;
  return {
    ...rules,
    name,
    vjp: typeof vjp === 'function' ? (graph: Graph, args: VjpArgs) => vjp(graph, args, args.node.attrs as A) : vjp,
  } as unknown as OpDefinition;
}
