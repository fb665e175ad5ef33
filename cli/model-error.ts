import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DdrcError, isDdrcError } from '../diagnostics/error.ts';
import { suggestion } from '../diagnostics/suggest.ts';
import * as language from '../dsl/index.ts';
import { pathOf, shown } from './shown-path.ts';

/** The folder that holds ddrc's own compiled code: lines of a stack in it are not the model author's. */
const own = fileURLToPath(new URL('..', import.meta.url));

/**
 * What to say of an error that came while a model file was loaded or its graph was built: syntax, imports and exceptions become a
 * {@link DdrcError} that names the file and the line; what has no line in the author's files comes back unchanged.
 */
export function modelError(error: unknown, file: string): unknown {
  if (isDdrcError(error)) return placed(error, file);
  if (!(error instanceof Error)) {
    return new DdrcError({
      code: 'MODEL_FAILED',
      message: `the model file threw ${String(error)}, which is not an Error`,
      where: shown(file),
    });
  }
  return syntaxError(error) ?? importError(error, file) ?? thrownError(error);
}

/** A mistake that no line of the author's files led to is the file's as a whole. */
function placed(error: DdrcError, file: string): DdrcError {
  const { code, message, notes, hint, where, cause } = error;
  const inGraph = where?.startsWith('scope ');
  const ours = where === undefined || inGraph || resolve(where).startsWith(own);
  const place = inGraph ? `${shown(file)}, ${where}` : shown(file);
  return ours ? new DdrcError({ code, message, notes, hint, where: place, cause }) : error;
}

/** esbuild's message: `/a/model.ts:2:18: ERROR: Unexpected ";"`; Node's own: `/a/model.js:3` before the sentence. */
function syntaxError(error: Error): DdrcError | null {
  const transform = /^(.+):(\d+):(\d+): ERROR: (.+)$/m.exec(error.message);
  if (error.name === 'TransformError' && transform) {
    const [, file, line, column, sentence] = transform;
    return new DdrcError({
      code: 'MODEL_SYNTAX',
      message: sentence,
      where: `${shown(file)}:${line}:${Number(column) + 1}`,
      cause: error,
    });
  }
  if (error.name !== 'SyntaxError' || /does not provide an export named/.test(error.message)) return null;
  return new DdrcError({ code: 'MODEL_SYNTAX', message: error.message, where: headOf(error) ?? placeIn(error), cause: error });
}

function importError(error: Error, file: string): DdrcError | null {
  const name = /The requested module '(.+)' does not provide an export named '(.+)'/.exec(error.message);
  if (name) {
    const [, from, missing] = name;
    const close = /^ddrc$|\/dsl\/index\.js/.test(from) ? suggestion(missing, Object.keys(language)) : '';
    return new DdrcError({
      code: 'MODEL_IMPORT',
      message: `${from} has no export ${missing}${close}`,
      where: headOf(error) ?? shown(file),
      hint: 'types are imported with the word type: import { type Tensor } from "ddrc"',
      cause: error,
    });
  }
  const code = 'code' in error ? String(error.code) : '';
  const lost = /^Cannot find (module|package) '(.+?)'(?: imported from (.+))?$/m.exec(error.message);
  if (lost && /MODULE_NOT_FOUND$/.test(code)) {
    const [, kind, target, importer = file] = lost;
    return new DdrcError({
      code: 'MODEL_IMPORT',
      message: kind === 'package' ? `there is no package ${target}` : `there is no file ${shown(target)}`,
      where: shown(importer),
      hint: kind === 'package' ? `install it beside the model file: npm install ${target}` : 'check the path of the import',
      cause: error,
    });
  }
  if (!/^ERR_(PACKAGE_PATH_NOT_EXPORTED|UNSUPPORTED|UNKNOWN|INVALID_MODULE)/.test(code)) return null;
  return new DdrcError({ code: 'MODEL_IMPORT', message: firstLine(error), where: placeIn(error) ?? shown(file), cause: error });
}

function thrownError(error: Error): Error {
  const where = placeIn(error);
  if (!where) return error;
  return new DdrcError({
    code: 'MODEL_FAILED',
    message: `the model file threw ${error.name}: ${firstLine(error)}`,
    where,
    cause: error,
  });
}

function firstLine(error: Error): string {
  return error.message.split('\n')[0];
}

/** `file:line` as V8 writes it above the stack of a mistake that it found before the module ran. */
function headOf(error: Error): string | undefined {
  const match = /^(.+):(\d+)\n/.exec(error.stack ?? '');
  return match ? `${shown(match[1])}:${match[2]}` : undefined;
}

/** The innermost line of the stack that is neither ddrc's, nor Node's, nor a package's. */
function placeIn(error: Error): string | undefined {
  for (const line of error.stack?.split('\n') ?? []) {
    const match = /^\s+at (?:.*\()?((?:file:\/\/)?[^()]+):(\d+):\d+\)?$/.exec(line);
    if (!match) continue;
    const file = pathOf(match[1]);
    if (file.startsWith('node:') || file.startsWith(own) || /[\\/]node_modules[\\/]/.test(file)) continue;
    return `${shown(file)}:${match[2]}`;
  }
  return undefined;
}
