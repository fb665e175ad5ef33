import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { checkout, type Outcome } from './ddrc.ts';

/**
 * Runs several commands one after the other in one process, each as `ddrc` would: a process of its own for every refusal would take most of a test's time.
 * @param calls the arguments of each, the command first
 */
export function ddrcInOneProcess(calls: readonly (readonly string[])[], cwd: string): Promise<Outcome[]> {
  const from = (name: string) => JSON.stringify(pathToFileURL(join(checkout, 'dist', 'cli', name)).href);
  const code = `
    import { Command } from ${JSON.stringify(import.meta.resolve('commander'))};
    import { calledCommand, reportFailure } from ${from('failure.js')};
    const outcomes = [];
    const real = process.stdout.write.bind(process.stdout);
    for (const args of ${JSON.stringify(calls)}) {
      const outcome = { code: 0, stdout: '', stderr: '' };
      for (const name of ['stdout', 'stderr']) process[name].write = (text) => (outcome[name] += text) !== null;
      const program = new Command('ddrc').exitOverride().configureOutput({ outputError: () => {} });
      process.exitCode = 0;
      try {
        (await import(new URL(args[0] + '.js', ${from('x')}).href)).add(program);
        await program.parseAsync(args, { from: 'user' });
        outcome.code = process.exitCode;
      } catch (error) {
        outcome.code = reportFailure(error, calledCommand(program, args));
      }
      outcomes.push(outcome);
    }
    process.exitCode = 0;
    real(JSON.stringify(outcomes));`;
  // From a file: worker threads inherit the flags of a program that is given as text.
  const script = join(mkdtempSync(join(tmpdir(), 'ddrc-calls-')), 'calls.mjs');
  writeFileSync(script, code);
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [script], { cwd, maxBuffer: 2 ** 26 }, (error, stdout, stderr) => {
      rmSync(dirname(script), { recursive: true });
      if (error) reject(new Error(`${error.message}\n${stderr}`));
      else resolve(JSON.parse(stdout));
    });
  });
}
