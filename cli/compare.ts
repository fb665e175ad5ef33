import { resolve } from 'node:path';
import type { Command } from 'commander';
import { writeFileAtomic } from '../runtime/files.ts';
import { example } from './example.ts';
import { usageError } from './failure.ts';
import { type Comparison, compareRuns } from './report/comparison.ts';
import { comparisonPage } from './report/comparison-page.ts';
import { figureRows } from './report/comparison-rows.ts';
import { readRun } from './report/run-record.ts';
import { textTable } from './text-table.ts';

interface CompareFlags {
  readonly out?: string;
  readonly json?: boolean;
}

/** `ddrc compare RUN RUN…`: runs side by side. */
export function add(program: Command): void {
  program
    .command('compare')
    .description('put runs side by side: the settings that differ, figures of training, validation and test, time, parameters')
    .argument('<runs...>', 'two or more run folders of ddrc train, complete or not')
    .option('--out <file>', 'also write a page with their curves laid over each other')
    .option('--json', 'one JSON object {runs, settings, notes} in place of the tables')
    .addHelpText('after', example('ddrc compare runs/ddrnet-1 runs/ddrnet-2', 'ddrc compare runs/* --out compare.html'))
    .action(compare);
}

async function compare(folders: readonly string[], { out, json }: CompareFlags): Promise<void> {
  if (folders.length < 2) throw usageError('one run is compared with nothing', 'compare', 'name two runs or more');
  const twice = folders.find((folder, i) => folders.findIndex((other) => resolve(other) === resolve(folder)) < i);
  if (twice !== undefined) throw usageError(`${twice} is named twice`, 'compare', 'name each run once');
  const records = folders.map((folder) => readRun(folder));
  const comparison = await compareRuns(records, folders);
  if (out !== undefined) writeFileAtomic(out, comparisonPage(records, comparison));
  process.stdout.write(json ? `${JSON.stringify(comparison)}\n` : asText(comparison));
}

function asText({ runs, settings, notes }: Comparison): string {
  const head = ['', ...runs.map(({ run }) => run)];
  const align = (side: 'left' | 'right') => ['left' as const, ...runs.map(() => side)];
  const figures = textTable([head, ...figureRows(runs)], align('right'));
  const different = Object.entries(settings).map(([name, values]) => [name, ...values]);
  const rows =
    different.length > 0
      ? textTable([['settings that differ', ...head.slice(1)], ...different], align('left'))
      : 'no settings differ';
  return [figures, '', rows, ...(notes.length > 0 ? ['', ...notes] : []), ''].join('\n');
}
