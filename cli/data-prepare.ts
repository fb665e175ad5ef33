import { type Command, InvalidArgumentError } from 'commander';
import { counted } from '../diagnostics/counted.ts';
import type { Division } from '../runtime/data/division.ts';
import { readListing } from '../runtime/data/layout.ts';
import type { Listing } from '../runtime/data/listing.ts';
import { type Preparation, type Prepared, prepare } from '../runtime/data/prepare.ts';
import { relativesOf } from '../runtime/data/relatives.ts';
import { defaultFraction } from '../runtime/data/split.ts';
import { createProgress } from '../runtime/progress.ts';
import { example } from './example.ts';
import { usageError } from './failure.ts';
import { addRequired, list, oneOf, wholeNumber } from './flags.ts';
import { onInterrupt } from './interrupt.ts';
import { grouped } from './quantity.ts';
import { shown } from './shown-path.ts';
import { textTable } from './text-table.ts';

interface PrepareFlags {
  readonly out: string;
  readonly by?: Division['by'];
  readonly pool?: readonly string[];
  readonly test?: number;
  readonly val?: number;
  readonly folds?: number;
  readonly seed: number;
  readonly json?: boolean;
}

/** `ddrc data prepare DIR --out DIR`: writes a manifest of the images and of their division. */
export function addPrepare(data: Command): void {
  const command = data
    .command('prepare')
    .description('divide a data set and write a manifest, which train takes as --data; the images stay where they are')
    .argument('<data>', 'folder of class folders, C-NMC 2019, or CSV path,label[,split][,group][,original][,hash]');
  addRequired(
    command,
    '--out <folder>',
    'where manifest.csv and prepared.json go: a new or empty folder, or one that prepare has written',
  )
    .option(
      '--by <what>',
      "given (the data's own splits), group (no group in two splits; originals serve as groups where none are known), or image (default: given where the data have splits and neither --pool, --test nor --folds is there; else group where groups or originals are known)",
      oneOf('given', 'group', 'image'),
    )
    .option('--pool <a,b>', 'splits of the data to put together and divide anew; the others are left out', list)
    .option('--test <fraction>', 'of the pool for testing, or none (default: 0.15, where images are divided anew)', fraction)
    .option(
      '--val <fraction>',
      'of the pool (with --folds: of the other folds) for validation, or none (default: none)',
      fraction,
    )
    .option('--folds <k>', 'k folds for cross-validation: fold-0.csv … have one of them as the test each', wholeNumber(2, 1000))
    .option('--seed <n>', 'seed of the division', wholeNumber(0), 0)
    .option('--json', 'one JSON object in place of the text')
    .addHelpText(
      'after',
      example(
        'ddrc data prepare images --out data --by group --test 0.15 --val 0.15',
        'ddrc data prepare images --out leaky --pool TRAIN,TEST,TEST_SIMPLE --by image --test 0.3',
        'ddrc data prepare images --out folds --folds 5',
        'ddrc train --data data/manifest.csv',
      ),
    )
    .action(prepareData);
}

function fraction(text: string): number {
  if (text.toLowerCase() === 'none') return 0;
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (!(value > 0 && value < 1)) throw new InvalidArgumentError('It must be a fraction between 0 and 1, or none.');
  return value;
}

async function prepareData(path: string, { out, json, ...flags }: PrepareFlags): Promise<void> {
  const display = createProgress(process.stderr);
  const giveBack = onInterrupt((exitCode) => {
    display.end();
    process.exit(exitCode);
  });
  try {
    const listing = readListing(path);
    const preparation = preparationOf(listing, flags);
    const prepared = await prepare(listing, preparation, out, (done, total) => display.count('reading images', done, total));
    display.end();
    for (const note of [...listing.notes, ...prepared.notes]) process.stderr.write(`${note}\n`);
    process.stdout.write(json ? `${JSON.stringify(prepared)}\n` : preparedText(prepared, out));
  } finally {
    display.end();
    giveBack();
  }
}

/** What the flags ask for; where they leave it open, what the data suggest. */
function preparationOf(listing: Listing, { by, pool, test, val, folds, seed }: Omit<PrepareFlags, 'out' | 'json'>): Preparation {
  const anew = pool !== undefined || (test ?? 0) > 0 || folds !== undefined || listing.splits.length === 0;
  const suggested = !anew ? 'given' : relativesOf(listing).known ? 'group' : 'image';
  const how = by ?? suggested;
  const rest = { ...(pool && { pool }), ...(val !== undefined && { val }), seed };
  if (folds === undefined) return { by: how, ...rest, ...(anew && how !== 'given' && { test: test ?? defaultFraction }) };
  if (test !== undefined)
    throw usageError('--test and --folds contradict each other: each fold is the test once', 'data prepare', 'give one of them');
  if (how === 'given')
    throw usageError('--folds divides anew, so --by given has no meaning', 'data prepare', 'give --by group or --by image');
  return { by: how, folds, ...rest };
}

function preparedText({ images, files, classes }: Prepared, out: string): string {
  const tables = Object.entries(files).map(([name, { images, groups, originals }]) => {
    const known = Object.entries({ groups, originals }).flatMap(([what, counts]) => (counts === null ? [] : [{ what, counts }]));
    const rows = Object.keys(images).map((split) => [
      split,
      ...classes.map((label) => grouped(images[split][label])),
      grouped(sum(images[split])),
      ...known.map(({ counts }) => grouped(counts[split])),
    ]);
    const head = [
      name === 'manifest.csv' && Object.keys(files).length > 1 ? 'fold' : 'split',
      ...classes,
      'images',
      ...known.map(({ what }) => what),
    ];
    return `${name}\n${textTable(
      [head, ...rows],
      head.map((_, i) => (i === 0 ? 'left' : 'right')),
    )}`;
  });
  return `${shown(out)}: ${counted(images, 'image')}\n\n${tables.join('\n\n')}\n`;
}

function sum(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((a, b) => a + b, 0);
}
