import { createHash } from 'node:crypto';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { initialWeights } from '../compiler/artifacts/initial.ts';
import { layOut } from '../compiler/artifacts/table.ts';
import { type Compiled, compile } from '../compiler/compile.ts';
import { newestOpset, portable, type Target } from '../compiler/emit/lowering.ts';
import type { Program } from '../compiler/ir/program.ts';
import type { Dim } from '../compiler/ir/types.ts';
import type { Manifest } from '../contract/manifest.ts';
import { loadStart } from '../runtime/checkpoint.ts';
import { serializeSafetensors } from '../runtime/safetensors.ts';
import type { TensorData } from '../runtime/tensor.ts';
import { type ArtifactFlags, addArtifactFlags, artifactRequest, checkpointFile } from './build-artifacts.ts';
import { placeBuild } from './build-files.ts';
import { asTensors, namedTensors, resetLines, targetFor } from './compile-for-device.ts';
import { example } from './example.ts';
import { usageError } from './failure.ts';
import { addModelFlags, addRequired, list, type ModelFlags, oneOf, openProgram, wholeNumber } from './flags.ts';
import { graphText, lowerings, printable } from './graph-text.ts';
import { bytes, duration } from './quantity.ts';
import { checkable, checkSessions } from './session-check.ts';
import { textTable } from './text-table.ts';

interface BuildFlags extends ModelFlags, ArtifactFlags {
  readonly out: string;
  readonly weights?: string;
  readonly resetHead?: boolean;
  readonly input: 'float32' | 'uint8';
  readonly opset: number;
  readonly target: Target['provider'];
  readonly batch: Dim;
  readonly seed: number;
  readonly classes?: string[];
  readonly printIr?: (typeof printable)[number] | true;
  readonly explain?: boolean;
}

/** `ddrc build [MODEL] --out DIR`: compiles a model to ONNX files with their manifest. */
export function add(program: Command): void {
  const command = program
    .command('build')
    .description('compile a model to ONNX: inference (model), training (step, grad, eval), initial weights and manifest.json')
    .argument('[model]', 'model file (default: models/ddrnet.ts of the package)');
  addRequired(command, '--out <folder>', 'where the files go; the folder is made if need be');
  addArtifactFlags(addModelFlags(command))
    .option('--weights <file>', 'safetensors file of parameters in place of the initialisers')
    .option('--reset-head', 'with --weights: initialise anew what has another shape in the file, as a head for other classes')
    .option('--classes <a,b,c>', "names of the classes; sets the model's option classes to their number", list)
    .option(
      '--input <type>',
      'what model.onnx takes: float32 [N,3,S,S] in [0,1], or uint8 [N,S,S,3]',
      oneOf('float32', 'uint8'),
      'float32',
    )
    .option('--opset <n>', `ONNX opset, 13 to ${newestOpset}`, wholeNumber(13, newestOpset), portable.opset)
    .option(
      '--target <name>',
      "portable (every engine), or cpu (this machine's processor), webgpu or cuda: forms that ONNX Runtime is fastest with there",
      oneOf('portable', 'cpu', 'webgpu', 'cuda'),
      'portable',
    )
    .option('--batch <n>', 'batch size; N leaves it open', batchSize, 'N')
    .option('--seed <n>', 'seed of the initial weights', wholeNumber(0), 0)
    .option('--print-ir [graph]', `print the graph of ${printable.join(', ')} (default: model) to stdout`, oneOf(...printable))
    .option('--explain', 'show which ONNX form each operator was written in, and why not in another one')
    .addHelpText('after', example('ddrc build models/ddrnet.ts --out build/ddrnet --option csab=false --size 96'))
    .action(build);
}

async function build(path: string | undefined, flags: BuildFlags): Promise<void> {
  if (flags.resetHead && flags.weights === undefined)
    throw usageError('--reset-head needs --weights: it is for a file whose head has another size', 'build', 'leave it out');
  const program = await openProgram(path, flags, { classes: flags.classes?.length });
  checkClasses(program, flags.classes);
  if (flags.input === 'uint8' && !program.inputs.some(({ kind }) => kind === 'image'))
    throw usageError(`--input uint8 is for images, but ${program.name} takes none`, 'build', 'leave it out');
  if (flags.input === 'uint8' && flags.artifacts === 'ort-training')
    throw usageError(
      '--input uint8 is for model.onnx, which --artifacts ort-training does not make',
      'build',
      'give --artifacts all',
    );
  const weights = flags.weights === undefined ? undefined : readWeights(program, flags.weights, flags);
  const compiled = compile(program, {
    ...artifactRequest(program, flags),
    target: { ...(await targetFor(flags.target)), opset: flags.opset },
    batch: flags.batch,
    inferenceBatch: flags.batch,
    weights,
    seed: flags.seed,
    classes: flags.classes,
    input: flags.input,
  });
  const files = filesOf(compiled, program, weights ?? asTensors(compiled.initial), flags);
  const out = resolve(flags.out);
  await placeBuild(out, files, (folder) => checkSessions(folder, checkable([...compiled.files.keys()])));
  if (flags.printIr)
    process.stdout.write(`${graphText(program, flags.printIr === true ? 'model' : flags.printIr, flags.batch)}\n`);
  if (flags.explain) process.stdout.write(`${lowerings(compiled)}\n`);
  const sizes = [...files].map(([name, content]) => [`  ${name}`, bytes(content.length)]);
  // Since the process began.
  const seconds = duration(performance.now());
  process.stdout.write(`${flags.out}\n${textTable(sizes, ['left', 'right'])}\nbuilt ${program.name} in ${seconds}\n`);
}

function batchSize(text: string): Dim {
  return text === 'N' ? 'N' : wholeNumber(1)(text);
}

function checkClasses(program: Program, classes: readonly string[] | undefined): void {
  if (!classes || !program.scores) return;
  const { outputs } = program.build({ mode: 'inference', batch: 'N', loss: false });
  const count = outputs.get(program.scores.output)?.type.shape.at(-1);
  if (typeof count === 'number' && count !== classes.length) {
    throw usageError(`--classes names ${classes.length} classes, but ${program.name} gives ${count} scores`, 'build');
  }
}

/** The parameters and statistics of `program` that a safetensors file has; with `--reset-head` the initialisers' where their shape differs. */
function readWeights(program: Program, path: string, { resetHead, seed }: BuildFlags): Map<string, TensorData> {
  const { parameters, statistics } = program.build({ mode: 'inference', batch: 1, loss: false });
  const tables = { parameters: layOut(parameters), statistics: layOut(statistics) };
  const start = loadStart(path, tables, resetHead ? asTensors(initialWeights(program, seed)) : null);
  for (const line of resetLines(start.reset)) process.stderr.write(`${line}\n`);
  return namedTensors(tables, start);
}

/** The files by name, those of the weights among them, and the manifest with the hash of every other one. */
function filesOf(
  { files, manifest }: Compiled,
  program: Program,
  weights: ReadonlyMap<string, TensorData>,
  flags: BuildFlags,
): Map<string, Uint8Array> {
  const { model, modelHash } = manifest;
  const starts: [string, Uint8Array][] = [];
  if (flags.artifacts !== 'ort-training')
    starts.push(['initial.safetensors', serializeSafetensors(weights, { model, modelHash })]);
  if (flags.artifacts !== 'stock') starts.push(['checkpoint', checkpointFile(program, weights, flags)]);
  const described = starts.map(([name, bytes]) => {
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    return [name, { sha256, inputs: [], outputs: [] }];
  });
  const full: Manifest = { ...manifest, files: { ...manifest.files, ...Object.fromEntries(described) } };
  const text = new TextEncoder().encode(`${JSON.stringify(full, null, 2)}\n`);
  return new Map([...files, ...starts, ['manifest.json', text]]);
}
