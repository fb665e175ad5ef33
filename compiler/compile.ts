import { createHash } from 'node:crypto';
import { type Manifest, type ManifestFile, manifestVersion } from '../contract/manifest.ts';
import { type EmittedGraph, emitGraph, loopOf } from './artifacts/emit-graph.ts';
import { emitExplanation } from './artifacts/explain.ts';
import { emitFeatures } from './artifacts/features.ts';
import { frozenBy } from './artifacts/frozen.ts';
import { checkClasses, checkWeights, type GivenWeights } from './artifacts/given.ts';
import { emitInference } from './artifacts/inference.ts';
import { initialWeights } from './artifacts/initial.ts';
import { describeFile, preprocessingOf } from './artifacts/manifest.ts';
import { slotNames } from './artifacts/optimizers.ts';
import { emitEvalModel, emitOptimizerModel, emitTrainingModel, type OrtTrainingRequest } from './artifacts/ort-training.ts';
import { checkRequest } from './artifacts/request.ts';
import { layOut } from './artifacts/table.ts';
import { evaluationGraph, gradientGraph, stepGraph, type TrainingGraph, updateGraph } from './artifacts/training.ts';
import { emitTunable } from './artifacts/tunable.ts';
import { portable, type Target } from './emit/lowering.ts';
import { type NDArray, ndarray } from './ir/ndarray.ts';
import type { OptimizerSpec, Program } from './ir/program.ts';
import type { Dim } from './ir/types.ts';
import { checkpoint } from './passes/checkpoint.ts';
import { simplify } from './passes/simplify.ts';

/** The files that can be made, by what they do. */
export type Artifact =
  | 'model'
  | 'step'
  /** K steps in one run, so that the state crosses ONNX Runtime's border once for all of them. */
  | 'loop'
  | 'grad'
  /** The optimizer alone, for gradients that a program has accumulated. */
  | 'update'
  | 'eval'
  /** Where in an image a class comes from. */
  | 'explain'
  /** The feature map that each part of the model hands on. */
  | 'features'
  /** `model` with float32 images, its weights unfolded and at places that the manifest tells. */
  | 'tunable'
  /** The graphs of ONNX Runtime's on-device training; the checkpoint beside them is `serializeOrtCheckpoint` of the runtime. */
  | 'training_model'
  | 'eval_model'
  | 'optimizer_model';

export interface CompileRequest {
  /** Which files to make; `model`, `step`, `grad` and `eval` by default. */
  readonly artifacts?: readonly Artifact[];
  /** What to compile for; {@link portable} by default. */
  readonly target?: Target;
  /** Batch of the files that train: `step`, `loop`, `grad`, `training_model`; `'N'`, a size that is known only when the graph runs, by default. */
  readonly batch?: Dim;
  /** Batch of the files that do not: `model`, `tunable`, `explain`, `features`, `eval`, `eval_model`; `'N'` by default. */
  readonly inferenceBatch?: Dim;
  /** Parameters and statistics of `model`, `tunable`, `explain` and `features` by name, float32, all of them and nothing else; the initial ones by default. */
  readonly weights?: GivenWeights;
  /** Seed of the initial weights; 0 by default. */
  readonly seed?: number;
  /** The optimizer that `step`, `loop`, `update` and `optimizer_model` contain; the model's own by default. */
  readonly optimizer?: OptimizerSpec;
  /** Largest global norm of the gradient; the model's own by default, 0 does not clip. */
  readonly clipNorm?: number;
  /** Learning rate of each step from the first on, in `optimizer_model`; the last one holds from there on. The model's own by default. */
  readonly rates?: readonly number[];
  /**
   * Parameters that training leaves as they are: names, or scopes for all below them. None by default. `step`, `loop` and `update` are to begin
   * with moments of 0, as others would still move what is frozen.
   */
  readonly freeze?: readonly string[];
  /**
   * The weight of each class in the loss that `step`, `loop`, `grad` and `training_model` minimise, where the model gives its loss functions none; the loss of
   * `eval` and `eval_model` stays as it is. None by default.
   */
  readonly classWeights?: readonly number[];
  /**
   * Whether `step`, `loop` and `grad` take batches that were mixed with themselves (mixup, CutMix), by the inputs `mix_share` and, for each target,
   * `TARGET_partner`. Targets are then class indices.
   */
  readonly mixed?: boolean;
  /**
   * The largest decay d of exponential moving averages of parameters and running statistics, which `step`, `loop` and `update` then keep as the states `ema`
   * and `ema_statistics`, and from which `eval` computes; from 0 to below 1. None by default.
   */
  readonly ema?: number;
  /** Names of the classes in the order of the scores, as many as there are scores; manifest, `model` and `tunable` carry them. None by default. */
  readonly classes?: readonly string[];
  /** What images come as in `model`: `float32` [N,3,S,S] in [0,1] (default) or `uint8` [N,S,S,3]. */
  readonly input?: 'float32' | 'uint8';
  /** Whether `step` and `loop` give the flat gradient too. */
  readonly gradients?: boolean;
  /** Whether the backward pass of `step`, `loop`, `grad` and `training_model` computes most of the forward pass again in place of keeping it: less memory, more time. */
  readonly checkpointActivations?: boolean;
}

export interface Compiled {
  readonly manifest: Manifest;
  /** Bytes by file name: that of each {@link Artifact} with `.onnx` behind it. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** Parameters and statistics before training. */
  readonly initial: ReadonlyMap<string, NDArray>;
  /** Which lowering each node of each file got. */
  readonly choices: ReadonlyMap<string, EmittedGraph['choices']>;
}

/**
 * Compiles a program: forward, differentiation, optimizer, lowering, serialisation. The same request gives the same bytes.
 * @throws DdrcError for shape mistakes, a model that cannot be trained where training files are asked for, a target that has no lowering,
 *   weights of another model (CHECKPOINT_MODEL, CHECKPOINT_NOT_FINITE), another number of classes than scores (DATA_CLASSES_DIFFER), names to
 *   freeze that the model has not, or that leave nothing to train (FREEZE_UNKNOWN, FREEZE_ALL), class weights or mixed targets that the loss does not take (AID_UNFIT), what ONNX Runtime's training API cannot do
 *   (ARTIFACTS_UNFIT), a request that says what it does not know (COMPILE_REQUEST)
 */
export function compile(program: Program, request: CompileRequest = {}): Compiled {
  checkRequest(request);
  const { artifacts = ['model', 'step', 'grad', 'eval'], target = portable, batch = 'N', inferenceBatch = 'N' } = request;
  const optimizer = request.optimizer ?? program.training.optimizer;
  const clipNorm = request.clipNorm ?? program.training.clipNorm;
  const initial = initialWeights(program, request.seed ?? 0);
  const structure = program.build({ mode: 'inference', batch: 1, loss: false });
  const parameters = layOut(structure.parameters);
  const statistics = layOut(structure.statistics);
  checkClasses(program, structure, request.classes);
  if (request.weights) checkWeights(program, [...parameters, ...statistics], request.weights);
  const identity = JSON.stringify({ model: program.name, options: program.options, parameters, statistics });
  const modelHash = sha256(new TextEncoder().encode(identity));
  const emitTraining = ({ graph, parameters, statistics, vectors }: TrainingGraph) => {
    const lean = request.checkpointActivations ? checkpoint(simplify(graph)) : graph;
    return emitGraph(lean, target, { parameters, statistics, vectors });
  };
  const given = request.weights ? arraysOf(request.weights) : initial;
  const input = request.input ?? 'float32';
  const preprocessing = preprocessingOf(program, input);
  const frozen = frozenBy(program, request.freeze ?? []);
  const { classWeights, mixed } = request;
  const averaged = request.ema !== undefined;
  const ortTraining: OrtTrainingRequest = {
    target,
    batch,
    inferenceBatch,
    optimizer,
    clipNorm,
    rates: request.rates ?? [program.training.learningRate],
    checkpointActivations: request.checkpointActivations ?? false,
    frozen,
    classWeights,
  };
  const updating = { optimizer, clipNorm, frozen, averaged };
  const emitStep = once(() => emitTraining(stepGraph(program, { batch, ...updating, classWeights, mixed }, request.gradients)));
  const metadataWith = (images: Manifest['preprocessing']) => ({
    'ddrc.model': program.name,
    'ddrc.options': JSON.stringify(program.options),
    'ddrc.classes': JSON.stringify(request.classes ?? null),
    'ddrc.preprocessing': JSON.stringify(images),
    'ddrc.scores': JSON.stringify(program.scores),
    'ddrc.label': JSON.stringify(program.targets.find(({ kind }) => kind === 'class')?.name ?? null),
    'ddrc.block': JSON.stringify(target.block),
    'ddrc.modelHash': modelHash,
  });
  const inference = { target, batch: inferenceBatch, weights: given };
  const makers: Record<Artifact, () => EmittedGraph> = {
    model: () => emitInference(program, { ...inference, input, metadata: metadataWith(preprocessing) }),
    tunable: () => emitTunable(program, { ...inference, metadata: metadataWith(preprocessingOf(program, 'float32')) }),
    explain: () => emitExplanation(program, inference),
    features: () => emitFeatures(program, inference),
    step: emitStep,
    loop: () => loopOf(emitStep()),
    grad: () => emitTraining(gradientGraph(program, batch, frozen, { classWeights, mixed })),
    update: () => emitTraining(updateGraph(program, updating)),
    eval: () => emitTraining(evaluationGraph(program, inferenceBatch, averaged)),
    training_model: () => emitTrainingModel(program, ortTraining),
    eval_model: () => emitEvalModel(program, ortTraining),
    optimizer_model: () => emitOptimizerModel(program, ortTraining),
  };
  const files = new Map<string, Uint8Array>();
  const described: Record<string, ManifestFile> = {};
  const choices = new Map<string, EmittedGraph['choices']>();
  for (const artifact of artifacts) {
    const emitted = makers[artifact]();
    const name = `${artifact}.onnx`;
    files.set(name, emitted.bytes);
    described[name] = describeFile(emitted, sha256(emitted.bytes));
    choices.set(name, emitted.choices);
  }
  const manifest: Manifest = {
    ddrc: manifestVersion,
    model: program.name,
    options: program.options,
    opset: target.opset,
    target: target.provider,
    block: target.block,
    files: described,
    parameters,
    statistics,
    optimizer: { ...optimizer },
    slots: slotNames(optimizer),
    ...(averaged && { ema: request.ema }),
    clipNorm,
    classes: request.classes ?? null,
    scores: program.scores,
    preprocessing,
    modelHash,
  };
  return { manifest, files, initial, choices };
}

/** A function that makes its result when it is first asked for. */
function once<T>(make: () => T): () => T {
  let made: { readonly result: T } | undefined;
  return () => {
    made ??= { result: make() };
    return made.result;
  };
}

function arraysOf(weights: GivenWeights): Map<string, NDArray> {
  return new Map(
    [...weights].map(([name, { shape, data }]) => [
      name,
      ndarray(shape, data instanceof BigInt64Array ? Array.from(data, Number) : (data as ArrayLike<number>)),
    ]),
  );
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
