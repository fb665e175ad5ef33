import { availableParallelism } from 'node:os';
import type { Command } from 'commander';
import { type Candidate, candidates } from '../compiler/artifacts/candidates.ts';
import type { Target } from '../compiler/emit/lowering.ts';
import type { Program } from '../compiler/ir/program.ts';
import type { TensorType } from '../compiler/ir/types.ts';
import { isDdrcError } from '../diagnostics/error.ts';
import { random } from '../numeric/random.ts';
import { Engine, trainingSession } from '../runtime/engine.ts';
import { packState } from '../runtime/flat-state.ts';
import { expectedState } from '../runtime/manifest.ts';
import { createProgress } from '../runtime/progress.ts';
import { engineState, stepScalars } from '../runtime/step-inputs.ts';
import type { TensorData } from '../runtime/tensor.ts';
import { asTensors, compileTraining, targetFor } from './compile-for-device.ts';
import { example } from './example.ts';
import { copied } from './feeds.ts';
import { addModelFlags, type ModelFlags, openProgram, wholeNumber } from './flags.ts';
import { randomFeeds } from './random-feeds.ts';
import { textTable } from './text-table.ts';
import { keepTuning, type Measured, tuningFile } from './tuning.ts';

interface TuneFlags extends ModelFlags {
  readonly batch?: number;
  readonly rounds: number;
  readonly threads: number;
  readonly json?: boolean;
}

/** What is timed, and how. */
interface Setting {
  readonly target: Target;
  readonly batch: number;
  readonly threads: number;
  readonly rounds: number;
}

/** How much faster than the rules' choice another one must have been measured to take its place: less is noise. */
const worthwhile = 0.95;

/** `ddrc tune [MODEL]`: which ONNX forms are the fastest on this machine. */
export function add(program: Command): void {
  const command = program
    .command('tune')
    .description(
      "time the forms in which each operator of a training step can be written, on this machine's processor, and then whole steps; train, step, bench, profile and build --target cpu take what made the step faster, for the same batch and number of threads",
    )
    .argument('[model]', 'model file (default: models/ddrnet.ts of the package)')
    .option('--batch <n>', "examples of one step (default: the model's own)", wholeNumber(1))
    .option('--rounds <n>', 'times that each form, and each whole step, is run after one to warm up', wholeNumber(1), 7)
    .option('--threads <n>', 'threads of one operator', wholeNumber(1, 256), availableParallelism())
    .option('--json', 'one JSON object with every time in place of the table');
  addModelFlags(command).addHelpText('after', example('ddrc tune models/ddrnet.ts --batch 16 --size 224')).action(tune);
}

async function tune(path: string | undefined, flags: TuneFlags): Promise<void> {
  const { rounds, threads } = flags;
  const program = await openProgram(path, flags);
  const batch = flags.batch ?? program.training.batch;
  const target = await targetFor('cpu', threads);
  const setting = { target, batch, threads, rounds };
  const all = candidates(program, batch, target);
  if (all.length === 0) {
    const result = { batch, threads, file: null, step_ms: null, lowerings: {} };
    const sentence = `there is nothing to choose for ${program.name}: every operator of its training step has one form only`;
    process.stdout.write(`${flags.json ? JSON.stringify(result) : sentence}\n`);
    return;
  }
  // Minutes of measuring should not end at a folder that takes nothing.
  keepTuning(threads, target.block, new Map());
  const display = createProgress(process.stderr);
  const alone = new Map<string, Measured>();
  let steps: StepTimes;
  try {
    for (const candidate of all) {
      alone.set(candidate.signature, await measure(candidate, setting));
      display.count('timing operators', alone.size, all.length);
    }
    display.print('timing whole steps');
    steps = await compareSteps(program, setting, all, alone);
  } finally {
    display.end();
  }
  keepTuning(threads, target.block, steps.kept);
  const file = tuningFile(threads, target.block);
  const { rules, best } = steps;
  const result = { batch, threads, file, step_ms: { rules, best }, lowerings: Object.fromEntries(steps.kept) };
  const text = `${asText(all, steps)}\n\nkept in ${file}; remove it to go back to the rules`;
  process.stdout.write(`${flags.json ? JSON.stringify(result) : text}\n`);
}

/**
 * Medians of the times of each lowering, taken in turns so that a busy moment hits all of them. One that does not run (for want of memory) has no time; where
 * the rules' choice is such a one, it stays.
 */
async function measure({ lowerings, inputs, emit }: Candidate, { threads, rounds }: Setting): Promise<Measured> {
  const engine = new Engine({ threads });
  const times = new Map(lowerings.map((name) => [name, [] as number[]]));
  try {
    for (const name of lowerings) await unlessFailed(times, name, () => engine.open(name, emit(name), trainingSession));
    for (let round = 0; round <= rounds; round++) {
      for (const name of times.keys()) {
        const feeds = Object.fromEntries(inputs.map(({ name, type }) => [name, fill(type, name)]));
        const start = performance.now();
        const ran = await unlessFailed(times, name, () => engine.run(name, feeds));
        if (ran && round > 0) times.get(name)!.push(performance.now() - start);
      }
    }
  } finally {
    await engine.close();
  }
  const milliseconds = Object.fromEntries([...times].map(([name, list]) => [name, rounded(middle(list))]));
  const [rule] = lowerings;
  const fastest = Object.keys(milliseconds).reduce((best, name) => (milliseconds[name] < milliseconds[best] ? name : best), rule);
  return { best: milliseconds[fastest] < worthwhile * milliseconds[rule] ? fastest : rule, milliseconds };
}

/** Whether `body` went well; where the engine refused, `name` is measured no more. */
async function unlessFailed(times: Map<string, number[]>, name: string, body: () => Promise<unknown>): Promise<boolean> {
  try {
    await body();
    return true;
  } catch (error) {
    if (!isDdrcError(error) || !/^ENGINE_(FAILED|MEMORY)$/.test(error.code)) throw error;
    times.delete(name);
    return false;
  }
}

interface StepTimes {
  /** Milliseconds of a whole step by the rules, and by what is kept. */
  readonly rules: number;
  readonly best: number;
  /** The choices that made the step faster; the rules' where none did. */
  readonly kept: ReadonlyMap<string, Measured>;
}

/**
 * An operator alone is not one in a step, where neighbours share layouts and moments. So whole steps decide: by the rules, with every choice that was faster
 * alone, or with those of convolutions and matrix products only.
 */
async function compareSteps(
  program: Program,
  setting: Setting,
  all: readonly Candidate[],
  alone: ReadonlyMap<string, Measured>,
): Promise<StepTimes> {
  const rules = new Map(all.map(({ signature, lowerings }) => [signature, { ...alone.get(signature)!, best: lowerings[0] }]));
  const products = all.filter(({ isProduct }) => isProduct).map(({ signature }) => [signature, alone.get(signature)!] as const);
  const choices = [rules, alone, new Map([...rules, ...products])];
  const times = await timeSteps(program, setting, choices);
  const best = times.reduce((least, time, i) => (time < times[least] ? i : least), 0);
  const kept = times[best] < worthwhile * times[0] ? best : 0;
  return { rules: times[0], best: times[kept], kept: choices[kept] };
}

/** Medians of whole training steps with these choices, in turns. */
async function timeSteps(
  program: Program,
  { target, batch, threads, rounds }: Setting,
  choices: readonly ReadonlyMap<string, Measured>[],
): Promise<number[]> {
  const engine = new Engine({ threads });
  const times = choices.map(() => [] as number[]);
  try {
    const compiled = choices.map((choice) => {
      const tuned = new Map([...choice].map(([signature, { best }]) => [signature, best]));
      return compileTraining(program, { target: { ...target, tuned }, batch });
    });
    for (const [i, { files }] of compiled.entries()) await engine.open(String(i), files.get('step.onnx')!, trainingSession);
    const [{ manifest, initial }] = compiled;
    const { parameters, statistics } = expectedState(manifest);
    const tensors = asTensors(initial);
    const weights = { parameters: packState(parameters, tensors), statistics: packState(statistics, tensors) };
    await engine.load(engineState(manifest, weights));
    const examples = randomFeeds(manifest, 'step.onnx');
    for (let round = 0; round <= rounds; round++) {
      for (const i of choices.keys()) {
        const feeds = copied({ ...examples, ...stepScalars(manifest, round, { learningRate: 1e-4 }, 0) });
        const start = performance.now();
        await engine.step(String(i), feeds, ['loss']);
        if (round > 0) times[i].push(performance.now() - start);
      }
    }
  } finally {
    await engine.close();
  }
  return times.map((list) => rounded(middle(list)));
}

function middle(times: readonly number[]): number {
  return [...times].sort((a, b) => a - b)[Math.floor(times.length / 2)];
}

function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}

/** Numbers in [0,1); 0 for whole numbers, which may be indices. */
function fill({ dtype, shape }: TensorType, name: string): TensorData {
  const sizes = shape as number[];
  const length = sizes.reduce((product, size) => product * size, 1);
  if (dtype === 'int64') return { dtype, shape: sizes, data: new BigInt64Array(length) };
  if (dtype === 'int32') return { dtype, shape: sizes, data: new Int32Array(length) };
  if (dtype !== 'float32') return { dtype, shape: sizes, data: new Uint8Array(length) };
  return { dtype, shape: sizes, data: Float32Array.from({ length }, random(0, name)) };
}

function asText(all: readonly Candidate[], { rules, best, kept }: StepTimes): string {
  const rows = all.map(({ signature, op, scope, count, lowerings }) => {
    const { best, milliseconds } = kept.get(signature)!;
    const times = lowerings.map((name) => `${name} ${milliseconds[name]?.toFixed(2) ?? 'failed'}`).join(', ');
    return [op, scope || '(top)', String(count), best === lowerings[0] ? '' : best, times];
  });
  const head = ['operator', 'first in', 'number', 'in place of the rules’', 'ms alone by form, the rules’ choice first'];
  const table = textTable([head, ...rows], ['left', 'left', 'right', 'left', 'left']);
  const share = ((100 * best) / rules).toFixed(0);
  const sentence =
    best < rules
      ? `a step takes ${best.toFixed(0)} ms in place of ${rules.toFixed(0)} by the rules (${share} %)`
      : `a step by the rules takes ${rules.toFixed(0)} ms, and no other choice was at least ${Math.round(100 - 100 * worthwhile)} % faster: the rules stay`;
  return `${table}\n\n${sentence}`;
}
