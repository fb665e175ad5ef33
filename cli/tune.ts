import { availableParallelism } from 'node:os';
import type { Command } from 'commander';
import { type Candidate, candidates } from '../compiler/artifacts/candidates.ts';
import type { TensorType } from '../compiler/ir/types.ts';
import { random } from '../numeric/random.ts';
import { Engine, trainingSession } from '../runtime/engine.ts';
import { createProgress } from '../runtime/progress.ts';
import type { TensorData } from '../runtime/tensor.ts';
import { targetFor } from './compile-for-device.ts';
import { example } from './example.ts';
import { addModelFlags, type ModelFlags, openProgram, wholeNumber } from './flags.ts';
import { textTable } from './text-table.ts';
import { keepTuning, type Measured, tuningFile } from './tuning.ts';

interface TuneFlags extends ModelFlags {
  readonly batch?: number;
  readonly rounds: number;
  readonly threads: number;
  readonly json?: boolean;
}

/** How much faster than the rules' choice another lowering must have been measured to take its place: less is noise. */
const worthwhile = 0.95;

/** `ddrc tune [MODEL]`: which ONNX forms are the fastest on this machine. */
export function add(program: Command): void {
  const command = program
    .command('tune')
    .description(
      "time the forms in which each operator of a training step can be written, on this machine's processor; train, bench, profile and build --target cpu take the fastest from then on",
    )
    .argument('[model]', 'model file (default: models/ddrnet.ts of the package)')
    .option('--batch <n>', "examples of one step (default: the model's own)", wholeNumber(1))
    .option('--rounds <n>', 'times that each form is run, after one to warm up', wholeNumber(1), 7)
    .option('--threads <n>', 'threads of one operator', wholeNumber(1, 256), availableParallelism())
    .option('--json', 'one JSON object with every time in place of the table');
  addModelFlags(command).addHelpText('after', example('ddrc tune models/ddrnet.ts --batch 16 --size 224')).action(tune);
}

async function tune(path: string | undefined, flags: TuneFlags): Promise<void> {
  const { rounds, threads } = flags;
  const program = await openProgram(path, flags);
  const batch = flags.batch ?? program.training.batch;
  const target = await targetFor('cpu', threads);
  const all = candidates(program, batch, target);
  const display = createProgress(process.stderr);
  const measured = new Map<string, Measured>();
  try {
    for (const candidate of all) {
      measured.set(candidate.signature, await measure(candidate, threads, rounds));
      display.count('timing operators', measured.size, all.length);
    }
  } finally {
    display.end();
  }
  keepTuning(threads, target.block, measured);
  const file = tuningFile(threads, target.block);
  if (flags.json) process.stdout.write(`${JSON.stringify({ batch, threads, file, lowerings: Object.fromEntries(measured) })}\n`);
  else process.stdout.write(`${asText(all, measured)}\n\nkept in ${file}; remove it to go back to the rules\n`);
}

/** Medians of the times of each lowering, taken in turns so that a busy moment hits all of them. */
async function measure({ lowerings, inputs, emit }: Candidate, threads: number, rounds: number): Promise<Measured> {
  const engine = new Engine({ threads });
  try {
    for (const name of lowerings) await engine.open(name, emit(name), trainingSession);
    const times = new Map(lowerings.map((name) => [name, [] as number[]]));
    for (let round = 0; round <= rounds; round++) {
      for (const name of lowerings) {
        const feeds = Object.fromEntries(inputs.map(({ name, type }) => [name, fill(type, name)]));
        const start = performance.now();
        await engine.run(name, feeds);
        if (round > 0) times.get(name)!.push(performance.now() - start);
      }
    }
    const medians = [...times].map(([name, list]) => [name, middle(list)] as const);
    const [rule] = medians;
    const fastest = medians.reduce((best, one) => (one[1] < best[1] ? one : best));
    const best = fastest[1] < worthwhile * rule[1] ? fastest : rule;
    return { best: best[0], milliseconds: Object.fromEntries(medians.map(([name, ms]) => [name, Math.round(ms * 1000) / 1000])) };
  } finally {
    await engine.close();
  }
}

function middle(times: readonly number[]): number {
  return [...times].sort((a, b) => a - b)[Math.floor(times.length / 2)];
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

function asText(all: readonly Candidate[], measured: ReadonlyMap<string, Measured>): string {
  const rows = all
    .map(({ signature, op, scope, count, lowerings }) => {
      const { best, milliseconds } = measured.get(signature)!;
      const saved = count * (milliseconds[lowerings[0]] - milliseconds[best]);
      const times = lowerings.map((name) => `${name} ${milliseconds[name].toFixed(2)}`).join(', ');
      return { saved, cells: [op, scope || '(top)', String(count), best, best === lowerings[0] ? '' : saved.toFixed(2), times] };
    })
    .sort((a, b) => b.saved - a.saved);
  const total = rows.reduce((sum, { saved }) => sum + saved, 0);
  const table = textTable(
    [
      ['operator', 'first in', 'number', 'taken', 'ms saved', 'ms by form, the rules’ choice first'],
      ...rows.map(({ cells }) => cells),
    ],
    ['left', 'left', 'right', 'left', 'right', 'left'],
  );
  return `${table}\n\n${total.toFixed(1)} ms less a step than by the rules, by these times`;
}
