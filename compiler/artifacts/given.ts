import type { TableEntry } from '../../contract/manifest.ts';
import { DdrcError } from '../../diagnostics/error.ts';
import type { BuiltGraph, Program } from '../ir/program.ts';
import { elementCount, formatShape, sameShape } from '../ir/types.ts';

/** Arrays that a caller gives for parameters and statistics, by name. */
export type GivenWeights = ReadonlyMap<string, { readonly shape: readonly number[]; readonly data: ArrayLike<number | bigint> }>;

/**
 * Demands an array for each entry of the tables, in its shape, and no other array.
 * @throws DdrcError CHECKPOINT_MODEL, CHECKPOINT_NOT_FINITE
 */
export function checkWeights({ name: model }: Program, table: readonly TableEntry[], weights: GivenWeights): void {
  const known = new Set(table.map(({ name }) => name));
  const missing = table.filter(({ name }) => !weights.has(name)).map(({ name }) => name);
  const unknown = [...weights.keys()].filter((name) => !known.has(name));
  const different = table.flatMap(({ name, shape }) => {
    const given = weights.get(name);
    if (!given || (sameShape(given.shape, shape) && given.data.length === elementCount(shape))) return [];
    return [`${name} (${given.data.length} values as ${formatShape(given.shape)} in place of ${formatShape(shape)})`];
  });
  const faults = Object.entries({ missing, unknown, different }).filter(([, names]) => names.length > 0);
  if (faults.length === 0) {
    requireFinite(model, table, weights);
    return;
  }
  throw new DdrcError({
    code: 'CHECKPOINT_MODEL',
    message: `the weights do not belong to ${model}: ${faults.map(([what, names]) => `${what}: ${firstThree(names)}`).join('; ')}`,
    hint: 'give the model the options that the weights were made with',
  });
}

function requireFinite(model: string, table: readonly TableEntry[], weights: GivenWeights): void {
  for (const { name } of table) {
    const { data } = weights.get(name)!;
    for (let i = 0; i < data.length; i++) {
      const value = data[i];
      if (typeof value === 'bigint' || Number.isFinite(value)) continue;
      throw new DdrcError({
        code: 'CHECKPOINT_NOT_FINITE',
        message: `the weights of ${model} contain ${value} in ${name}`,
        hint: 'take weights from before the training failed',
      });
    }
  }
}

function firstThree(names: readonly string[]): string {
  const shown = names.slice(0, 3).join(', ');
  return names.length > 3 ? `${shown} and ${names.length - 3} more` : shown;
}

/**
 * Demands as many names of classes as the model gives scores, where it gives any.
 * @throws DdrcError DATA_CLASSES_DIFFER
 */
export function checkClasses(program: Program, { outputs }: BuiltGraph, classes: readonly string[] | undefined): void {
  const count = program.scores && outputs.get(program.scores.output)?.type.shape.at(-1);
  if (!classes || typeof count !== 'number' || classes.length === count) return;
  throw new DdrcError({
    code: 'DATA_CLASSES_DIFFER',
    message: `${program.name} gives ${count} scores, but ${classes.length} classes are named`,
    notes: [{ label: 'classes', text: classes.join(', ') }],
    hint: 'name a class for each score, or build the model for this number of classes',
  });
}
