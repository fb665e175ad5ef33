import type { OptimizerSpec } from '../compiler/ir/program.ts';
import { suggestion } from '../diagnostics/suggest.ts';
import { usageError } from './failure.ts';

interface Setting {
  readonly fallback: number | boolean;
  /** The field of the optimizer that it sets. */
  readonly sets: string;
  readonly valid?: (value: number) => boolean;
  readonly says?: string;
}

const share: Pick<Setting, 'valid' | 'says'> = { valid: (x) => x >= 0 && x < 1, says: 'from 0 to below 1' };
const positive: Pick<Setting, 'valid' | 'says'> = { valid: (x) => x > 0, says: 'above 0' };
const decay = (fallback: number): Setting => ({ fallback, sets: 'weightDecay', valid: (x) => x >= 0, says: '0 or more' });
const adam = (fallback: number): Record<string, Setting> => ({
  beta1: { fallback: 0.9, sets: 'beta1', valid: (x) => x > 0 && x < 1, says: 'between 0 and 1' },
  beta2: { fallback: 0.999, sets: 'beta2', valid: (x) => x > 0 && x < 1, says: 'between 0 and 1' },
  epsilon: { fallback: 1e-8, sets: 'epsilon', ...positive },
  decay: decay(fallback),
});

/** The settings of each kind, with their defaults: PyTorch's. */
const kinds: Readonly<Record<OptimizerSpec['kind'], Readonly<Record<string, Setting>>>> = {
  adam: adam(0),
  adamw: adam(0.01),
  sgd: {
    momentum: { fallback: 0, sets: 'momentum', ...share },
    nesterov: { fallback: false, sets: 'nesterov' },
    decay: decay(0),
  },
  rmsprop: {
    alpha: { fallback: 0.99, sets: 'alpha', ...share },
    epsilon: { fallback: 1e-8, sets: 'epsilon', ...positive },
    momentum: { fallback: 0, sets: 'momentum', ...share },
    decay: decay(0),
  },
};

/**
 * Reads `--optimizer`: a kind, and settings that differ from PyTorch's defaults.
 *
 * | text | settings |
 * | --- | --- |
 * | `adam:beta1=0.9,beta2=0.999,epsilon=1e-8,decay=0` | decay is added to the gradient |
 * | `adamw:decay=0.01` | as adam; decay is decoupled |
 * | `sgd:momentum=0,nesterov=false,decay=0` | |
 * | `rmsprop:alpha=0.99,epsilon=1e-8,momentum=0,decay=0` | |
 *
 * @throws DdrcError USAGE, with the nearest spelling
 */
export function parseOptimizer(text: string): OptimizerSpec {
  const [kind, ...rest] = text.trim().split(':');
  if (!Object.hasOwn(kinds, kind)) {
    const known = Object.keys(kinds);
    throw refused(`there is no optimizer '${kind}'${suggestion(kind, known)}`, `the optimizers are ${known.join(', ')}`);
  }
  const settings = kinds[kind as OptimizerSpec['kind']];
  const spec: Record<string, number | boolean | string> = { kind };
  for (const { fallback, sets } of Object.values(settings)) spec[sets] = fallback;
  const list = rest.join(':');
  for (const item of list === '' ? [] : list.split(',')) {
    const [name, value, ...more] = item.split('=').map((part) => part.trim());
    if (!Object.hasOwn(settings, name)) {
      const known = Object.keys(settings);
      throw refused(`${kind} has no setting '${name}'${suggestion(name, known)}`, `its settings are ${known.join(', ')}`);
    }
    const setting = settings[name];
    const read = more.length > 0 ? undefined : readValue(value, setting);
    if (read === undefined) throw refused(`${name} of ${kind} must be ${expectation(setting)}, not '${value ?? ''}'`, examples);
    spec[setting.sets] = read;
  }
  if (spec.nesterov === true && spec.momentum === 0)
    throw refused('nesterov of sgd needs a momentum', 'write it as in sgd:momentum=0.9,nesterov=true');
  return spec as unknown as OptimizerSpec;
}

const examples = 'write it as in adam, adamw:decay=0.01, sgd:momentum=0.9,nesterov=true';

function readValue(text: string | undefined, { fallback, valid }: Setting): number | boolean | undefined {
  if (typeof fallback === 'boolean') return text === 'true' ? true : text === 'false' ? false : undefined;
  const value = text ? Number(text) : Number.NaN;
  return Number.isFinite(value) && valid!(value) ? value : undefined;
}

function expectation({ fallback, says }: Setting): string {
  return typeof fallback === 'boolean' ? 'true or false' : `a number ${says}`;
}

function refused(message: string, hint: string) {
  return usageError(message, 'train', hint);
}
