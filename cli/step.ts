import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import type { Program } from '../compiler/ir/program.ts';
import { DdrcError } from '../diagnostics/error.ts';
import { defaultOptimizer } from '../dsl/training.ts';
import { checkExamples, prepareBatch } from '../runtime/batches.ts';
import { loadWeights } from '../runtime/checkpoint.ts';
import { openArrays } from '../runtime/data/dataset.ts';
import { Engine, inferenceSession, trainingSession } from '../runtime/engine.ts';
import { inputError, writeFileAtomic } from '../runtime/files.ts';
import { type ExpectedState, unpackState, type Weights } from '../runtime/flat-state.ts';
import { expectedState, fileOf, portsOf, scoresOf } from '../runtime/manifest.ts';
import { chooseProvider, parseDevice } from '../runtime/providers.ts';
import { serializeSafetensors } from '../runtime/safetensors.ts';
import { engineState, stepScalars } from '../runtime/step-inputs.ts';
import type { TensorData } from '../runtime/tensor.ts';
import { compileModel, compileTraining, namedTensors, targetFor } from './compile-for-device.ts';
import { example } from './example.ts';
import { portsOfProgram } from './example-ports.ts';
import { addModelFlags, addRequired, decimal, type ModelFlags, optionsOf, wholeNumber } from './flags.ts';
import { instantiate, loadModel } from './load-model.ts';
import { shown } from './shown-path.ts';

interface StepFlags extends ModelFlags {
  readonly state: string;
  readonly batch: string;
  readonly out: string;
  readonly options?: string;
  readonly lr: number;
  readonly device: string;
  readonly threads?: number;
}

/** `ddrc step MODEL`: one Adam step on given numbers, for comparison with another implementation. */
export function add(program: Command): void {
  const command = program
    .command('step')
    .description(
      'run one Adam step (0.9, 0.999, 1e-8, dropout 0) on given parameters and a given batch, and write every number of it',
    )
    .argument('<model>', 'model file');
  addRequired(
    command,
    '--state <file>',
    'safetensors: parameters and statistics by name; m:NAME, v:NAME and step where Adam has moments',
  );
  addRequired(command, '--batch <file>', "safetensors: the model's inputs and targets by name");
  addRequired(command, '--out <file>', 'safetensors to write: eval_logits, train_logits, loss, grad:NAME, adam:NAME, stat:NAME');
  command
    .option('--options <file>', 'JSON object of options of the model')
    .option('--lr <rate>', 'learning rate', decimal(0), 1e-3)
    .option('--device <name>', 'auto, cpu, cuda or webgpu', 'cpu')
    .option('--threads <n>', 'threads of one operator (default: one for each processor)', wholeNumber(1, 256));
  addModelFlags(command)
    .addHelpText(
      'after',
      example('ddrc step models/ddrnet.ts --state state.safetensors --batch batch.safetensors --out out.safetensors'),
    )
    .action(step);
}

async function step(path: string, flags: StepFlags): Promise<void> {
  const { provider } = await chooseProvider(parseDevice(flags.device));
  const loaded = await loadModel(path);
  const asked = { ...(flags.options === undefined ? {} : readOptions(flags.options)), ...optionsOf(flags) };
  const noDropout = Object.keys(loaded.model.options).filter((name) => /dropout$/i.test(name));
  const program = instantiate(loaded, { ...asked, ...Object.fromEntries(noDropout.map((name) => [name, 0])) });
  const { names, label } = portsOfProgram(program);
  const examples = openArrays(flags.batch, names, label);
  const compiled = compileTraining(program, {
    target: await targetFor(provider, flags.threads),
    batch: examples.size,
    optimizer: defaultOptimizer,
    clipNorm: 0,
    gradients: true,
  });
  const { manifest, files } = compiled;
  const stepFile = fileOf(manifest, 'step.onnx');
  const inputs = portsOf(stepFile.inputs, 'data', 'target');
  await checkExamples(flags.batch, examples, inputs, scoresOf(manifest, stepFile)?.classes ?? null);
  const expected = expectedState(manifest);
  const state = loadWeights(flags.state, expected);
  checkMoments(flags.state, state);
  const all = Array.from({ length: examples.size }, (_, i) => i);
  const feed = async () => (await prepareBatch(examples, inputs, all)).feeds;
  const engine = new Engine({ provider, threads: flags.threads });
  try {
    const model = compileModel(program, namedTensors(expected, state));
    const { inputs: data } = await engine.open('model.onnx', model, inferenceSession);
    const evaluated = await engine.run('model.onnx', (await prepareBatch(examples, data, all)).feeds);
    await engine.open('step.onnx', files.get('step.onnx')!, trainingSession);
    await engine.load(engineState(manifest, state));
    const scalars = stepScalars(manifest, state.step ?? 0, { learningRate: flags.lr }, 0);
    const trained = await engine.step('step.onnx', { ...(await feed()), ...scalars });
    const loss = Number(trained.loss.data[0]);
    if (!Number.isFinite(loss)) throw notFinite(loss, flags);
    const after = await engine.state();
    writeFileAtomic(flags.out, serializeSafetensors(results(program, expected, evaluated, trained, after)));
    process.stdout.write(`loss ${loss}\n${shown(flags.out)}\n`);
  } finally {
    await engine.close();
  }
}

function readOptions(path: string): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw inputError(path, error);
  }
  const invalid = (message: string, cause?: unknown) =>
    new DdrcError({
      code: 'OPTION_INVALID',
      message,
      where: path,
      hint: 'write it as in {"channels": 32, "csab": false}',
      cause,
    });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw invalid(`${path} is not JSON`, cause);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid(`${path} is not a JSON object of options`);
  return value as Record<string, unknown>;
}

/** Moments without a step, or one of them without the other, are the state of no optimizer. */
function checkMoments(path: string, { moment1, moment2, step }: Weights): void {
  const given = { 'm:NAME': moment1, 'v:NAME': moment2, step };
  const absent = Object.entries(given).filter(([, value]) => value === undefined);
  if (absent.length === 0 || absent.length === 3 || (step === 0 && !moment1 && !moment2)) return;
  throw new DdrcError({
    code: 'CHECKPOINT_INVALID',
    message: `${path} has a part of Adam's state only: ${absent.map(([name]) => name).join(' and ')} ${absent.length === 1 ? 'is' : 'are'} missing`,
    where: path,
    hint: 'give m:NAME and v:NAME for every parameter and step, or none of them',
  });
}

function notFinite(loss: number, { batch, state }: StepFlags): DdrcError {
  return new DdrcError({
    code: 'LOSS_NOT_FINITE',
    message: `the loss of the batch is ${loss}, so the step has no numbers to compare`,
    notes: [
      { label: 'batch', text: batch },
      { label: 'state', text: state },
    ],
    hint: 'look for very large numbers in the batch and the parameters, and for logarithms and divisions of zero in the loss',
  });
}

/** Everything by name, as the reference implementation calls it. */
function results(
  program: Program,
  { parameters, statistics }: ExpectedState,
  evaluated: Readonly<Record<string, TensorData>>,
  trained: Readonly<Record<string, TensorData>>,
  after: Readonly<Record<string, Float32Array>>,
): Map<string, TensorData> {
  const { outputs } = program.build({ mode: 'inference', batch: 'N', loss: false });
  const all = new Map<string, TensorData>();
  for (const name of outputs.keys()) all.set(`eval_${name}`, evaluated[name]);
  for (const name of outputs.keys()) all.set(`train_${name}`, trained[name]);
  all.set('loss', { ...trained.loss, shape: [1] });
  const put = (prefix: string, tensors: ReadonlyMap<string, TensorData>) => {
    for (const [name, tensor] of tensors) all.set(`${prefix}:${name}`, tensor);
  };
  put('grad', unpackState(parameters, trained.gradients.data as Float32Array));
  put('adam', unpackState(parameters, after.parameters));
  if (after.statistics) put('stat', unpackState(statistics, after.statistics));
  return all;
}
