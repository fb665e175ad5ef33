import { availableParallelism } from 'node:os';
import type { Command } from 'commander';
import { compile } from '../compiler/compile.ts';
import { Engine, type EngineOptions, inferenceSession, trainingSession } from '../runtime/engine.ts';
import { packState, tableLength } from '../runtime/flat-state.ts';
import { expectedState } from '../runtime/manifest.ts';
import { chooseProvider, parseDevice } from '../runtime/providers.ts';
import { engineState, loopScalars, stepScalars } from '../runtime/step-inputs.ts';
import { asTensors, checkpointFlag, loopFlag, stepsPerRun, targetFor } from './compile-for-device.ts';
import { example } from './example.ts';
import { copied, type Feeds, repeated } from './feeds.ts';
import { addModelFlags, type ModelFlags, openProgram, wholeNumber } from './flags.ts';
import { onnxruntimeVersion, packageVersion } from './project.ts';
import { randomFeeds } from './random-feeds.ts';
import { textTable } from './text-table.ts';

interface BenchFlags extends ModelFlags {
  readonly batch: number;
  readonly steps: number;
  readonly threads: number;
  readonly checkpointActivations?: boolean;
  readonly device: string;
  readonly loop?: number;
  readonly json?: boolean;
}

/** `ddrc bench [MODEL]`: speed and memory of training steps and of inference. */
export function add(program: Command): void {
  const command = program
    .command('bench')
    .description(
      "time whole training steps (forward, backward, the model's optimizer) and inference on random examples, on this machine",
    )
    .argument('[model]', 'model file (default: models/ddrnet.ts of the package)')
    .option('--batch <n>', 'examples of one step', wholeNumber(1), 16)
    .option('--steps <n>', 'timed steps, after one to warm up', wholeNumber(1), 5)
    .option('--threads <n>', 'threads of one operator', wholeNumber(1, 256), availableParallelism())
    .option('--device <name>', 'auto, cpu, cuda or webgpu', 'cpu')
    .option('--checkpoint-activations', checkpointFlag)
    .option('--loop <n>', loopFlag, wholeNumber(1))
    .option('--json', 'one JSON object on one line in place of the table');
  addModelFlags(command)
    .addHelpText('after', example('ddrc bench models/ddrnet.ts --batch 16 --size 224 --threads 2'))
    .action(bench);
}

async function bench(path: string | undefined, flags: BenchFlags): Promise<void> {
  const { provider } = await chooseProvider(parseDevice(flags.device));
  const { batch, steps, threads, checkpointActivations = false } = flags;
  const target = await targetFor(provider, threads);
  const started = performance.now();
  const program = await openProgram(path, flags);
  const { loop = stepsPerRun(program, provider, program.training.optimizer) } = flags;
  const { files, manifest, initial } = compile(program, {
    artifacts: ['step', ...(loop > 1 ? (['loop'] as const) : []), 'model'],
    target,
    batch,
    inferenceBatch: batch,
    checkpointActivations,
  });
  const buildSeconds = secondsSince(started);
  const { parameters, statistics } = expectedState(manifest);
  const tensors = asTensors(initial);
  const weights = { parameters: packState(parameters, tensors), statistics: packState(statistics, tensors) };
  const options = { provider, threads };
  const graph = loop > 1 ? 'loop.onnx' : 'step.onnx';
  const rate = { learningRate: program.training.learningRate };
  const training = await timed(options, steps, loop, async (engine) => {
    await engine.open(graph, files.get(graph)!, trainingSession);
    await engine.load(engineState(manifest, weights));
    const examples = randomFeeds(manifest, 'step.onnx');
    const batches = loop > 1 ? repeated(examples, loop) : examples;
    const scalars = (count: number) =>
      loop > 1 ? loopScalars(manifest, count * loop, loop, () => rate, 0) : stepScalars(manifest, count, rate, 0);
    // The new state stays where the graph runs and is what the next step reads.
    return (count) => ({
      feeds: copied({ ...batches, ...scalars(count) }),
      run: (feeds) => engine.step(graph, feeds, ['loss']),
    });
  });
  const inference = await timed(options, steps, 1, async (engine) => {
    await engine.open('model.onnx', files.get('model.onnx')!, inferenceSession);
    const examples = randomFeeds(manifest, 'model.onnx');
    return () => ({ feeds: copied(examples), run: (feeds) => engine.run('model.onnx', feeds) });
  });
  const imagesPerSecond = (milliseconds: number) => Math.round((batch * 1e5) / milliseconds) / 100;
  const size = manifest.preprocessing[0]?.size.at(-1);
  const result = {
    model: manifest.model,
    parameters: tableLength(parameters),
    batch,
    ...(size !== undefined && { size }),
    threads,
    device: provider,
    ...(loop > 1 && { loop }),
    ...(checkpointActivations && { checkpoint_activations: true }),
    train_img_s_best: imagesPerSecond(training.best),
    train_img_s_median: imagesPerSecond(training.median),
    infer_img_s_best: imagesPerSecond(inference.best),
    infer_img_s_median: imagesPerSecond(inference.median),
    // Of the whole process; Node counts in KiB on every system.
    peak_rss_mb: Math.round(process.resourceUsage().maxRSS / 1024),
    build_s: buildSeconds,
    session_s: training.sessionSeconds,
    ddrc: packageVersion,
    onnxruntime: onnxruntimeVersion(),
    node: process.versions.node,
  };
  const rows = Object.entries(result).map(([name, value]) => [name, String(value)]);
  process.stdout.write(flags.json ? `${JSON.stringify(result)}\n` : `${textTable(rows, ['left', 'left'])}\n`);
}

interface Round {
  readonly feeds: Feeds;
  readonly run: (feeds: Feeds) => Promise<unknown>;
}

/**
 * Opens an engine of its own, so that no other one's threads or memory stand beside it, warms up and times rounds until `steps` are done, of which one takes
 * several `together`. Times of a step in ms.
 */
async function timed(
  options: EngineOptions,
  steps: number,
  together: number,
  open: (engine: Engine) => Promise<(count: number) => Round>,
) {
  const engine = new Engine(options);
  try {
    const opened = performance.now();
    const round = await open(engine);
    const sessionSeconds = secondsSince(opened);
    const times: number[] = [];
    for (let count = 0; count <= Math.ceil(steps / together); count++) {
      const { feeds, run } = round(count);
      const start = performance.now();
      await run(feeds);
      times.push((performance.now() - start) / together);
    }
    const sorted = times.slice(1).sort((a, b) => a - b);
    return { best: sorted[0], median: sorted[Math.floor(sorted.length / 2)], sessionSeconds };
  } finally {
    await engine.close();
  }
}

function secondsSince(start: number): number {
  return Math.round(performance.now() - start) / 1000;
}
