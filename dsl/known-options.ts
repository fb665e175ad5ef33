import { shapeError } from '../compiler/ops/shapes.ts';
import { suggestion } from '../diagnostics/suggest.ts';
import { check, type Tensor } from './tensor.ts';

/**
 * Refuses what is no option of `op`: a misspelt option would be left out silently. The editor says the same by `knownOptions`.
 * @throws DdrcError SHAPE_ATTRIBUTE
 */
export function requireOptions(op: string, x: Tensor, options: object, known: readonly string[]): void {
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown === undefined) return;
  check(op, [x], (types, site) => {
    throw shapeError(site, 'SHAPE_ATTRIBUTE', `has no option ${unknown}`, types, hintFor(unknown, known));
  });
}

function hintFor(word: string, known: readonly string[]): string {
  const start = known.find((name) => word.toLowerCase().startsWith(name.toLowerCase()));
  const close = start ? `did you mean "${start}"? ` : suggestion(word, known).replace(/^, (.+)$/, '$1 ');
  return `${close}the options are ${known.join(', ')}`;
}
