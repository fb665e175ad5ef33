import type { Command } from 'commander';
import { addInspect } from './data-inspect.ts';
import { addPrepare } from './data-prepare.ts';
import { example } from './example.ts';

/** `ddrc data inspect|prepare`: what is in a data set and what is wrong with it; how it is divided, written down. */
export function add(program: Command): void {
  const data = program
    .command('data')
    .description('look for leakage, duplicates and wrong labels in a data set (inspect), write down its division (prepare)')
    .addHelpText(
      'after',
      example('ddrc data inspect images --sheet sheet.png', 'ddrc data prepare images --out data --by group --test 0.15'),
    );
  addInspect(data);
  addPrepare(data);
}
