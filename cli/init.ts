import { existsSync, readdirSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { DdrcError } from '../diagnostics/error.ts';
import { shellWord } from '../diagnostics/shell-word.ts';
import { makeFolder, writeFileAtomic } from '../runtime/files.ts';
import { example } from './example.ts';
import { usageError } from './failure.ts';
import { dependencySpec } from './project.ts';
import { projectFiles } from './templates.ts';

/** `ddrc init NAME`: a small project of one's own. */
export function add(program: Command): void {
  program
    .command('init')
    .description('make a folder with a small model of your own that builds and trains at once')
    .argument('<name>', 'the folder to make; its last part is the name of the project')
    .addHelpText('after', example('ddrc init my-classifier'))
    .action(init);
}

function init(path: string): void {
  const folder = resolve(path);
  const name = packageName(basename(folder));
  checkEmpty(path, folder);
  const files = projectFiles(name, modelName(name), dependencySpec(folder));
  const existed = existsSync(folder);
  try {
    for (const [file, text] of files) {
      const target = join(folder, file);
      makeFolder(dirname(target));
      writeFileAtomic(target, text);
    }
  } catch (error) {
    const made = existed ? [...files.keys()].map((file) => join(folder, file.split('/')[0])) : [folder];
    for (const path of made) rmSync(path, { recursive: true, force: true });
    throw error;
  }
  const shown = [...files.keys()].filter((file) => !basename(file).startsWith('.'));
  const next = [
    ...(folder === process.cwd() ? [] : [`cd ${shellWord(path)}`]),
    'npm install',
    'npx ddrc build model.ts --out build',
    'npx ddrc train model.ts',
  ];
  process.stdout.write(`${path}: ${shown.join(', ')}, data/\n\nNext:\n${next.map((line) => `  ${line}\n`).join('')}`);
}

/** npm's rules: lower case, no blanks, at most 214 letters. */
function packageName(folder: string): string {
  const name = folder
    .toLowerCase()
    .replaceAll(/[^a-z0-9._-]+/g, '-')
    .replace(/^[._-]+|[._-]+$/g, '');
  if (name === '' || name.length > 214 || name === 'ddrc' || name === 'node_modules') {
    throw usageError(
      `${JSON.stringify(folder)} cannot be the name of a project`,
      'init',
      'give a name of letters, digits and dashes: ddrc init my-classifier',
    );
  }
  return name;
}

function modelName(name: string): string {
  const word = name.replaceAll('.', '-');
  return /^[a-z]/.test(word) ? word : `model-${word}`;
}

function checkEmpty(path: string, folder: string): void {
  const stats = statSync(folder, { throwIfNoEntry: false });
  if (!stats) return;
  const inside = stats.isDirectory() ? readdirSync(folder).filter((name) => name !== '.git') : [];
  if (stats.isDirectory() && inside.length === 0) return;
  const what = stats.isDirectory() ? `is not empty: it holds ${inside[0]}` : 'is a file';
  throw new DdrcError({
    code: 'PROJECT_EXISTS',
    message: `${path} ${what}`,
    where: folder,
    hint: 'give another name, or empty the folder first',
  });
}
