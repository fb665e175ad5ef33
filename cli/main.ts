#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { DdrcError } from '../diagnostics/error.ts';
import { example } from './example.ts';
import { endWithParent } from './experiment/ddrc-process.ts';
import { calledCommand, reportFailure } from './failure.ts';
import { packageRoot } from './project.ts';

/** The commands, each in the file of its name; in the order of the help text. */
const commands: Readonly<Record<string, () => Promise<{ readonly add: (program: Command) => void }>>> = {
  init: () => import('./init.ts'),
  build: () => import('./build.ts'),
  summary: () => import('./summary.ts'),
  data: () => import('./data.ts'),
  lr: () => import('./lr.ts'),
  train: () => import('./train.ts'),
  eval: () => import('./eval.ts'),
  predict: () => import('./predict.ts'),
  explain: () => import('./explain.ts'),
  report: () => import('./report.ts'),
  compare: () => import('./compare.ts'),
  verify: () => import('./verify.ts'),
  web: () => import('./web.ts'),
  serve: () => import('./serve.ts'),
  step: () => import('./step.ts'),
  convert: () => import('./convert.ts'),
  bench: () => import('./bench.ts'),
  profile: () => import('./profile.ts'),
  experiment: () => import('./experiment.ts'),
  tune: () => import('./tune.ts'),
  doctor: () => import('./doctor.ts'),
};

// A mistake in a model may lie below many scopes, and its line is looked for in the stack.
Error.stackTraceLimit = 100;

const { version, description } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8'));

// A reader that has seen enough (`ddrc summary | head`) is no failure, and no reason to stop what is being written elsewhere.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') return;
    if (stream === process.stderr) process.exit(1);
    const message = `standard output cannot be written (${error.code})`;
    const hint = 'look at where it is redirected to';
    process.exit(reportFailure(new DdrcError({ code: 'OUTPUT_UNWRITABLE', message, hint, cause: error })));
  });
}
process.on('uncaughtException', (error) => process.exit(reportFailure(error)));
process.on('unhandledRejection', (error) => process.exit(reportFailure(error)));
endWithParent();

const program = new Command('ddrc')
  .description(description)
  .version(version, '--version', 'show the version')
  .exitOverride()
  .configureOutput({ outputError: () => {} })
  .addHelpText('after', example('ddrc build models/ddrnet.ts --out build/ddrnet'));

try {
  // Only the command that is called is loaded; the others are when a help text lists them.
  const called = Object.keys(commands).find((name) => name === process.argv[2]);
  for (const name of called ? [called] : Object.keys(commands)) (await commands[name]()).add(program);
  await program.parseAsync();
} catch (error) {
  process.exitCode = reportFailure(error, calledCommand(program, process.argv.slice(2)));
}
