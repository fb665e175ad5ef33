import type { codes } from './codes.ts';

/** A stable name for one kind of mistake; `docs/errors.md` lists them all. */
export type ErrorCode = keyof typeof codes;

/** One more line under the sentence: a label and what it says, as in `input  [N,32,56,56]  drdb.2.relu`. */
export interface Note {
  readonly label: string;
  readonly text: string;
}

export interface Diagnosis {
  readonly code: ErrorCode;
  /** One sentence that says what is wrong; for a shape mistake it is the sentence of the type error. */
  readonly message: string;
  readonly notes?: readonly Note[];
  /** What to do about it. */
  readonly hint?: string;
  /** Where it is: a file, a line of a file, a scope path, an operator. */
  readonly where?: string;
  readonly cause?: unknown;
}

/** The one class of error for users: data in, text made in {@link formatDiagnosis}. */
export class DdrcError extends Error implements Diagnosis {
  readonly code: ErrorCode;
  readonly notes: readonly Note[];
  readonly hint: string | undefined;
  readonly where: string | undefined;

  constructor(diagnosis: Diagnosis) {
    // The line of a model file that made the mistake lies below ddrc's own calls, often deeper than the ten that V8 keeps.
    const engine = Error as { stackTraceLimit?: number };
    const { stackTraceLimit } = engine;
    if (stackTraceLimit !== undefined) engine.stackTraceLimit = Math.max(stackTraceLimit, 100);
    super(diagnosis.message, diagnosis.cause === undefined ? undefined : { cause: diagnosis.cause });
    if (stackTraceLimit !== undefined) engine.stackTraceLimit = stackTraceLimit;
    this.name = 'DdrcError';
    this.code = diagnosis.code;
    this.notes = diagnosis.notes ?? [];
    this.hint = diagnosis.hint;
    this.where = diagnosis.where;
  }
}

/**
 * Whether `error` is a {@link DdrcError}, also one made by another copy of this module
 * (a worker thread's, or a model file's own installation of ddrc).
 */
export function isDdrcError(error: unknown): error is DdrcError {
  return error instanceof Error && error.name === 'DdrcError' && 'code' in error;
}

/** The text of a diagnosis: code and sentence, aligned notes, place, hint; a line each. */
export function formatDiagnosis(error: Diagnosis): string {
  const lines = [`${error.code}  ${error.message}`];
  const width = Math.max(0, ...(error.notes ?? []).map((note) => note.label.length));
  for (const note of error.notes ?? []) lines.push(`  ${note.label.padEnd(width)}  ${note.text}`);
  if (error.where) lines.push(`  at ${error.where}`);
  if (error.hint) lines.push(`  hint: ${error.hint}`);
  return lines.join('\n');
}
