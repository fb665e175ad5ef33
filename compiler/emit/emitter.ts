import type { Graph, Value } from '../ir/graph.ts';
import { type NDArray, ndarray } from '../ir/ndarray.ts';
import type { DType } from '../ir/types.ts';
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

/**
 * Collects the ONNX nodes of one graph. Nodes are pure, so a node that is asked for twice (same operator, inputs and attributes) is made once:
 * a gradient may recompute what the forward pass has, and gets the forward pass's value.
 */
export class Emitter {
  readonly nodes: OnnxNode[] = [];
  readonly initializers = new Map<string, NDArray>();
  private readonly made = new Map<string, OnnxNode>();
  private readonly constants = new Map<string, string>();
  private readonly planarNames = new Map<Value, string>();
  private readonly blockedNames = new Map<Value, string>();
  private readonly used = new Map<string, number>();
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
    const key = JSON.stringify([domain, op, inputs, attrs]);
    let node = this.made.get(key);
    if (!node) {
      node = { op, domain, name: this.unique(this.scope ? `${this.scope}/${op}` : op), inputs, outputs: [], attrs };
      this.made.set(key, node);
      this.nodes.push(node);
    }
    while (node.outputs.length < count) {
      node.outputs.push(node.outputs.length === 0 ? `${node.name}:0` : `${node.name}:${node.outputs.length}`);
    }
    return node.outputs.slice(0, count);
  }

  /** A constant of any element type. */
  array(array: NDArray): string {
    const key = `${array.dtype}${JSON.stringify(array.shape)}${array.data.length <= 64 ? array.data.join() : hashOf(array.data)}`;
    let name = this.constants.get(key);
    if (name === undefined) {
      name = this.unique('constant');
      this.constants.set(key, name);
      this.initializers.set(name, array);
    }
    return name;
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
    let name: string;
    if (blocked !== undefined) name = this.node('ReorderOutput', [blocked], { channels: value.type.shape[1] as number }, NCHWC);
    else if (value.constant) name = this.array(value.constant);
    else throw new Error(`value ${value.id} (${value.producer?.op.name}) has not been emitted`);
    this.planarNames.set(value, name);
    return name;
  }

  /** Name of a value in the blocked (NCHWc) layout; reordered once when only the planar one exists. */
  blocked(value: Value): string {
    let name = this.blockedNames.get(value);
    if (name === undefined) {
      name = this.node('ReorderInput', [this.planar(value)], {}, NCHWC);
      this.blockedNames.set(value, name);
    }
    return name;
  }

  /** Whether a value exists in the blocked layout without a reorder. */
  isBlocked(value: Value): boolean {
    return this.blockedNames.has(value);
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

/** FNV-1a over the bytes of `data`, with its length: a key for large constants. */
function hashOf(data: Float64Array): string {
  const words = new Uint32Array(data.buffer, data.byteOffset, data.length * 2);
  let low = 0x811c9dc5;
  let high = 0xcbf29ce4;
  for (const word of words) {
    low = Math.imul(low ^ word, 0x01000193);
    high = Math.imul(high ^ (word >>> 7) ^ low, 0x01000193);
  }
  return `#${data.length}:${low >>> 0}:${high >>> 0}`;
}
