import { type Command, Option } from 'commander';
import { createProgress } from '../runtime/progress.ts';
import { type RangePoint, type RangeSuggestion, type RangeTest, rangeTest, suggestRates } from '../runtime/range-test.ts';
import { example } from './example.ts';
import { usageError } from './failure.ts';
import { addModelFlags, decimal, list, oneOf, wholeNumber } from './flags.ts';
import { textTable } from './text-table.ts';
import { prepareTraining, type TrainFlags } from './train-prepare.ts';
import { startOf } from './train-run.ts';
import { describeParts } from './training-data.ts';

/** The flags of `ddrc lr`: those of a training that have a say in its first steps. */
interface LrFlags extends TrainFlags {
  readonly steps: number;
  readonly from: number;
  readonly to: number;
}

/** How many rows the chart has at most, and how wide its bars are. */
const chart = { rows: 24, width: 40 } as const;

/** `ddrc lr [MODEL]`: which learning rates a training could take, by Smith's range test. */
export function add(program: Command): void {
  const command = program
    .command('lr')
    .description('try learning rates that grow from step to step, and say which suit a training; nothing is written')
    .argument('[model]', 'model file (default: models/ddrnet.ts of the package)')
    .option('--data <path>', 'folder of class folders, CSV path,label[,split][,group], or safetensors file of arrays')
    .option(
      '--val <part>',
      'validation, which is left out: a fraction of the training data, none, or the name of a split (default: 0.15)',
    )
    .option('--steps <n>', 'how many rates to try', wholeNumber(20), 100)
    .option('--from <rate>', 'the first rate', decimal(0), 1e-7)
    .option('--to <rate>', 'the last rate', decimal(0), 1)
    .option('--batch <n>', "examples of one step (default: the model's)", wholeNumber(1))
    .option('--optimizer <text>', 'adam, adamw:decay=0.01, sgd:momentum=0.9,nesterov=true, rmsprop')
    .option('--clip <norm>', 'largest global norm of the gradient; 0 does not clip', decimal(0, true))
    .option('--class-weights <text>', 'weight of each class: balanced, or CLASS=W,CLASS=W (others: 1)')
    .option('--freeze <a,b,c>', 'parameters, or scopes of them, that training leaves as they are', list)
    .option('--seed <n>', 'seed of weights, order, augmentation and dropout (default: 0)', wholeNumber(0))
    .option('--augment <text>', 'none, or settings as train takes them')
    .option('--mixup <alpha>', 'as train takes it', decimal(0))
    .option('--cutmix <alpha>', 'as train takes it', decimal(0))
    .option('--weights <file>', 'safetensors file of parameters to start from')
    .option('--reset-head', 'with --weights: initialise anew what has another shape in the file')
    .option('--device <name>', 'auto, cpu, cuda or webgpu (default: auto)')
    .option('--threads <n>', 'threads of one operator (default: one for each processor)', wholeNumber(1, 256))
    .addOption(
      new Option('--on-bad-image <what>', 'stop at an image that cannot be read, or leave it out (default: stop)').argParser(
        oneOf('stop', 'skip'),
      ),
    )
    .option('--cache <folder>', "folder for decoded images, or none (default: the user's cache folder)")
    .option('--json', 'one JSON object on stdout in place of the text');
  addModelFlags(command)
    .addHelpText(
      'after',
      example('ddrc lr --data images --size 96 --batch 64', 'ddrc lr model.ts --data images --steps 200 --from 1e-5'),
    )
    .action(findRate);
}

async function findRate(path: string | undefined, { steps, from, to, ...flags }: LrFlags): Promise<void> {
  if (from >= to) throw usageError(`the rates cannot grow from ${from} to ${to}`, 'lr', 'give a --to above --from');
  const prepared = await prepareTraining(path, { ...flags, schedule: 'constant', loop: 1 });
  const { source, settings, compiled, program } = prepared;
  const display = createProgress(process.stderr);
  try {
    display.print(`${program.name}  ${describeParts(source)}`);
    const weights = startOf(prepared, false, (line) => display.print(line));
    const { parts, close } = await source.load(['train'], {
      cache: flags.cache ?? null,
      onBadImage: settings.data.onBadImage,
      onProgress: (what, done, total) => display.count(what, done, total),
    });
    try {
      const { batch, seed, augmentation, mix, provider, threads } = settings;
      const { manifest, files } = compiled;
      const tried = await rangeTest({
        ...{
          manifest,
          files,
          weights,
          data: parts.train!,
          batch,
          seed,
          augmentation,
          mix,
          steps,
          rates: [from, to],
          provider,
          threads,
        },
        onStep: (done, total) => display.count('trying rates', done, total),
      });
      display.end();
      const suggestion = suggestRates(tried.points, steps);
      process.stdout.write(
        flags.json ? `${JSON.stringify({ ...suggestion, ...tried })}\n` : textOf(tried, suggestion, steps, augmentation !== null),
      );
    } finally {
      await close();
    }
  } finally {
    display.end();
  }
}

const ends = {
  diverged: 'the loss had grown beyond four times its lowest',
  notFinite: 'the next loss was no finite number',
};

/** Why there is no suggestion. @param varied whether images are augmented */
function lackOf(lacking: 'points' | 'fall', varied: boolean): string {
  if (lacking === 'points') return 'these are too few to suggest a rate from: try more --steps, or a lower --to';
  const ways = varied ? 'more --steps, a larger --batch or --augment none' : 'more --steps or a larger --batch';
  return `the loss fell no further than it varies from batch to batch: try ${ways}`;
}

/** How a range test ended; nothing where all rates were tried and nothing happened. */
export function endOf({ points, end }: Pick<RangeTest, 'points' | 'end'>, steps: number): string[] {
  if (end === 'complete') return [];
  const early = points.length < steps ? `ended after ${points.length} of ${steps} rates` : `at the last of ${steps} rates`;
  return [`${early}: ${ends[end]}`];
}

/**
 * The losses that bars are drawn between: from the lowest to the largest before it; where that fall is less than a quarter of how far the losses lie apart, to the
 * largest of all. The loss that ended a test by divergence does not count.
 */
export function scaleOf(
  points: readonly Pick<RangePoint, 'smoothed'>[],
  end: RangeTest['end'],
): readonly [low: number, high: number] {
  const losses = points.slice(0, end === 'diverged' && points.length > 1 ? -1 : undefined).map(({ smoothed }) => smoothed);
  const low = Math.min(...losses);
  const before = Math.max(...losses.slice(0, losses.indexOf(low) + 1));
  const largest = Math.max(...losses);
  return [low, 4 * (before - low) >= largest - low ? before : largest];
}

/** A row for each few steps: the rate, the smoothed loss as a number and as a bar, see {@link scaleOf}. */
function textOf(tried: RangeTest, { lacking, steepest, tenthOfLowest }: RangeSuggestion, steps: number, varied: boolean): string {
  const { points, end } = tried;
  const every = Math.ceil(points.length / chart.rows);
  const rows = points.filter((_, i) => i % every === 0 || i === points.length - 1);
  const [low, high] = scaleOf(points, end);
  const bar = (loss: number) => {
    const share = (loss - low) / Math.max(high - low, Number.MIN_VALUE);
    return share > 1.02 ? `${'#'.repeat(chart.width)}+` : '#'.repeat(Math.round(Math.min(1, share) * chart.width));
  };
  const table = textTable(
    [['rate', 'loss', ''], ...rows.map(({ rate, smoothed }) => [rate.toExponential(1), smoothed.toPrecision(4), bar(smoothed)])],
    ['right', 'right', 'left'],
  );
  const said =
    lacking !== null
      ? [lackOf(lacking, varied)]
      : [
          `steepest fall at ${steepest!.toExponential(1)}, a tenth of the rate of the lowest loss ${tenthOfLowest!.toExponential(1)}`,
          `try --lr ${tenthOfLowest!.toExponential(0)}, constant or as the peak of --schedule one-cycle`,
        ];
  return `${[table, ...endOf(tried, steps), ...said].join('\n')}\n`;
}
