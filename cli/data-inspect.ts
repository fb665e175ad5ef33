import { dirname } from 'node:path';
import type { Command } from 'commander';
import { contactSheet, sheetFormat } from '../runtime/data/contact-sheet.ts';
import { inspect } from '../runtime/data/inspect.ts';
import { readListing } from '../runtime/data/layout.ts';
import { makeFolder, writeFileAtomic } from '../runtime/files.ts';
import { createProgress } from '../runtime/progress.ts';
import { example } from './example.ts';
import { usageError } from './failure.ts';
import { inspectionText } from './inspection-text.ts';
import { onInterrupt } from './interrupt.ts';

interface InspectFlags {
  readonly sheet?: string;
  readonly json?: boolean;
}

/** `ddrc data inspect DIR`: counts, damaged images, duplicates, leakage between splits, conflicts of labels. */
export function addInspect(data: Command): void {
  data
    .command('inspect')
    .description('count images, and find those that are damaged, there twice, in two splits or under two labels')
    .argument('<data>', 'folder of class folders, C-NMC 2019, or CSV path,label[,split][,group][,original][,hash]')
    .option('--sheet <file>', 'write a contact sheet, a row for each class and split: .png, .jpeg or .webp')
    .option('--json', 'one JSON object in place of the text')
    .addHelpText('after', example('ddrc data inspect images --sheet sheet.png'))
    .action(inspectData);
}

async function inspectData(path: string, { sheet, json }: InspectFlags): Promise<void> {
  const format = sheet === undefined ? null : sheetFormat(sheet);
  if (sheet !== undefined && format === null)
    throw usageError(`--sheet ${sheet} has no ending of a picture`, 'data inspect', 'end its name in .png, .jpeg or .webp');
  const display = createProgress(process.stderr);
  const giveBack = onInterrupt((exitCode) => {
    display.end();
    process.exit(exitCode);
  });
  try {
    const listing = readListing(path);
    // What cannot be written should not be found out at the end.
    if (sheet !== undefined) makeFolder(dirname(sheet));
    const found = await inspect(listing, (what, done, total) => display.count(what, done, total));
    if (sheet !== undefined && format !== null) {
      const { bytes, notes } = await contactSheet(listing, format, (done, total) =>
        display.count('drawing the contact sheet', done, total),
      );
      writeFileAtomic(sheet, bytes);
      for (const note of notes) display.print(note);
    }
    display.end();
    process.stdout.write(json ? `${JSON.stringify(found)}\n` : inspectionText(found));
  } finally {
    display.end();
    giveBack();
  }
}
