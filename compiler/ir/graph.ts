import { DdrcError } from '../../diagnostics/error.ts';
import type { NDArray } from './ndarray.ts';
import type { OpDefinition, OpTable } from './op.ts';
import type { Attrs, TensorType } from './types.ts';

/** What a graph input is for; the manifest and the emitters tell inputs apart by it. */
export type InputRole = 'data' | 'target' | 'parameter' | 'statistic' | 'hyperparameter' | 'seed' | 'state' | 'gradient' | 'mix';

/** The result of a node, an input of the graph, or a constant. */
export interface Value {
  readonly id: number;
  readonly type: TensorType;
  /** The node that makes it; null for inputs and constants. */
  readonly producer: Node | null;
  /** Which output of the producer it is. */
  readonly index: number;
  /** Name of an input or a parameter; a label elsewhere. */
  readonly name?: string;
  readonly role?: InputRole;
  readonly constant?: NDArray;
}

export interface Node {
  readonly op: OpDefinition;
  readonly inputs: readonly Value[];
  readonly attrs: Attrs;
  readonly outputs: readonly Value[];
  /** Scope path of the model: `drdb.3`. Nodes of the backward pass carry that of the node they differentiate. */
  readonly scope: string;
  /** For profiles: nothing that is computed depends on it. */
  readonly phase: Phase;
}

/** The part of a training step that a node belongs to; in graphs without gradients all is `forward`. */
export type Phase = 'forward' | 'backward' | 'optimizer';

/** How a graph is meant to run: dropout and batch statistics exist in `training` only. */
export type GraphMode = 'training' | 'inference';

/**
 * A directed acyclic graph of operators, in topological order. Nodes are only ever appended, with inputs that exist already,
 * so a graph is acyclic by construction.
 */
export class Graph {
  readonly nodes: Node[] = [];
  readonly inputs: Value[] = [];
  readonly outputs = new Map<string, Value>();
  private nextId = 0;
  private readonly scopes: string[] = [];
  private phase: Phase = 'forward';

  constructor(
    readonly name: string,
    readonly mode: GraphMode,
    /** The table of operators by name: what gradients are written in. */
    readonly operators: OpTable,
  ) {}

  get scope(): string {
    return this.scopes.join('.');
  }

  /** Runs `body` with `scope` appended to the scope path of nodes and parameters made in it. */
  within<R>(scope: string, body: () => R): R {
    this.scopes.push(scope);
    try {
      return body();
    } finally {
      this.scopes.pop();
    }
  }

  /** Runs `body` with exactly the scope path `path`. */
  at<R>(path: string, body: () => R): R {
    const saved = this.scopes.splice(0, this.scopes.length, ...(path === '' ? [] : [path]));
    try {
      return body();
    } finally {
      this.scopes.splice(0, this.scopes.length, ...saved);
    }
  }

  /** Runs `body`; nodes made in it belong to `phase`. */
  during<R>(phase: Phase, body: () => R): R {
    const saved = this.phase;
    this.phase = phase;
    try {
      return body();
    } finally {
      this.phase = saved;
    }
  }

  input(name: string, type: TensorType, role: InputRole): Value {
    if (this.inputs.some((other) => other.name === name)) {
      throw new DdrcError({
        code: 'PARAMETER_DUPLICATE',
        message: `${name}: the graph already has an input or a parameter of this name`,
        where: `scope ${this.scope || '(top)'}`,
        hint: 'give one of the two layers another name, or put it in a scope of its own',
      });
    }
    const value: Value = { id: this.nextId++, type, producer: null, index: 0, name, role };
    this.inputs.push(value);
    return value;
  }

  constant(array: NDArray, name?: string): Value {
    const type = { dtype: array.dtype, shape: array.shape };
    return { id: this.nextId++, type, producer: null, index: 0, constant: array, name };
  }

  /** Appends a node after its operator's shape rule has accepted the inputs, and returns its outputs. */
  add(op: OpDefinition, inputs: readonly Value[], attrs: Attrs = {}): readonly Value[] {
    const scope = this.scope;
    const types = op.infer(
      inputs.map((input) => input.type),
      attrs,
      { op: op.name, scope, labels: inputs.map(describe) },
    );
    const outputs: Value[] = [];
    const node: Node = { op, inputs, attrs, outputs, scope, phase: this.phase };
    types.forEach((type, index) => {
      outputs.push({ id: this.nextId++, type, producer: node, index });
    });
    this.nodes.push(node);
    return outputs;
  }

  /** Appends a node of the operator called `name` and returns its only (or first) output. */
  op(name: string, inputs: readonly Value[], attrs: Attrs = {}): Value {
    return this.ops(name, inputs, attrs)[0];
  }

  /** Appends a node of the operator called `name` and returns all its outputs. */
  ops(name: string, inputs: readonly Value[], attrs: Attrs = {}): readonly Value[] {
    const op = this.operators.get(name);
    if (!op) {
      const hint = 'docs/operators.md lists the operators';
      throw new DdrcError({
        code: 'GRAPH_INVALID',
        message: `${name}: there is no such operator`,
        where: `scope ${this.scope || '(top)'}`,
        hint,
      });
    }
    return this.add(op, inputs, attrs);
  }
}

/** Where a value comes from, for messages: `drdb.2.relu`, `image`, `constant`. */
export function describe(value: Value): string {
  if (value.name) return value.name;
  if (!value.producer) return 'constant';
  const { scope, op } = value.producer;
  return scope ? `${scope}.${op.name}` : op.name;
}
