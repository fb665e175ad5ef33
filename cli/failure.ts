import { type Command, CommanderError } from 'commander';
import { DdrcError, type ErrorCode, formatDiagnosis, isDdrcError } from '../diagnostics/error.ts';

/** Mistakes in how a command was written: flags that are wrong whatever model, data and machine it was given to work on. */
const usageCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'USAGE',
  'SCHEDULE_INVALID',
  'AUGMENT_OPTION',
  'PROVIDER_UNKNOWN',
]);

/**
 * The error for a command line that makes no sense: exit code 2.
 * @param command the command whose help says more, `build` or `data prepare`
 */
export function usageError(message: string, command: string, hint = `see ddrc ${command} --help`): DdrcError {
  return new DdrcError({ code: 'USAGE', message, hint });
}

/**
 * The command that arguments call, with its subcommand: `build`, `data prepare`; undefined where they call none.
 * @param args what follows `ddrc`
 */
export function calledCommand(program: Command, args: readonly string[]): string | undefined {
  const called = program.commands.find((command) => command.name() === args[0]);
  if (called === undefined) return undefined;
  const below = calledCommand(called, args.slice(1));
  return below === undefined ? called.name() : `${called.name()} ${below}`;
}

let reported = false;

/** Whether this process has said what went wrong. */
export function hasReported(): boolean {
  return reported;
}

/**
 * Says on stderr what went wrong, without a stack trace unless the environment has DDRC_DEBUG=1.
 * @param command the command that was called, see {@link calledCommand}; undefined where it is not known
 * @returns the exit code: 2 for wrong usage, 1 for any other failure, 0 where commander only showed a help text or the version
 */
export function reportFailure(error: unknown, command?: string): number {
  reported = true;
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0;
    // Called without a command: commander has shown the help.
    if (error.code === 'commander.help') return 2;
    return say(commanderDiagnosis(error, command), error);
  }
  return isDdrcError(error) ? say(error, error) : say(null, error);
}

function say(diagnosis: Pick<DdrcError, 'code' | 'message' | 'notes' | 'hint' | 'where'> | null, error: unknown): number {
  const text = diagnosis ? formatDiagnosis(diagnosis) : defectText(error);
  const debug = process.env.DDRC_DEBUG === '1' ? `\n${stackOf(error)}` : '';
  process.stderr.write(`${text}${debug}\n`);
  return diagnosis && usageCodes.has(diagnosis.code) ? 2 : 1;
}

function commanderDiagnosis({ message }: CommanderError, command: string | undefined): DdrcError {
  const [first, second = ''] = message.replace(/^error: /, '').split('\n');
  const close = /^\(Did you mean (?:one of )?(.+?)\?\)$/.exec(second);
  const sentence = first.replaceAll(/'(-[^']*)'/g, '$1');
  const hint = command ? undefined : 'ddrc --help lists the commands';
  return usageError(close ? `${sentence}, did you mean ${close[1]}?` : sentence, command ?? '', hint);
}

function defectText(error: unknown): string {
  const what = error instanceof Error ? `${error.name}: ${error.message.split('\n')[0]}` : String(error);
  return `${what}\n  this is a defect of ddrc, please report it\n  hint: set DDRC_DEBUG=1 to see where it happened`;
}

function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return '';
  const cause = error.cause === undefined ? '' : `\ncaused by ${stackOf(error.cause) || String(error.cause)}`;
  return `${error.stack ?? error.message}${cause}`;
}
