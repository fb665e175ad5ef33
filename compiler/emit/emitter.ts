import { exactText } from '../ir/exact-text.ts';
import type { Graph, Value } from '../ir/graph.ts';
import { type NDArray, ndarray } from '../ir/ndarray.ts';
import { type DType, sameType } from '../ir/types.ts';
import type { Target } from './lowering.ts';

export type OnnxAttr = number | string | readonly number[] | { readonly float: number } | { readonly floats: readonly number[] };

/** A node of the ONNX graph that is being made. */
export interface OnnxNode {
  readonly op: string;
  readonly domain: string;
  readonly name: string;
  readonly inputs: readonly string[];
  readonly outputs: string[];
  readonly attrs: Readonly<Record<string, OnnxAttr>>;
}

/** The domain of ONNX Runtime's own operators in every stock build. */
export const MICROSOFT = 'com.microsoft';
/** The domain of ONNX Runtime's blocked convolution kernels (CPU only). */
export const NCHWC = 'com.microsoft.nchwc';

/** From so many equal elements on, a constant is written as one. */
const MANY = 1024;

/**
 * Collects the ONNX nodes of one graph. Nodes are pure, so a node that is asked for twice (same operator, inputs and attributes) is made once:
 * a gradient may recompute what the forward pass has, and gets the forward pass's value.
 */
export class Emitter {
  readonly nodes: OnnxNode[] = [];
  readonly initializers = new Map<string, NDArray>();
  private readonly made = new Map<string, OnnxNode>();
  /** Names of constants by the hash of their values. */
  private readonly constants = new Map<number, string[]>();
  private readonly planarNames = new Map<Value, string>();
  private readonly blockedNames = new Map<Value, string>();
  private readonly producers = new Map<string, OnnxNode>();
  private readonly origins = new Map<string, string>();
  private readonly used = new Map<string, number>();
  private useCounts: ReadonlyMap<Value, number> | null = null;
  /** Scope path that the next nodes' names begin with. */
  scope = '';

  constructor(
    readonly target: Target,
    readonly graph: Graph,
  ) {}

  /** Emits a node with one output and returns the output's name. Inputs that are left out are `''`. */
  node(op: string, inputs: readonly string[], attrs: Readonly<Record<string, OnnxAttr>> = {}, domain = ''): string {
    return this.multi(op, inputs, 1, attrs, domain)[0];
  }

  /** Emits a node with `count` outputs and returns their names. */
  multi(
    op: string,
    inputs: readonly string[],
    count: number,
    attrs: Readonly<Record<string, OnnxAttr>> = {},
    domain = '',
  ): readonly string[] {
    const key = exactText([domain, op, inputs, attrs]);
    let node = this.made.get(key);
    if (!node) {
      node = { op, domain, name: this.unique(this.scope ? `${this.scope}/${op}` : op), inputs, outputs: [], attrs };
      this.made.set(key, node);
      this.nodes.push(node);
    }
    while (node.outputs.length < count) {
      const name = `${node.name}:${node.outputs.length}`;
      node.outputs.push(name);
      this.producers.set(name, node);
    }
    return node.outputs.slice(0, count);
  }

  /** Emits a node in place of `node`, which does more: it keeps the scope, and profiles count it as what `node` was made for. */
  extend(node: OnnxNode, inputs: readonly string[], attrs: OnnxNode['attrs']): string {
    const scope = this.scope;
    this.scope = node.name.slice(0, Math.max(0, node.name.lastIndexOf('/')));
    const name = this.node(node.op, inputs, attrs, node.domain);
    this.scope = scope;
    const { name: extended } = this.producers.get(name)!;
    if (extended !== node.name) this.origins.set(extended, this.originOf(node.name));
    return name;
  }

  /** The name of the node that a node was made in place of, or its own. */
  originOf(name: string): string {
    return this.origins.get(name) ?? name;
  }

  /** A constant of any element type; equal ones are one. */
  array(array: NDArray): string {
    const hash = hashOf(array.data);
    const candidates = this.constants.get(hash) ?? [];
    const known = candidates.find((name) => same(this.initializers.get(name)!, array));
    if (known !== undefined) return known;
    const name = this.unique('constant');
    this.constants.set(hash, [...candidates, name]);
    this.initializers.set(name, array);
    return name;
  }

  /** A constant of the graph; many times the same number is written once and expanded, as the gradient of what is frozen. */
  private constant(array: NDArray): string {
    const { dtype, data, shape } = array;
    if (data.length < MANY || !data.every((value) => Object.is(value, data[0]))) return this.array(array);
    return this.node('Expand', [this.values(data[0], dtype, []), this.ints(shape)]);
  }

  /** float32 constant; a scalar where no shape is given and there is one value. */
  floats(values: number | readonly number[], shape?: readonly number[]): string {
    return this.values(values, 'float32', shape);
  }

  /** int64 constant: a vector from an array, a scalar from a number. */
  ints(values: number | readonly number[], shape?: readonly number[]): string {
    return this.values(values, 'int64', shape);
  }

  private values(values: number | readonly number[], dtype: DType, shape?: readonly number[]): string {
    const list = typeof values === 'number' ? [values] : values;
    return this.array(ndarray(shape ?? (typeof values === 'number' ? [] : [list.length]), list, dtype));
  }

  /** Reshape with 0 (keep) and -1 (the rest) as in ONNX. */
  reshape(x: string, shape: readonly number[]): string {
    return this.node('Reshape', [x, this.ints(shape)]);
  }

  transpose(x: string, perm: readonly number[]): string {
    return perm.every((axis, i) => axis === i) ? x : this.node('Transpose', [x], { perm });
  }

  /** A reduction over `axes`, whose axes are an attribute before opset 18 (13 for ReduceSum) and an input after. */
  reduce(
    op: 'ReduceSum' | 'ReduceMean' | 'ReduceMax' | 'ReduceMin',
    x: string,
    axes: readonly number[],
    keepdims: boolean,
  ): string {
    const keep = { keepdims: keepdims ? 1 : 0 };
    return op === 'ReduceSum' || this.target.opset >= 18
      ? this.node(op, [x, this.ints(axes)], keep)
      : this.node(op, [x], { axes, ...keep });
  }

  /** Name of a value in the ordinary (planar) layout; made from the blocked one when only that exists. */
  planar(value: Value): string {
    const known = this.planarNames.get(value);
    if (known !== undefined) return known;
    const blocked = this.blockedNames.get(value);
    if (blocked !== undefined) return this.node('ReorderOutput', [blocked], { channels: value.type.shape[1] as number }, NCHWC);
    if (!value.constant) throw new Error(`value ${value.id} (${value.producer?.op.name}) has not been emitted`);
    const name = this.constant(value.constant);
    this.planarNames.set(value, name);
    return name;
  }

  /** Name of a value in the blocked (NCHWc) layout; reordered when only the planar one exists. */
  blocked(value: Value): string {
    return this.blockedNames.get(value) ?? this.node('ReorderInput', [this.planar(value)], {}, NCHWC);
  }

  /** Whether a value was made in the blocked layout. */
  isBlocked(value: Value): boolean {
    return this.blockedNames.has(value);
  }

  /** The node that makes a value's name; undefined for inputs and constants. */
  producer(name: string): OnnxNode | undefined {
    return this.producers.get(name);
  }

  /** How many nodes and outputs of the graph read a value. */
  uses(value: Value): number {
    this.useCounts ??= countUses(this.graph);
    return this.useCounts.get(value) ?? 0;
  }

  setPlanar(value: Value, name: string): void {
    this.planarNames.set(value, name);
  }

  setBlocked(value: Value, name: string): void {
    this.blockedNames.set(value, name);
  }

  /** `base`, or `base.2`, `base.3`, … where it is taken. */
  unique(base: string): string {
    const count = (this.used.get(base) ?? 0) + 1;
    this.used.set(base, count);
    return count === 1 ? base : `${base}.${count}`;
  }
}

function countUses({ nodes, outputs }: Graph): Map<Value, number> {
  const counts = new Map<Value, number>();
  for (const value of [...nodes.flatMap(({ inputs }) => inputs), ...outputs.values()])
    counts.set(value, (counts.get(value) ?? 0) + 1);
  return counts;
}

/** A hash of `data` by its 32-bit words, 32 bits wide: equal data have equal hashes, other data seldom. */
function hashOf(data: Float64Array): number {
  let hash = 0x811c9dc5;
  for (const word of new Uint32Array(data.buffer, data.byteOffset, data.length * 2)) {
    hash = Math.imul(hash ^ word, 0x9e3779b1);
    hash ^= hash >>> 15;
  }
  return hash >>> 0;
}

/** Whether two arrays have the same type and the same values, 0 and −0 being different ones. */
function same(a: NDArray, b: NDArray): boolean {
  return sameType(a, b) && a.data.every((value, i) => Object.is(value, b.data[i]));
}
