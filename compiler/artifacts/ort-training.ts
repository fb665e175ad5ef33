/*
 * The graphs of ONNX Runtime's on-device training. That runtime binds values by their names and orders, and answers what does not fit with a number or with silence,
 * so everything is checked here:
 *
 *   training_model   an input for each array of the checkpoint, by its name; the gradient of each trainable one goes into an InPlaceAccumulatorV2 with the
 *                    buffer `NAME_grad.accumulation.buffer`; a running statistic is frozen state that another InPlaceAccumulatorV2 overwrites
 *   eval_model       the same arrays in the same order, and the same outputs
 *   optimizer_model  one AdamWOptimizer or SGDOptimizerV2 on sequences of tensors, its inputs in a fixed order
 */
import onnxProto from 'onnx-proto';
import { DdrcError } from '../../diagnostics/error.ts';
import { Emitter, MICROSOFT } from '../emit/emitter.ts';
import { encodeInitializers, encodeModel, encodeNode, encodePort, encodeProto, type Port } from '../emit/encode.ts';
import { lowerGraph } from '../emit/lower.ts';
import type { Target } from '../emit/lowering.ts';
import { Graph, type Node, type Value } from '../ir/graph.ts';
import { ndarray } from '../ir/ndarray.ts';
import type { OptimizerSpec, Program, Stored } from '../ir/program.ts';
import type { Dim } from '../ir/types.ts';
import { differentiate } from '../passes/autodiff.ts';
import { checkpoint } from '../passes/checkpoint.ts';
import { simplify } from '../passes/simplify.ts';
import { verify } from '../passes/verify.ts';
import type { EmittedGraph } from './emit-graph.ts';
import type { Frozen } from './frozen.ts';
import { buildTraining } from './training.ts';

const { onnx } = onnxProto;

/** The newest opset that ONNX Runtime 1.19, the last one with a training API, takes. */
const newestTrainingOpset = 21;
/** The learning rate that the web API feeds, whatever it is told, and the others by default. */
const FED_RATE = 1e-3;
/** What an input or output of `training_model` is called where it belongs to the gradient of `name`. */
const gradient = (name: string) => `${name}_grad`;
const buffer = (name: string) => `${name}_grad.accumulation.buffer`;
const accumulated = (name: string) => `${name}_grad.accumulation.out`;
const LAZY_RESET = 'lazy_reset_grad';

export interface OrtTrainingRequest {
  readonly target: Target;
  readonly batch: Dim;
  /** Batch of `eval_model`. */
  readonly inferenceBatch: Dim;
  readonly optimizer: OptimizerSpec;
  /** Largest global norm of the gradient; 0 does not clip. */
  readonly clipNorm: number;
  /** Learning rate of each step from the first on; the last one holds from there on. */
  readonly rates: readonly number[];
  /** Whether the backward pass computes most of the forward pass again in place of keeping it. */
  readonly checkpointActivations: boolean;
  /** Which parameters stay as they are. */
  readonly frozen: Frozen;
  /** The weight of each class in the loss of `training_model`; the model's own by default. */
  readonly classWeights?: readonly number[];
}

/** Which arrays of a program the checkpoint holds as trainable, and which as frozen, each in the order of the graphs' inputs. */
export function checkpointArrays(program: Program, frozen: Frozen) {
  const { parameters, statistics } = program.build({ mode: 'training', batch: 1, loss: false });
  const names = (stored: readonly Stored[]) => stored.map(({ name }) => name);
  return {
    trainable: names(parameters).filter((name) => !frozen(name)),
    frozen: [...names(parameters).filter(frozen), ...names(statistics)],
  };
}

/**
 * `training_model.onnx`: loss, outputs and gradients in standard operators, and one InPlaceAccumulatorV2 for each trainable parameter and each running statistic.
 * @throws DdrcError MODEL_INVALID, ARTIFACTS_UNFIT
 */
export function emitTrainingModel(program: Program, request: OrtTrainingRequest): EmittedGraph {
  checkContract(program, request);
  const { graph, loss, outputs, parameters, statistics, updates } = buildTraining(program, request.batch, 'training', {
    classWeights: request.classWeights,
  });
  const trainable = parameters.filter(({ name }) => !request.frozen(name));
  graph.outputs.set('loss', loss);
  for (const [name, value] of outputs) graph.outputs.set(name, value);
  const given = [...graph.outputs.keys()];
  graph.during('backward', () => {
    const values = trainable.map(({ value }) => value);
    const gradients = differentiate(graph, loss, values);
    for (const { name, value } of trainable) graph.outputs.set(gradient(name), gradients.get(value)!);
  });
  const replaced = statistics.filter(({ value }) => updates.has(value));
  for (const { name, value } of replaced) graph.outputs.set(gradient(name), updates.get(value)!);
  const simple = simplify(request.checkpointActivations ? checkpoint(simplify(graph)) : graph);
  verify(simple);
  requireReadBefore(simple, replaced);
  const { emitter, choices } = lowerGraph(simple, request.target);
  emitter.scope = 'accumulate';
  const overwrite = emitter.array(ndarray([1], [1], 'bool'));
  const accumulate = (name: string, into: string, flag: string) =>
    emitter.node('InPlaceAccumulatorV2', [into, emitter.planar(simple.outputs.get(gradient(name))!), flag], {}, MICROSOFT);
  const flag = { dtype: 'bool', shape: [1] } as const;
  const userOutputs = given.map((name) => port(name, simple.outputs.get(name)!));
  const accumulators = [
    ...trainable.map(({ name }) => ({ name: accumulated(name), type: flag, value: accumulate(name, buffer(name), LAZY_RESET) })),
    // Nodes that read the old value come before: the new one is made of it.
    ...replaced.map(({ name }) => ({ name: accumulated(name), type: flag, value: accumulate(name, name, overwrite) })),
  ];
  const fed = fedPorts(simple);
  const inputs: Port[] = [
    ...fed,
    ...[...parameters, ...statistics].map(({ name, value }) => ({ name, type: value.type })),
    ...trainable.map(({ name, value }) => ({ name: buffer(name), type: value.type })),
    { name: LAZY_RESET, type: flag },
  ];
  const withValues = userOutputs.map((output) => ({ ...output, value: emitter.planar(simple.outputs.get(output.name)!) }));
  const model = { name: program.name, emitter, inputs, outputs: [...withValues, ...accumulators] };
  return { bytes: encodeModel(model), inputs: fed, outputs: userOutputs, choices, model };
}

/**
 * `eval_model.onnx`: loss and outputs in inference mode.
 * @throws DdrcError MODEL_INVALID
 */
export function emitEvalModel(program: Program, request: OrtTrainingRequest): EmittedGraph {
  checkContract(program, request);
  const { target, inferenceBatch } = request;
  const { graph, loss, outputs, parameters, statistics } = buildTraining(program, inferenceBatch, 'inference');
  graph.outputs.set('loss', loss);
  for (const [name, value] of outputs) graph.outputs.set(name, value);
  const simple = simplify(graph);
  verify(simple);
  const { emitter, choices } = lowerGraph(simple, target);
  const fed = fedPorts(simple);
  const inputs: Port[] = [...fed, ...[...parameters, ...statistics].map(({ name, value }) => ({ name, type: value.type }))];
  const given = [...simple.outputs].map(([name, value]) => port(name, value));
  const withValues = given.map((output) => ({ ...output, value: emitter.planar(simple.outputs.get(output.name)!) }));
  const model = { name: program.name, emitter, inputs, outputs: withValues };
  return { bytes: encodeModel(model), inputs: fed, outputs: given, choices, model };
}

/**
 * `optimizer_model.onnx`. The rate that it is fed counts in units of 0.001, the one that the web API cannot change: 0.001 is the rate of the step, twice that twice
 * the rate.
 * @throws DdrcError ARTIFACTS_UNFIT
 */
export function emitOptimizerModel(program: Program, request: OrtTrainingRequest): EmittedGraph {
  checkContract(program, request);
  const { optimizer, clipNorm, rates } = request;
  const emitter = new Emitter(request.target, new Graph(program.name, 'training', new Map()));
  const adam = optimizer.kind === 'adam' || optimizer.kind === 'adamw';
  const names = [
    'learning_rate',
    'step',
    'params',
    'gradients',
    'first_order_moments',
    ...(adam ? ['second_order_moments'] : []),
  ];
  for (const name of names) emitter.unique(name);
  emitter.scope = 'optimizer';
  // The step that is fed counts from 1.
  const factors = emitter.floats([rates[0], ...rates].map((rate) => rate / FED_RATE));
  const place = emitter.node('Min', ['step', emitter.ints([rates.length])]);
  const rate = emitter.node('Mul', ['learning_rate', emitter.node('Gather', [factors, place])]);
  const gradients =
    clipNorm > 0
      ? emitter.node('InplaceClipGradNorm', ['gradients'], { max_norm: { float: clipNorm }, norm_type: 'fro' }, MICROSOFT)
      : 'gradients';
  const updated = adam
    ? emitter.node(
        'AdamWOptimizer',
        [rate, 'step', 'params', gradients, 'first_order_moments', 'second_order_moments'],
        {
          alpha: { float: optimizer.beta1 },
          beta: { float: optimizer.beta2 },
          epsilon: { float: optimizer.epsilon },
          weight_decay: { float: optimizer.weightDecay },
          correct_bias: 1,
          adam_mode: 0,
        },
        MICROSOFT,
      )
    : emitter.node('SGDOptimizerV2', [rate, 'params', gradients], {}, MICROSOFT);
  const tensors = (name: string) => ({ name, type: { sequenceType: { elemType: { tensorType: { elemType: 1 } } } } });
  const inputs = [
    encodePort({ name: 'learning_rate', type: { dtype: 'float32', shape: [1] } }),
    encodePort({ name: 'step', type: { dtype: 'int64', shape: [1] } }),
    ...names.slice(2).map(tensors),
  ];
  // The schema of SGDOptimizerV2 says another shape than its kernel gives.
  const signal = adam
    ? encodePort({ name: updated, type: { dtype: 'bool', shape: [1] } })
    : { name: updated, type: { tensorType: { elemType: onnx.TensorProto.DataType.BOOL } } };
  const model = { name: program.name, emitter, inputs: [], outputs: [] };
  const bytes = encodeProto(model, emitter.nodes, {
    node: emitter.nodes.map(encodeNode),
    initializer: encodeInitializers(emitter, emitter.nodes),
    input: inputs,
    output: [signal],
  });
  return { bytes, inputs: [], outputs: [], choices: [], model };
}

function port(name: string, { type }: Value): Port {
  return { name, type };
}

/** What the caller feeds: all inputs but parameters and statistics. */
function fedPorts({ inputs }: Graph): (Port & { role: string })[] {
  return inputs
    .filter(({ role }) => role !== 'parameter' && role !== 'statistic')
    .map((input) => ({ ...port(input.name!, input), role: input.role as string }));
}

/** @throws DdrcError ARTIFACTS_UNFIT where the contract cannot express a program or a request */
function checkContract(program: Program, { target, optimizer, frozen }: OrtTrainingRequest): void {
  const unfit = (message: string, hint: string) => new DdrcError({ code: 'ARTIFACTS_UNFIT', message, hint });
  if (target.opset > newestTrainingOpset) {
    throw unfit(
      `ONNX Runtime's training API takes opset 13 to ${newestTrainingOpset}, not ${target.opset}`,
      `give --opset ${newestTrainingOpset} or less`,
    );
  }
  if (target.provider !== 'portable')
    throw unfit(`the training artifacts are for every machine, not for ${target.provider}`, 'leave --target out');
  if (optimizer.kind === 'rmsprop' || (optimizer.kind === 'sgd' && optimizer.momentum !== 0)) {
    const what = optimizer.kind === 'rmsprop' ? 'RMSprop' : 'SGD with momentum';
    throw unfit(
      `ONNX Runtime's training API has no ${what}, only AdamW and plain SGD`,
      'give --optimizer adamw, adam or sgd:momentum=0',
    );
  }
  if (optimizer.kind !== 'adamw' && optimizer.weightDecay !== 0) {
    throw unfit(
      `ONNX Runtime's training API adds no weight decay to the gradients, as ${optimizer.kind} with decay does`,
      'give --optimizer adamw:decay=…, whose decay it has, or decay=0',
    );
  }
  const { trainable, frozen: kept } = checkpointArrays(program, frozen);
  const { loss, outputs } = program.build({ mode: 'inference', batch: 1, loss: true });
  if (!loss) return;
  const ports = [...program.inputs, ...program.targets].map(({ name }) => name);
  const taken = new Set([LAZY_RESET, ...trainable, ...kept]);
  for (const name of [...ports, ...outputs.keys(), ...trainable, ...kept]) {
    if ((trainable.includes(name) || kept.includes(name)) && /^(step$|[mv]:)/.test(name)) {
      throw unfit(
        `a parameter called ${name} could not be told from the optimizer's state in a file of weights`,
        'give it another name',
      );
    }
    if (/_grad(\.accumulation\.(buffer|out))?$/.test(name)) {
      throw unfit(
        `the name ${name} ends like that of a gradient, so ONNX Runtime's training API would take it for one`,
        'give it another name',
      );
    }
  }
  const twice = [...ports, ...outputs.keys(), 'loss'].find((name, i, all) => taken.has(name) || all.indexOf(name) !== i);
  if (twice !== undefined)
    throw unfit(`the name ${twice} stands for two things in the training graph`, 'give one of them another name');
}

/**
 * A statistic is overwritten in the middle of a run, so whatever reads it must come before: that is so where the new value is made of all that reads the old one.
 * @throws DdrcError ARTIFACTS_UNFIT
 */
function requireReadBefore(graph: Graph, replaced: readonly Stored[]): void {
  for (const { name } of replaced) {
    const before = new Set<Node>();
    const visit = ({ producer }: Value): void => {
      if (!producer || before.has(producer)) return;
      before.add(producer);
      producer.inputs.forEach(visit);
    };
    visit(graph.outputs.get(gradient(name))!);
    const reader = graph.nodes.find((node) => !before.has(node) && node.inputs.some((input) => input.name === name));
    if (reader) {
      throw new DdrcError({
        code: 'ARTIFACTS_UNFIT',
        message: `the training graph reads the running statistic ${name} where it may have been replaced already`,
        where: `scope ${reader.scope || '(top)'}`,
        hint: "read it in inference only, or train with ddrc's own graphs",
      });
    }
  }
}
