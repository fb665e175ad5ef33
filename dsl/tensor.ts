import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Graph, Value } from '../compiler/ir/graph.ts';
import { type NDArray, scalar } from '../compiler/ir/ndarray.ts';
import type { Initializer, Stored } from '../compiler/ir/program.ts';
import { type Attrs, type Dim, type DType, formatShape, type Shape } from '../compiler/ir/types.ts';
import { DdrcError, isDdrcError } from '../diagnostics/error.ts';

export type { Dim, DType, Shape } from '../compiler/ir/types.ts';

const handle = Symbol.for('ddrc.tensor');

/**
 * A value of the graph that a model is written out to: shape and element type in the type, `Tensor<['N', 32, 56, 56]>`.
 * It holds no numbers; operators take tensors and return tensors.
 */
export interface Tensor<out S extends Shape = Shape, out D extends DType = DType> {
  readonly shape: S;
  readonly dtype: D;
  readonly [handle]: { readonly value: Value; readonly context: Context };
}

/** What the tensors of one graph share: no state outside it. */
export class Context {
  readonly parameters: Stored[] = [];
  readonly statistics: Stored[] = [];
  readonly updates = new Map<Value, Value>();
  private seedInput: Value | null = null;
  private salts = 0;

  constructor(
    readonly graph: Graph,
    /** Size of the leading dimension of inputs, which `'N'` stands for. */
    readonly batch: Dim,
    private readonly weights?: ReadonlyMap<string, NDArray>,
  ) {}

  /** A trainable parameter called `name` in the current scope. */
  parameter(name: string, shape: readonly number[], initializer: Initializer): Value {
    return this.store(this.parameters, 'parameter', name, shape, initializer);
  }

  /** A running statistic called `name` in the current scope: kept from step to step, not trained. */
  statistic(name: string, shape: readonly number[], initializer: Initializer): Value {
    return this.store(this.statistics, 'statistic', name, shape, initializer);
  }

  private store(
    list: Stored[],
    role: 'parameter' | 'statistic',
    name: string,
    shape: readonly number[],
    initializer: Initializer,
  ): Value {
    const full = this.graph.scope ? `${this.graph.scope}.${name}` : name;
    const known = this.weights?.get(full);
    if (list.some((other) => other.name === full)) {
      throw new DdrcError({
        code: 'PARAMETER_DUPLICATE',
        message: `${full}: two parameters have this name`,
        hint: 'give one of the two layers another name, or put it in a scope of its own',
      });
    }
    const value = known ? this.graph.constant(known, full) : this.graph.input(full, { dtype: 'float32', shape }, role);
    list.push({ name: full, shape, initializer, value });
    return value;
  }

  /**
   * Records the running means after this step: new = (1 − momentum) · old + momentum · batch. The last pair is a variance, made unbiased
   * by n/(n − 1), with n the elements of `x` for each channel.
   */
  trackStatistics(x: Tensor, momentum: number, pairs: readonly (readonly [running: Value, batch: Tensor])[]): void {
    const { graph } = this;
    const blend = (old: Value, batch: Value) =>
      graph.op('add', [
        graph.op('mul', [old, graph.constant(scalar(1 - momentum))]),
        graph.op('mul', [batch, graph.constant(scalar(momentum))]),
      ]);
    const [[mean, batchMean], [variance, batchVariance]] = pairs;
    const count = graph.op('axisSize', [graphValue(x)], { axes: x.shape.flatMap((_, axis) => (axis === 1 ? [] : [axis])) });
    const factor = graph.op('div', [count, graph.op('sub', [count, graph.constant(scalar(1))])]);
    this.updates.set(mean, blend(mean, graphValue(batchMean)));
    this.updates.set(variance, blend(variance, graph.op('mul', [graphValue(batchVariance), factor])));
  }

  /** The step's random seed (int64 scalar input `seed`), and a number that tells this use of it from the others. */
  seed(): { seed: Value; salt: number } {
    this.seedInput ??= this.graph.input('seed', { dtype: 'int64', shape: [] }, 'seed');
    return { seed: this.seedInput, salt: this.salts++ };
  }
}

export function tensor(context: Context, value: Value): Tensor {
  return { shape: value.type.shape, dtype: value.type.dtype, [handle]: { value, context } };
}

export function graphValue(x: Tensor): Value {
  return x[handle].value;
}

export function contextOf(x: Tensor): Context {
  return x[handle].context;
}

/** Whether `x` is a tensor, also one made by another copy of this module. */
export function isTensor(x: unknown): x is Tensor {
  return typeof x === 'object' && x !== null && handle in x;
}

/** Applies an operator; the sentence of a mistake gets the place in the model file. */
export function applyAll(op: string, inputs: readonly Tensor[], attrs: Attrs = {}): Tensor[] {
  if (inputs.length === 0) {
    throw located(
      new DdrcError({ code: 'MODEL_INVALID', message: `${op}: needs at least one tensor`, hint: 'give it a tensor' }),
    );
  }
  const wrong = inputs.findIndex((input) => !isTensor(input));
  if (wrong >= 0) {
    throw new DdrcError({
      code: 'MODEL_INVALID',
      message: `${op}: input ${wrong} is not a tensor (${typeof inputs[wrong]})`,
      where: placeOf(new Error()),
      hint: 'a tensor is an input of forward or what an operator returned',
    });
  }
  const context = contextOf(inputs[0]);
  if (inputs.some((input) => contextOf(input) !== context)) {
    throw new DdrcError({
      code: 'MODEL_INVALID',
      message: `${op}: its inputs belong to two different models`,
      where: placeOf(new Error()),
      hint: 'make every tensor inside forward',
    });
  }
  try {
    return context.graph.ops(op, inputs.map(graphValue), attrs).map((value) => tensor(context, value));
  } catch (error) {
    throw located(error);
  }
}

export function apply(op: string, inputs: readonly Tensor[], attrs: Attrs = {}): Tensor {
  return applyAll(op, inputs, attrs)[0];
}

/** `op: [N,32] and [N,64] have different shapes`, with the place in the model file. */
export function otherShape(op: string, a: Tensor, b: Tensor): unknown {
  const message = `${op}: ${formatShape(a.shape)} and ${formatShape(b.shape)} have different shapes`;
  const where = `scope ${contextOf(a).graph.scope || '(top)'}`;
  return located(new DdrcError({ code: 'SHAPE_MISMATCH', message, where }));
}

/** `error` with the line of the model file in front of its place. */
export function located(error: unknown): unknown {
  if (!isDdrcError(error)) return error;
  const place = placeOf(error);
  const known = (error as DdrcError).where;
  if (!place || known?.startsWith(place)) return error;
  return new DdrcError({ ...pick(error as DdrcError), where: known ? `${place}, ${known}` : place });
}

function pick({ code, message, notes, hint, where, cause }: DdrcError) {
  return { code, message, notes, hint, where, cause };
}

/** `models/ddrnet.ts:41`: the innermost line of the stack outside ddrc's own language and compiler. */
function placeOf(error: Error): string | undefined {
  const own = fileURLToPath(new URL('..', import.meta.url));
  for (const line of error.stack?.split('\n').slice(1) ?? []) {
    const match = /(?:\(|at )([^()]+?):(\d+):\d+\)?$/.exec(line.trim());
    if (!match || match[1].startsWith('node:')) continue;
    const name = match[1].replace(/\?.*$/, '');
    const file = name.startsWith('file:') ? fileURLToPath(name) : name;
    if (/^(dsl|compiler|diagnostics|cli)[\\/]/.test(relative(own, file))) continue;
    const near = relative(process.cwd(), file);
    return `${near.startsWith('..') ? file : near}:${match[2]}`;
  }
  return undefined;
}
