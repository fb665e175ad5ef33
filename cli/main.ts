#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { addBuild } from './build.ts';
import { addDoctor } from './doctor.ts';
import { reportFailure } from './failure.ts';
import { example } from './flags.ts';
import { addInit } from './init.ts';
import { addSummary } from './summary.ts';

// A mistake in a model may lie below many scopes, and its line is looked for in the stack.
Error.stackTraceLimit = 100;

const { version, description } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));

// A reader that has seen enough (`ddrc summary | head`) is no failure, and no reason to stop what is being written elsewhere.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') process.exit(1);
  });
}
process.on('uncaughtException', (error) => process.exit(reportFailure(error)));
process.on('unhandledRejection', (error) => process.exit(reportFailure(error)));

const program = new Command('ddrc')
  .description(description)
  .version(version, '--version', 'show the version')
  .exitOverride()
  .configureOutput({ outputError: () => {} })
  .addHelpText('after', example('ddrc build models/ddrnet.ts --out build/ddrnet'));

for (const add of [addInit, addBuild, addSummary, addDoctor]) add(program);

try {
  await program.parseAsync();
} catch (error) {
  const called = program.commands.find((command) => command.name() === process.argv[2]);
  process.exitCode = reportFailure(error, called?.name());
}
