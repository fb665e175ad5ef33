import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { DdrcError } from '../diagnostics/error.ts';
import { writeFileAtomic } from '../runtime/files.ts';
import type { RunPaths } from '../runtime/runfolder.ts';
import { example } from './example.ts';
import { wholeNumber } from './flags.ts';
import { reportPage } from './report/report-page.ts';
import { type RunRecord, readRun } from './report/run-record.ts';
import { shown } from './shown-path.ts';

/** `ddrc report RUN`: what a training came to, as one page. */
export function add(program: Command): void {
  program
    .command('report')
    .description(
      'write report.html of a run, as train does at its end: curves, confusion matrix, wrong images; one file that opens offline',
    )
    .argument('<run>', 'run folder of ddrc train, also one that is still trained into, or was stopped')
    .option('--data <path>', 'where the images of the run are now, as train takes it, if they have been moved')
    .option('--out <file>', 'where the page goes (default: report.html in the run folder)')
    .option('--threads <n>', 'threads of one operator (default: one for each processor)', wholeNumber(1, 256))
    .addHelpText('after', example('ddrc report runs/ddrnet-1'))
    .action(report);
}

interface ReportFlags {
  readonly data?: string;
  readonly out?: string;
  readonly threads?: number;
}

async function report(folder: string, { data, out, threads }: ReportFlags): Promise<void> {
  const run = readRun(folder);
  const file = out ?? run.paths.report;
  const { page, missing } = await reportPage(data === undefined ? run : withData(run, data), threads);
  writeFileAtomic(file, page);
  for (const note of missing) process.stderr.write(`note    ${note}\n`);
  process.stdout.write(`${shown(file)}\n`);
}

/** The run with its images in another place. */
function withData(run: RunRecord, data: string): RunRecord {
  const path = resolve(data);
  if (existsSync(path)) return { ...run, settings: { ...run.settings, data: { ...run.settings.data, path } } };
  throw new DdrcError({ code: 'DATA_MISSING', message: `there is no ${path}`, where: '--data', hint: 'check the path' });
}

/**
 * Writes the report of a run that this process has trained into.
 * @param threads of one operator, for Grad-CAM; by default one for each processor
 * @returns a sentence where it could not be written, which is no reason for a training to fail; otherwise null
 */
export async function writeReport({ folder, report }: RunPaths, threads?: number): Promise<string | null> {
  try {
    writeFileAtomic(report, (await reportPage(readRun(folder, true), threads)).page);
    return null;
  } catch (error) {
    return `report.html was not written: ${error instanceof Error ? error.message : String(error)}`;
  }
}
