import { DdrcError } from '../diagnostics/error.ts';
import { suggestion } from '../diagnostics/suggest.ts';
import { usageError } from './failure.ts';
import type { DataSource } from './training-data.ts';

/**
 * The weight of each class, as `--class-weights` says it: `balanced` is examples / (classes · examples of the class), scikit-learn's; `CLASS=W,…` are numbers above 0,
 * and classes that are not named keep a weight of 1.
 * @throws DdrcError USAGE, AID_UNFIT where the data have no classes, or no example of a class that is to be balanced
 */
export function classWeightsOf(text: string, source: Pick<DataSource, 'classes' | 'trainingCounts'>): number[] {
  const counts = source.trainingCounts();
  if (counts === null) {
    const message = '--class-weights weighs classes, and these examples have none';
    throw new DdrcError({ code: 'AID_UNFIT', message, hint: 'leave it out' });
  }
  const names = source.classes ?? counts.map((_, index) => String(index));
  return text.trim() === 'balanced' ? balanced(names, counts) : named(text, names);
}

function balanced(names: readonly string[], counts: readonly number[]): number[] {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const empty = names[counts.indexOf(0)];
  if (empty === undefined) return counts.map((count) => total / (counts.length * count));
  throw new DdrcError({
    code: 'AID_UNFIT',
    message: `--class-weights balanced has nothing to balance the class ${empty} by: no example to train on is of it`,
    hint: `give examples of ${empty}, or weights by name: --class-weights ${names.find((name) => name !== empty) ?? empty}=2`,
  });
}

function named(text: string, names: readonly string[]): number[] {
  const weights = new Map<string, number>();
  const hint = `write it as in --class-weights balanced or --class-weights ${names[0]}=2`;
  for (const part of text.split(',')) {
    const at = part.lastIndexOf('=');
    const name = part.slice(0, Math.max(0, at)).trim();
    const value = part.slice(at + 1).trim();
    if (at < 0) throw usageError(`--class-weights: "${part.trim()}" is neither balanced nor of the form CLASS=W`, 'train', hint);
    if (!names.includes(name)) {
      const known = `the classes are ${names.join(', ')}`;
      throw usageError(`--class-weights: there is no class "${name}"${suggestion(name, [...names])}`, 'train', known);
    }
    if (weights.has(name)) throw usageError(`--class-weights has ${name} twice`, 'train', hint);
    const weight = value === '' ? Number.NaN : Number(value);
    if (!(weight > 0 && weight < Number.POSITIVE_INFINITY))
      throw usageError(`--class-weights: ${name}=${value} is not a number above 0`, 'train', hint);
    weights.set(name, weight);
  }
  return names.map((name) => weights.get(name) ?? 1);
}
