import { DdrcError } from '../../diagnostics/error.ts';
import { suggestion } from '../../diagnostics/suggest.ts';
import type { Program } from '../ir/program.ts';

/** Whether training leaves the parameter of a name as it is. */
export type Frozen = (name: string) => boolean;

/**
 * Whether a parameter is one of `names`, or below a scope of that name.
 * @throws DdrcError FREEZE_UNKNOWN for a name that no parameter has, FREEZE_ALL where no parameter is left to train
 */
export function frozenBy(program: Program, names: readonly string[]): Frozen {
  if (names.length === 0) return () => false;
  const isBelow = (name: string, scope: string) => name === scope || name.startsWith(`${scope}.`);
  const { parameters } = program.build({ mode: 'training', batch: 1, loss: false });
  const unknown = names.find((scope) => !parameters.some(({ name }) => isBelow(name, scope)));
  if (unknown !== undefined) {
    const scopes = parameters.flatMap(({ name }) => name.split('.').map((_, i, path) => path.slice(0, i + 1).join('.')));
    throw new DdrcError({
      code: 'FREEZE_UNKNOWN',
      message: `${program.name} has no parameter and no scope '${unknown}'${suggestion(unknown, [...new Set(scopes)])}`,
      hint: 'ddrc summary lists the scopes',
    });
  }
  const frozen: Frozen = (name) => names.some((scope) => isBelow(name, scope));
  if (parameters.every(({ name }) => frozen(name))) {
    const message = `every parameter of ${program.name} is frozen, so there is nothing to train`;
    throw new DdrcError({ code: 'FREEZE_ALL', message, hint: 'freeze fewer' });
  }
  return frozen;
}
