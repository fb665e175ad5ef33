import { DdrcError } from '../../diagnostics/error.ts';
import { suggestion } from '../../diagnostics/suggest.ts';
import type { Part } from './finetune.ts';

/** How a model learns in a page. */
export interface FinetuneOptions {
  /** [head] */
  readonly part: Part;
  /** [5] */
  readonly epochs: number;
  /** Pictures in a step [8]. */
  readonly batch: number;
  /** [0.001] */
  readonly learningRate: number;
  /** Share of the pictures of each class that is held back, to compare before and after, in [0,1) [0.2]. */
  readonly holdBack: number;
  /** Of the order of the pictures and of dropout [0]. */
  readonly seed: number;
}

const defaults: FinetuneOptions = { part: 'head', epochs: 5, batch: 8, learningRate: 1e-3, holdBack: 0.2, seed: 0 };

/**
 * The options with the defaults for what is left out.
 * @param parts those of the model that can be trained
 * @throws DdrcError USAGE where one is not what it has to be
 */
export function completed(options: Partial<FinetuneOptions>, parts: readonly Part[]): FinetuneOptions {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  const unknown = given.map(([name]) => name).find((name) => !Object.hasOwn(defaults, name));
  if (unknown !== undefined) {
    const message = `there is no option '${unknown}'${suggestion(unknown, Object.keys(defaults))}`;
    throw new DdrcError({ code: 'USAGE', message, hint: `the options are ${Object.keys(defaults).join(', ')}` });
  }
  const all: FinetuneOptions = { ...defaults, ...Object.fromEntries(given) };
  const { part, epochs, batch, learningRate, holdBack, seed } = all;
  const demand = (name: keyof FinetuneOptions, right: boolean, what: string) => {
    if (!right) throw new DdrcError({ code: 'USAGE', message: `${name} has to be ${what}, not ${all[name]}` });
  };
  demand('part', parts.includes(part), parts.join(' or ') || 'left out, as this model cannot learn here');
  demand('epochs', Number.isInteger(epochs) && epochs >= 1, 'a whole number from 1 on');
  demand('batch', Number.isInteger(batch) && batch >= 1, 'a whole number from 1 on');
  demand('learningRate', Number.isFinite(learningRate) && learningRate > 0, 'a number above 0');
  demand('holdBack', holdBack >= 0 && holdBack < 1, 'a share from 0 to below 1');
  demand('seed', Number.isInteger(seed), 'a whole number');
  return all;
}
