import { existsSync, readdirSync, statSync } from 'node:fs';
import nodeModule from 'node:module';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Program } from '../compiler/ir/program.ts';
import { DdrcError, isDdrcError } from '../diagnostics/error.ts';
import { suggestion } from '../diagnostics/suggest.ts';
import { isModel, type Model } from '../dsl/model.ts';
import { parseSchedule } from '../runtime/schedule.ts';
import { hasReported, reportFailure } from './failure.ts';
import { modelError } from './model-error.ts';
import { packageRoot } from './project.ts';
import { resolve as resolveDdrc } from './resolve-ddrc.ts';
import { shown } from './shown-path.ts';

const endings = ['.ts', '.mts', '.js', '.mjs'];

/** The model that commands take when none is named: DDRNet, as the package brings it. */
export const defaultModel = join(packageRoot, 'models', 'ddrnet.ts');

/** A model and the file that it came from. */
export interface LoadedModel {
  readonly model: Model;
  /** Absolute path. */
  readonly file: string;
}

/**
 * Loads the model that a file exports as its default. TypeScript needs no build step; `import 'ddrc'` in it means this installation.
 * @throws DdrcError FILE_MISSING, MODEL_FILE, MODEL_SYNTAX, MODEL_IMPORT, MODEL_FAILED, MODEL_EXPORT, and what `defineModel` throws
 */
export async function loadModel(path = defaultModel): Promise<LoadedModel> {
  const file = findFile(path);
  await enableTypeScript();
  let exported: Record<string, unknown>;
  const leave = sayWhereItEnds(file);
  try {
    exported = await import(pathToFileURL(file).href);
  } catch (error) {
    throw modelError(error, file);
  } finally {
    leave();
  }
  return { model: modelOf(exported, file), file };
}

/**
 * The model with its options set; exceptions of the model file's own code are located in it, here and in every graph that is built later.
 * @throws DdrcError OPTION_UNKNOWN, OPTION_INVALID, MODEL_FAILED, MODEL_INVALID, and those of shape mistakes
 */
export function instantiate({ model, file }: LoadedModel, options: Readonly<Record<string, unknown>>): Program {
  const guarded = <R>(body: () => R): R => {
    const leave = sayWhereItEnds(file);
    try {
      return body();
    } catch (error) {
      throw modelError(error, file);
    } finally {
      leave();
    }
  };
  const program = guarded(() => model.instantiate(options));
  checkSchedule(program.training.schedule, file);
  return { ...program, build: (request) => guarded(() => program.build(request)) };
}

/** The language takes a schedule as text; what it means is known where trainings run. */
function checkSchedule(text: unknown, file: string): void {
  const invalid = (message: string, hint?: string, cause?: unknown) =>
    new DdrcError({ code: 'MODEL_INVALID', message: `training.schedule: ${message}`, where: shown(file), hint, cause });
  if (typeof text !== 'string') throw invalid(`a schedule is text, not ${kindOf(text)}`, "write it as in schedule: 'one-cycle'");
  try {
    parseSchedule(text);
  } catch (error) {
    throw isDdrcError(error) ? invalid(error.message, error.hint, error) : error;
  }
}

/** A model file that ends the process would end the command without a word; the function that comes back is called when its code has run. */
function sayWhereItEnds(file: string): () => void {
  const onExit = () => {
    if (hasReported()) return;
    const message = 'the model file ended the process (process.exit)';
    process.exitCode = reportFailure(new DdrcError({ code: 'MODEL_FAILED', message, where: shown(file) }));
  };
  process.once('exit', onExit);
  return () => process.off('exit', onExit);
}

function findFile(path: string): string {
  const file = resolve(path);
  const stats = statSync(file, { throwIfNoEntry: false });
  if (!stats) {
    const folder = dirname(file);
    const near = existsSync(folder) ? readdirSync(folder).filter((name) => endings.includes(extname(name))) : [];
    const close = suggestion(basename(file), near);
    throw new DdrcError({
      code: 'FILE_MISSING',
      message: `there is no model file ${path}${close}`,
      where: file,
      hint: existsSync(folder)
        ? `ddrc looks for a file ending in ${endings.join(', ')}, relative to the folder in which the command runs`
        : `the folder ${folder} does not exist either`,
    });
  }
  if (stats.isDirectory()) {
    const inside = readdirSync(file).filter((name) => endings.includes(extname(name)) && !name.endsWith('.d.ts'));
    const hint = inside.length > 0 ? `name a file in it: ${join(path, inside[0])}` : 'name a model file';
    throw new DdrcError({ code: 'MODEL_FILE', message: `${path} is a folder, not a model file`, where: file, hint });
  }
  if (!endings.includes(extname(file))) {
    throw new DdrcError({
      code: 'MODEL_FILE',
      message: `${path} is not a model file: it does not end in ${endings.join(', ')}`,
      where: file,
      hint: 'a model file is an ES module whose default export is made by defineModel',
    });
  }
  return file;
}

let enabled: Promise<void> | null = null;

/** Lets Node import TypeScript from now on, once in a process. */
function enableTypeScript(): Promise<void> {
  enabled ??= import('tsx/esm/api').then(({ register }) => {
    // Without a tsconfig.json, so that a model means the same in every folder.
    register({ tsconfig: false });
    // Node 22.15 and later run hooks in this thread; there, those of a loader thread would come after tsx's.
    const { registerHooks } = nodeModule as { registerHooks?: (hooks: { resolve: typeof resolveDdrc }) => void };
    if (registerHooks) registerHooks({ resolve: resolveDdrc });
    else nodeModule.register('./resolve-ddrc.js', import.meta.url);
  });
  return enabled;
}

function modelOf(exported: Readonly<Record<string, unknown>>, file: string): Model {
  if (isModel(exported.default)) return exported.default;
  const names = Object.keys(exported);
  const models = names.filter((name) => isModel(exported[name]));
  const found =
    names.length === 0
      ? 'it exports nothing'
      : 'default' in exported
        ? `its default export is ${kindOf(exported.default)}`
        : `it has no default export, only ${names.join(', ')}`;
  const hint =
    models.length > 0 ? `${models[0]} is a model: export default ${models[0]}` : 'write export default defineModel({ … })';
  throw new DdrcError({ code: 'MODEL_EXPORT', message: `${shown(file)} exports no model: ${found}`, where: shown(file), hint });
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === 'function') return value.name ? `the function ${value.name}` : 'a function';
  return typeof value === 'object' ? (Array.isArray(value) ? 'an array' : 'an object') : `the ${typeof value} ${String(value)}`;
}
