import { Graph, type Value } from '../compiler/ir/graph.ts';
import { scalar } from '../compiler/ir/ndarray.ts';
import {
  type BuildRequest,
  type BuiltGraph,
  type ModelPort,
  type Program,
  partnerOf,
  type TrainingDefaults,
} from '../compiler/ir/program.ts';
import { type DType, formatShape, type Shape } from '../compiler/ir/types.ts';
import { operators } from '../compiler/ops/index.ts';
import { DdrcError } from '../diagnostics/error.ts';
import { type OptionSpecs, type OptionValues, resolveOptions } from './options.ts';
import { type AnyTensor, Context, graphValue, isTensor, located, type Tensor, tensor } from './tensor.ts';
import { trainingOf } from './training.ts';
import type { flawless } from './types/index.ts';

const brand = Symbol.for('ddrc.model');

/** The type of an input or a target: shape with `'N'` first, element type, and what the numbers mean. */
export interface Port<S extends Shape = Shape, D extends DType = DType> {
  readonly shape: S;
  readonly dtype: D;
  readonly kind: ModelPort['kind'];
}

/** Images [N,channels,height,width], float32 in [0,1]. */
export function image<const C extends number, const H extends number, const W extends number>(
  channels: C,
  height: H,
  width: W,
): Port<['N', C, H, W], 'float32'> {
  return { shape: ['N', channels, height, width], dtype: 'float32', kind: 'image' };
}

/** Class indices int64 [N]. */
export function classIndex(): Port<['N'], 'int64'> {
  return { shape: ['N'], dtype: 'int64', kind: 'class' };
}

/** Arrays [N,…sizes] of any meaning, float32 unless said otherwise. */
export function array<const S extends readonly number[]>(sizes: S): Port<['N', ...S], 'float32'>;
export function array<const S extends readonly number[], const D extends DType>(sizes: S, dtype: D): Port<['N', ...S], D>;
export function array(sizes: readonly number[], dtype: DType = 'float32'): Port {
  return { shape: ['N', ...sizes], dtype, kind: 'array' };
}

export type Ports = Readonly<Record<string, Port>>;
export type TensorsOf<P extends Ports> = { readonly [K in keyof P]: Tensor<P[K]['shape'], P[K]['dtype']> };

/** What a model file says. */
export interface ModelDefinition<
  O extends OptionSpecs,
  I extends Ports,
  T extends Ports,
  R extends Readonly<Record<string, AnyTensor>>,
> {
  /** Name of the model: letters, digits and dashes. */
  readonly name: string;
  readonly options: O;
  readonly inputs: (options: OptionValues<O>) => I;
  /** What a training example has beside its inputs: `{ label: classIndex() }`. */
  readonly targets?: (options: OptionValues<O>) => T;
  readonly forward: (inputs: TensorsOf<I>, options: OptionValues<O>) => R & flawless<R>;
  /** Scalar loss of a batch. */
  readonly loss?: (outputs: R, targets: TensorsOf<T>, options: OptionValues<O>) => Tensor;
  /** How `logits` [N,K] become probabilities; `softmax` by default where there is an output of that name. */
  readonly scores?: (options: OptionValues<O>) => 'softmax' | 'sigmoid';
  readonly training?: Partial<TrainingDefaults>;
}

/** A model that `ddrc` can build: what a model file exports as its default. */
export interface Model<O extends OptionSpecs = OptionSpecs> {
  readonly name: string;
  readonly options: O;
  /**
   * The model with its options set.
   * @throws DdrcError OPTION_UNKNOWN, OPTION_INVALID, MODEL_INVALID
   */
  instantiate(options?: Readonly<Record<string, unknown>>): Program;
  readonly [brand]: true;
}

/** Makes a model from its definition; a model file exports it as its default. */
export function defineModel<
  const O extends OptionSpecs,
  const I extends Ports,
  const T extends Ports,
  R extends Readonly<Record<string, AnyTensor>>,
>(definition: ModelDefinition<O, I, T, R>): Model<O> {
  const { name } = definition;
  if (typeof name !== 'string' || !/^[A-Za-z][\w-]*$/.test(name)) {
    throw new DdrcError({
      code: 'MODEL_INVALID',
      message: `a model's name is letters, digits and dashes, got ${JSON.stringify(name)}`,
      hint: "begin with a letter: name: 'cells-2'",
    });
  }
  for (const part of ['inputs', 'forward'] as const) {
    if (typeof definition[part] !== 'function') {
      const hint = part === 'inputs' ? 'inputs: () => ({ image: image(3, 64, 64) })' : 'forward: ({ image }) => ({ logits: … })';
      throw new DdrcError({ code: 'MODEL_INVALID', message: `${name}: defineModel needs a function ${part}`, hint });
    }
  }
  return {
    name,
    options: definition.options ?? ({} as O),
    [brand]: true,
    instantiate(given = {}) {
      const options = resolveOptions(name, definition.options ?? {}, given) as OptionValues<O>;
      const inputs = definition.inputs(options);
      const targets = definition.targets?.(options) ?? ({} as T);
      const request: BuildRequest = { mode: 'inference', batch: 'N', loss: false };
      const first = build(definition, options, inputs, targets, request);
      const { outputs } = first;
      checkNames(name, Object.keys(inputs), Object.keys(targets), [...outputs.keys()]);
      const training = trainingOf(name, definition.training);
      const activation = definition.scores?.(options) ?? 'softmax';
      return {
        name,
        options: options as Program['options'],
        inputs: portsOf(inputs),
        targets: portsOf(targets),
        scores: outputs.has('logits') ? { output: 'logits', activation } : null,
        training,
        build(asked) {
          const built = build(definition, options, inputs, targets, asked);
          requireSame(name, first, built);
          return built;
        },
      };
    },
  };
}

/** Whether `x` is a model, also one made by another copy of this module. */
export function isModel(x: unknown): x is Model {
  return typeof x === 'object' && x !== null && brand in x;
}

function portsOf(ports: Ports): ModelPort[] {
  return Object.entries(ports).map(([name, { shape, dtype, kind }]) => ({ name, type: { shape, dtype }, kind }));
}

function build<O extends OptionSpecs, I extends Ports, T extends Ports, R extends Readonly<Record<string, AnyTensor>>>(
  definition: ModelDefinition<O, I, T, R>,
  options: OptionValues<O>,
  inputs: I,
  targets: T,
  request: BuildRequest,
): BuiltGraph {
  const graph = new Graph(definition.name, request.mode, operators);
  const context = new Context(graph, request.batch, request.weights, request.classWeights);
  const feed = (ports: Ports, role: 'data' | 'target' | 'mix', called = (name: string) => name) =>
    Object.fromEntries(
      Object.entries(ports).map(([name, { shape, dtype }]) => {
        const bound = shape.map((dim) => (dim === 'N' ? request.batch : dim));
        return [name, tensor(context, graph.input(called(name), { dtype, shape: bound }, role))];
      }),
    );
  // A mistake may lie below many scopes, and its line in the model file is looked for in the stack.
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 100;
  try {
    const results = definition.forward(feed(inputs, 'data') as TensorsOf<I>, options);
    const outputs = checkOutputs(definition.name, results);
    context.close();
    const lossOf = (given: object) => definition.loss?.(results, given as TensorsOf<T>, options);
    const loss = request.loss && definition.loss ? lossOf(feed(targets, 'target')) : null;
    if (loss !== null && (!isTensor(loss) || loss.shape.length !== 0)) {
      // Said of the batch by its name, not of the size that this graph happens to have.
      if (request.batch !== 'N') build(definition, options, inputs, targets, { ...request, batch: 'N' });
      throw new DdrcError({
        code: 'MODEL_INVALID',
        message: `${definition.name}: the loss must be a scalar tensor, got ${isTensor(loss) ? formatShape(loss.shape) : String(loss)}`,
        hint: isTensor(loss)
          ? 'take the mean over the batch'
          : 'return what a loss function gives: softmaxCrossEntropy(logits, label)',
      });
    }
    const training = loss !== null && request.mode === 'training';
    const mixed = training && request.mixed;
    if (mixed) requireClasses(definition.name, targets);
    const partners = mixed ? lossOf(feed(targets, 'mix', partnerOf)) : null;
    if (training && request.classWeights && !context.weighed) {
      throw new DdrcError({
        code: 'AID_UNFIT',
        message: `${definition.name}: its loss takes no class weights`,
        hint: 'softmaxCrossEntropy and sigmoidCrossEntropy take them, where the model gives them none of its own',
      });
    }
    return {
      graph,
      parameters: context.parameters,
      statistics: context.statistics,
      updates: context.updates,
      outputs,
      loss: partners ? mixedLoss(graph, graphValue(loss!), graphValue(partners)) : loss && graphValue(loss),
    };
  } catch (error) {
    throw located(error);
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

/** share · own + (1 − share) · other: the loss of examples that were mixed with others in this share. */
function mixedLoss(graph: Graph, own: Value, other: Value): Value {
  const share = graph.input('mix_share', { dtype: 'float32', shape: [] }, 'mix');
  const rest = graph.op('sub', [graph.constant(scalar(1)), share]);
  return graph.op('add', [graph.op('mul', [share, own]), graph.op('mul', [rest, other])]);
}

/** Refuses to mix examples that have something else than classes to be mixed by. */
function requireClasses(model: string, targets: Ports): void {
  const other = Object.entries(targets).find(([, { kind }]) => kind !== 'class')?.[0];
  if (other === undefined && Object.keys(targets).length > 0) return;
  throw new DdrcError({
    code: 'AID_UNFIT',
    message: `${model}: examples are mixed by their classes, and ${other === undefined ? 'it has no target' : `its target ${other} is none`}`,
    hint: 'train it without mixup and CutMix',
  });
}

/** Refuses a model that is another one the next time: a counter beside `forward`, or a random number in it. */
function requireSame(model: string, before: BuiltGraph, now: BuiltGraph): void {
  const namesOf = ({ parameters, statistics, outputs }: BuiltGraph) => [
    ...[...parameters, ...statistics].map(({ name, shape }) => `${name} ${formatShape(shape)}`),
    ...outputs.keys(),
  ];
  const [expected, found] = [before, now].map(namesOf);
  const place = Array.from({ length: Math.max(expected.length, found.length) }).findIndex((_, i) => expected[i] !== found[i]);
  if (place < 0) return;
  throw new DdrcError({
    code: 'MODEL_INVALID',
    message: `${model}: forward is not the same each time it is called: first ${expected[place] ?? 'nothing'}, then ${found[place] ?? 'nothing'}`,
    hint: 'let its layers and their names follow from its inputs and options alone, not from a counter outside it',
  });
}

/** Names that emitted graphs use for values of their own, beside those that end in `_out` or `_partner`. */
const reserved = [
  'loss',
  'gradients',
  'probabilities',
  'parameters',
  'statistics',
  'seed',
  'constant',
  // What optimizers are fed with, and what they keep.
  'learning_rate',
  'step',
  'beta1',
  'moment1',
  'moment2',
  'momentum',
  'velocity',
  'mean_square',
  'ema',
  'ema_statistics',
  'ema_rate',
  'mix_share',
];

function checkNames(model: string, inputs: readonly string[], targets: readonly string[], outputs: readonly string[]): void {
  const all = [...inputs, ...targets, ...outputs];
  // A name with a dot or a colon could be that of a parameter or of a value inside an emitted graph.
  const unfit = all.find((name) => !/^[A-Za-z_][\w-]*$/.test(name));
  if (unfit !== undefined) {
    throw new DdrcError({
      code: 'MODEL_INVALID',
      message: `${model}: an input, target or output is called by letters, digits, _ and -, got ${JSON.stringify(unfit)}`,
      hint: 'begin with a letter: image_2',
    });
  }
  const twice = all.find((name, i) => all.indexOf(name) !== i);
  if (twice !== undefined && !reserved.includes(twice)) {
    const [first, second] = [
      ...(inputs.includes(twice) ? ['an input'] : []),
      ...(targets.includes(twice) ? ['a target'] : []),
      ...(outputs.includes(twice) ? ['an output'] : []),
    ];
    throw new DdrcError({
      code: 'MODEL_INVALID',
      message: `${model}: ${second} cannot be called ${twice}, since ${first} has this name`,
      hint: 'give one of them another name',
    });
  }
  const taken = all.find((name) => reserved.includes(name) || /_(out|partner)$/.test(name));
  if (taken !== undefined) {
    throw new DdrcError({
      code: 'MODEL_INVALID',
      message: `${model}: an input, target or output cannot be called ${taken}, since the emitted graphs have another value of this name`,
      hint: 'give it another name',
    });
  }
}

function checkOutputs(name: string, results: unknown) {
  const entries = typeof results === 'object' && results !== null && !isTensor(results) ? Object.entries(results) : [];
  if (entries.length === 0) {
    throw new DdrcError({
      code: 'MODEL_INVALID',
      message: `${name}: forward must return its outputs by name`,
      hint: 'return { logits }',
    });
  }
  return new Map(
    entries.map(([key, output]) => {
      if (!isTensor(output)) {
        const message = `${name}: output ${key} of forward is not a tensor (${typeof output})`;
        throw new DdrcError({ code: 'MODEL_INVALID', message, hint: 'return what an operator or a layer gives' });
      }
      return [key, graphValue(output)];
    }),
  );
}
