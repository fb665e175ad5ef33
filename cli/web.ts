import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { DdrcError } from '../diagnostics/error.ts';
import { shellWord } from '../diagnostics/shell-word.ts';
import { example } from './example.ts';
import { addRequired } from './flags.ts';
import { bytes } from './quantity.ts';
import { siteFiles, sizeOf, strangerIn, writeSite } from './site.ts';

/** `ddrc web RUN --out DIR`: a static site that classifies with a trained model, explains and learns. */
export function add(program: Command): void {
  const command = program
    .command('web')
    .description(
      'write a static site in which a trained model classifies pictures, shows where a class comes from, and learns; nothing leaves the browser',
    )
    .argument('<run>', 'run folder of ddrc train');
  addRequired(command, '--out <folder>', 'where the site goes: a new or empty folder, or one that ddrc web wrote')
    .addHelpText('after', example('ddrc web runs/ddrnet-1 --out site'))
    .action(web);
}

async function web(run: string, { out }: { readonly out: string }): Promise<void> {
  const folder = resolve(out);
  checkOut(folder, out);
  const files = await siteFiles(run);
  writeSite(folder, files);
  const total = files.reduce((sum, file) => sum + sizeOf(file), 0);
  process.stdout.write(
    `${out}  ${files.length} files, ${bytes(total)}\nany static host serves it, below any path; here: npx ddrc serve ${shellWord(out)}\n`,
  );
}

/** A folder with other things in it is left alone: a typo would put a site among someone's photographs. */
function checkOut(folder: string, out: string): void {
  const there = statSync(folder, { throwIfNoEntry: false });
  if (!there) return;
  if (!there.isDirectory()) {
    throw new DdrcError({
      code: 'OUTPUT_UNWRITABLE',
      message: `${out} cannot be written: it is a file, not a folder`,
      where: folder,
      hint: 'give --out a folder',
    });
  }
  const stranger = strangerIn(folder);
  if (stranger === null) return;
  throw new DdrcError({
    code: 'OUTPUT_UNWRITABLE',
    message: `${out} is not empty and no site of ddrc: it holds ${stranger}`,
    where: folder,
    hint: 'give --out a new or empty folder',
  });
}
