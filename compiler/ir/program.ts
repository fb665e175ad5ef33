import type { Graph, GraphMode, Value } from './graph.ts';
import type { NDArray } from './ndarray.ts';
import type { Dim, TensorType } from './types.ts';

/** How a parameter or a statistic starts. */
export type Initializer =
  | { readonly kind: 'constant'; readonly value: number }
  /** Uniform in ±bound. */
  | { readonly kind: 'uniform'; readonly bound: number }
  /** Normal with mean 0 and the given standard deviation. */
  | { readonly kind: 'normal'; readonly deviation: number };

/** A trainable parameter, or a running statistic: a named array that a model keeps. */
export interface Stored {
  readonly name: string;
  readonly shape: readonly number[];
  readonly initializer: Initializer;
  readonly value: Value;
}

/** A model written out as a graph, before differentiation. */
export interface BuiltGraph {
  readonly graph: Graph;
  readonly parameters: readonly Stored[];
  readonly statistics: readonly Stored[];
  /** New value of a statistic after a training step, for those that the forward pass updates. */
  readonly updates: ReadonlyMap<Value, Value>;
  /** What `forward` returned, by name. */
  readonly outputs: ReadonlyMap<string, Value>;
  /** Scalar loss; null when the graph was built without targets. */
  readonly loss: Value | null;
}

export interface BuildRequest {
  readonly mode: GraphMode;
  /** Size of the leading dimension of inputs: a number, or a name for one that is known only when the graph runs. */
  readonly batch: Dim;
  /** Whether targets and the loss are part of the graph. */
  readonly loss: boolean;
  /** In training, the weight of each class in the loss functions of the language, where the model gives them none of its own. */
  readonly classWeights?: readonly number[];
  /**
   * Whether, in training, the loss is that of examples that were mixed with others: share · loss(label) + (1 − share) · loss(the other's label), by the inputs
   * `mix_share`, a scalar, and {@link partnerOf} of each target, all of the role `mix`.
   */
  readonly mixed?: boolean;
  /** Values that take the place of parameters and statistics as constants; without it these are inputs. */
  readonly weights?: ReadonlyMap<string, NDArray>;
}

/** The input that has the target of the examples that a batch was mixed with. */
export const partnerOf = (target: string): string => `${target}_partner`;

/** An input or a target of a model, with `'N'` as its leading dimension. */
export interface ModelPort {
  readonly name: string;
  readonly type: TensorType;
  /** What the array means: `image` is [N,3,S,S] in [0,1], `class` an index below `classes`. */
  readonly kind: 'image' | 'class' | 'array';
}

export type OptimizerSpec =
  | { readonly kind: 'sgd'; readonly momentum: number; readonly nesterov: boolean; readonly weightDecay: number }
  | {
      readonly kind: 'adam';
      readonly beta1: number;
      readonly beta2: number;
      readonly epsilon: number;
      readonly weightDecay: number;
    }
  | {
      readonly kind: 'adamw';
      readonly beta1: number;
      readonly beta2: number;
      readonly epsilon: number;
      readonly weightDecay: number;
    }
  | {
      readonly kind: 'rmsprop';
      readonly alpha: number;
      readonly epsilon: number;
      readonly momentum: number;
      readonly weightDecay: number;
    };

/** Defaults of training that a model states. */
export interface TrainingDefaults {
  readonly optimizer: OptimizerSpec;
  readonly learningRate: number;
  /** As the command line writes it: `constant`, `one-cycle`, `cosine+warmup=100`. */
  readonly schedule: string;
  readonly batch: number;
  readonly epochs: number;
  /** Largest global norm of the gradients; 0 does not clip. */
  readonly clipNorm: number;
}

export type OptionValue = number | boolean | string;

/** A model with its options set: what the language hands to the compiler. */
export interface Program {
  readonly name: string;
  readonly options: Readonly<Record<string, OptionValue>>;
  readonly inputs: readonly ModelPort[];
  readonly targets: readonly ModelPort[];
  /** How the scores become probabilities, and over which output. */
  readonly scores: { readonly output: string; readonly activation: 'softmax' | 'sigmoid' } | null;
  readonly training: TrainingDefaults;
  build(request: BuildRequest): BuiltGraph;
}
