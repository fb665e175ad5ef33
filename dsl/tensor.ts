import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, type Graph, type Value } from '../compiler/ir/graph.ts';
import { type NDArray, scalar } from '../compiler/ir/ndarray.ts';
import type { Site } from '../compiler/ir/op.ts';
import type { Initializer, Stored } from '../compiler/ir/program.ts';
import type { Attrs, Dim, DType, Shape, TensorType } from '../compiler/ir/types.ts';
import { shapeError } from '../compiler/ops/shapes.ts';
import { DdrcError, isDdrcError } from '../diagnostics/error.ts';

export type { Dim, DType, Shape } from '../compiler/ir/types.ts';

const handle = Symbol.for('ddrc.tensor');

/**
 * A value of the graph that a model is written out to: shape and element type in the type, `Tensor<['N', 32, 56, 56]>`, float32 unless said otherwise.
 * It holds no numbers; operators take tensors and return tensors.
 */
export interface Tensor<out S extends Shape = Shape, out D extends DType = 'float32'> {
  readonly shape: S;
  readonly dtype: D;
  readonly [handle]: { readonly value: Value; readonly context: Context };
}

/** A tensor of any element type. */
export type AnyTensor = Tensor<Shape, DType>;

/** What the tensors of one graph share: no state outside it. */
export class Context {
  readonly parameters: Stored[] = [];
  readonly statistics: Stored[] = [];
  readonly updates = new Map<Value, Value>();
  /** Whether a loss took the class weights that were asked for. */
  weighed = false;
  private seedInput: Value | null = null;
  private salts = 0;
  private complete = false;

  constructor(
    readonly graph: Graph,
    /** Size of the leading dimension of inputs, which `'N'` stands for. */
    readonly batch: Dim,
    private readonly weights?: ReadonlyMap<string, NDArray>,
    private readonly classWeights?: readonly number[],
  ) {}

  /** The class weights of a loss function: the model's `own`, or else, in training, those that were asked for. */
  lossWeights(own?: readonly number[]): readonly number[] | undefined {
    if (own || !this.classWeights || this.graph.mode === 'inference') return own;
    this.weighed = true;
    return this.classWeights;
  }

  /** A trainable parameter called `name` in the current scope. */
  parameter(name: string, shape: readonly number[], initializer: Initializer): Value {
    return this.store(this.parameters, 'parameter', name, shape, initializer);
  }

  /** A running statistic called `name` in the current scope: kept from step to step, not trained. */
  statistic(name: string, shape: readonly number[], initializer: Initializer): Value {
    return this.store(this.statistics, 'statistic', name, shape, initializer);
  }

  /** Says that `forward` is over: a graph without a loss has to hold every parameter too. */
  close(): void {
    this.complete = true;
  }

  private store(
    list: Stored[],
    role: 'parameter' | 'statistic',
    name: string,
    shape: readonly number[],
    initializer: Initializer,
  ): Value {
    const full = this.graph.scope ? `${this.graph.scope}.${name}` : name;
    if (this.complete) {
      throw new DdrcError({
        code: 'MODEL_INVALID',
        message: `${full}: the loss cannot make a ${role}`,
        hint: `make it in forward, and return there what the loss needs of it`,
      });
    }
    const wrong = Object.values(initializer).find((number) => typeof number === 'number' && !Number.isFinite(number));
    if (wrong !== undefined) {
      throw new DdrcError({
        code: 'MODEL_INVALID',
        message: `${full}: its initializer has the number ${wrong}`,
        hint: 'a parameter starts from finite numbers',
      });
    }
    const known = this.weights?.get(full);
    if (list.some((other) => other.name === full)) {
      throw new DdrcError({
        code: 'PARAMETER_DUPLICATE',
        message: `${full}: two parameters have this name`,
        hint: 'give one of the two layers another name, or put it in a scope of its own',
      });
    }
    if (!shape.every((size) => Number.isInteger(size) && size > 0)) {
      throw new DdrcError({
        code: 'SHAPE_ATTRIBUTE',
        message: `${full}: [${shape}] is not the shape of a parameter`,
        hint: 'each of its sizes is a whole number of at least 1',
      });
    }
    const value = known ? this.graph.constant(known, full) : this.graph.input(full, { dtype: 'float32', shape }, role);
    list.push({ name: full, shape, initializer, value });
    return value;
  }

  /**
   * Records the running means after this step: new = (1 − momentum) · old + momentum · batch. The last pair is a variance, made unbiased
   * by n/(n − 1), with n the elements of `x` for each channel; a single element has the variance 0.
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
    const one = graph.constant(scalar(1));
    const others = graph.op('maximum', [graph.op('sub', [count, one]), one]);
    const factor = graph.op('div', [count, others]);
    this.updates.set(mean, blend(mean, graphValue(batchMean)));
    this.updates.set(variance, blend(variance, graph.op('mul', [graphValue(batchVariance), factor])));
  }

  /** The step's random seed (int64 scalar input `seed`), and a number that tells this use of it from the others. */
  seed(): { seed: Value; salt: number } {
    this.seedInput ??= this.graph.input('seed', { dtype: 'int64', shape: [] }, 'seed');
    return { seed: this.seedInput, salt: this.salts++ };
  }
}

export function tensor<D extends DType = 'float32'>(context: Context, value: Value): Tensor<Shape, D> {
  return { shape: value.type.shape, dtype: value.type.dtype as D, [handle]: { value, context } };
}

export function graphValue(x: AnyTensor): Value {
  return x[handle].value;
}

export function contextOf(x: AnyTensor): Context {
  return x[handle].context;
}

/** Whether `x` is a tensor, also one made by another copy of this module. */
export function isTensor(x: unknown): x is AnyTensor {
  return typeof x === 'object' && x !== null && handle in x;
}

/** Refuses inputs of an operator that are no tensors of one model, and returns what they share. */
function sharedContext(op: string, inputs: readonly AnyTensor[]): Context {
  const invalid = (message: string, hint: string) =>
    located(new DdrcError({ code: 'MODEL_INVALID', message: `${op}: ${message}`, hint }));
  if (inputs.length === 0) throw invalid('needs at least one tensor', 'give it a tensor');
  const wrong = inputs.findIndex((input) => !isTensor(input));
  if (wrong >= 0) {
    const hint = 'a tensor is an input of forward or what an operator returned';
    throw invalid(`input ${wrong} is not a tensor (${typeof inputs[wrong]})`, hint);
  }
  const context = contextOf(inputs[0]);
  if (inputs.some((input) => contextOf(input) !== context)) {
    throw invalid('its inputs belong to two different models', 'make every tensor inside forward');
  }
  return context;
}

/** Applies an operator; the sentence of a mistake gets the place in the model file. */
export function applyAll<D extends DType = 'float32'>(
  op: string,
  inputs: readonly AnyTensor[],
  attrs: Attrs = {},
): Tensor<Shape, D>[] {
  const context = sharedContext(op, inputs);
  const unfit = Object.entries(attrs).find(
    ([, value]) => Number.isNaN(value) || (Array.isArray(value) && value.some(Number.isNaN)),
  );
  if (unfit) {
    check(op, inputs, (types, site) => {
      throw shapeError(site, 'SHAPE_ATTRIBUTE', `${unfit[0]} is NaN`, types, 'look where the number comes from');
    });
  }
  try {
    return context.graph.ops(op, inputs.map(graphValue), attrs).map((value) => tensor<D>(context, value));
  } catch (error) {
    throw located(error);
  }
}

/** {@link applyAll} for an operator with one result; of what element type that is, the caller knows. */
export function apply<D extends DType = 'float32'>(
  op: string,
  inputs: readonly AnyTensor[],
  attrs: Attrs = {},
): Tensor<Shape, D> {
  return applyAll<D>(op, inputs, attrs)[0];
}

/** What `rule` refuses in the inputs of `op` before an operator is applied, or its result; the sentence gets the place in the model file. */
export function check<R>(op: string, inputs: readonly AnyTensor[], rule: (types: readonly TensorType[], site: Site) => R): R {
  const { scope } = sharedContext(op, inputs).graph;
  const values = inputs.map(graphValue);
  const site = { op, scope, labels: values.map(describe) };
  try {
    return rule(
      values.map(({ type }) => type),
      site,
    );
  } catch (error) {
    throw located(error);
  }
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

/** `models/ddrnet.ts:41`: the innermost line of the stack outside ddrc's own code and other packages; none where no line is the model's. */
function placeOf(error: Error): string | undefined {
  const own = fileURLToPath(new URL('..', import.meta.url));
  // A model is built in one go: what a stack has behind an await is who asked for it.
  const lines = error.stack?.split('\n').slice(1) ?? [];
  for (const line of lines.filter((line) => !line.trim().startsWith('at async '))) {
    const match = /(?:\(|at )([^()]+?):(\d+):\d+\)?$/.exec(line.trim());
    if (!match || match[1].startsWith('node:')) continue;
    const name = match[1].replace(/\?.*$/, '');
    const file = name.startsWith('file:') ? fileURLToPath(name) : name;
    if (/^(dsl|compiler|diagnostics|cli|runtime)[\\/]/.test(relative(own, file))) continue;
    const inPackage = /.*[\\/]node_modules[\\/](@[^\\/]+[\\/])?([^\\/]+)[\\/]/.exec(file)?.[2];
    // A model that comes with ddrc is a model's file all the same.
    if (inPackage !== undefined && inPackage !== 'ddrc') continue;
    const near = relative(process.cwd(), file);
    return `${near.startsWith('..') ? file : near}:${match[2]}`;
  }
  return undefined;
}
