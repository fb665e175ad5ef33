import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { type Compiled, compile } from '../compiler/compile.ts';
import { Engine, inferenceSession, trainingSession } from '../runtime/engine.ts';
import { packState } from '../runtime/flat-state.ts';
import { expectedState } from '../runtime/manifest.ts';
import { readSessionProfile, type SessionProfile } from '../runtime/ort-profile.ts';
import { engineState, stepScalars } from '../runtime/step-inputs.ts';
import { asTensors, checkpointFlag, targetFor } from './compile-for-device.ts';
import { example } from './example.ts';
import { usageError } from './failure.ts';
import { copied } from './feeds.ts';
import { addModelFlags, type ModelFlags, openProgram, wholeNumber } from './flags.ts';
import { kernelTimes } from './kernel-times.ts';
import { type ProfiledRun, profileText } from './profile-text.ts';
import { randomFeeds } from './random-feeds.ts';

interface ProfileFlags extends ModelFlags {
  readonly batch: number;
  readonly steps: number;
  readonly threads: number;
  readonly checkpointActivations?: boolean;
  readonly infer?: boolean;
  readonly json?: boolean;
}

/** `ddrc profile [MODEL]`: where the time of a training step, or of inference, goes. */
export function add(program: Command): void {
  const command = program
    .command('profile')
    .description(
      'show where the time of a training step goes on this processor: by phase, operator, scope and kernel, with the GFLOP/s achieved',
    )
    .argument('[model]', 'model file (default: models/ddrnet.ts of the package)')
    .option('--batch <n>', 'examples of one step', wholeNumber(1), 16)
    .option('--steps <n>', 'measured steps, after one to warm up', wholeNumber(1), 3)
    .option('--threads <n>', 'threads of one operator', wholeNumber(1, 256), availableParallelism())
    .option('--infer', 'inference in place of a training step')
    .option('--checkpoint-activations', checkpointFlag)
    .option('--json', 'one JSON object with every kernel in place of the tables');
  addModelFlags(command)
    .addHelpText('after', example('ddrc profile models/ddrnet.ts --batch 16 --size 224 --threads 2'))
    .action(profile);
}

async function profile(path: string | undefined, flags: ProfileFlags): Promise<void> {
  const { batch, steps, threads, infer = false, checkpointActivations } = flags;
  if (infer && checkpointActivations) {
    const sentence = '--checkpoint-activations is for training steps, and --infer runs none';
    throw usageError(sentence, 'profile', 'leave one of them out');
  }
  const program = await openProgram(path, flags);
  const artifact = infer ? 'model' : 'step';
  const compiled = compile(program, {
    artifacts: [artifact],
    target: await targetFor('cpu', threads),
    batch,
    inferenceBatch: batch,
    checkpointActivations,
  });
  const file = `${artifact}.onnx`;
  const recorded = await record(compiled, file, { steps, threads, learningRate: program.training.learningRate });
  const times = kernelTimes(recorded, compiled.choices.get(file)!);
  const size = compiled.manifest.preprocessing[0]?.size.at(-1);
  const run: ProfiledRun = { model: program.name, graph: artifact, batch, ...(size !== undefined && { size }), threads };
  process.stdout.write(flags.json ? `${JSON.stringify({ ...run, ...times })}\n` : profileText(run, times));
}

/** Runs the file once to warm up and then `steps` times, and reads what ONNX Runtime recorded; its file is temporary. */
async function record(
  { manifest, files, initial }: Compiled,
  file: string,
  { steps, threads, learningRate }: { readonly steps: number; readonly threads: number; readonly learningRate: number },
): Promise<SessionProfile> {
  const folder = mkdtempSync(join(tmpdir(), 'ddrc-profile-'));
  const engine = new Engine({ threads });
  try {
    const session = file === 'step.onnx' ? trainingSession : inferenceSession;
    const profiling = { enableProfiling: true, profileFilePrefix: join(folder, 'run') };
    await engine.open(file, files.get(file)!, { ...session, ...profiling });
    const examples = randomFeeds(manifest, file);
    if (file === 'step.onnx') {
      const { parameters, statistics } = expectedState(manifest);
      const tensors = asTensors(initial);
      const weights = { parameters: packState(parameters, tensors), statistics: packState(statistics, tensors) };
      await engine.load(engineState(manifest, weights));
    }
    for (let count = 0; count <= steps; count++) {
      if (file === 'step.onnx') {
        const scalars = stepScalars(manifest, count, { learningRate }, 0);
        await engine.step(file, copied({ ...examples, ...scalars }), ['loss']);
      } else await engine.run(file, copied(examples));
    }
    // The record is complete once the session is gone.
    await engine.release(file);
    const [written] = readdirSync(folder);
    return readSessionProfile(readFileSync(join(folder, written), 'utf8'), 1);
  } finally {
    await engine.close();
    rmSync(folder, { recursive: true, force: true });
  }
}
