import { DdrcError } from '../diagnostics/error.ts';
import { suggestion } from '../diagnostics/suggest.ts';

/**
 * An option of a model. Its type is its default as a literal (`int(224)` is `Option<224>`), so that the editor checks the default
 * configuration completely; other values are checked when the graph is built.
 */
export interface Option<out T extends number | boolean | string = number | boolean | string> {
  readonly default: T;
  /** One line for `--help` and error messages: `a whole number from 32 up, a multiple of 4`. */
  readonly expects: string;
  /** What is wrong with `value`, or null. */
  check(value: unknown): string | null;
  /** Reads the text of `--option name=text`; undefined where it is not of the option's type. */
  parse(text: string): number | boolean | string | undefined;
}

export interface IntRules {
  readonly min?: number;
  readonly max?: number;
  readonly multipleOf?: number;
  /** A rule of the model's own: the sentence to say, or null when the value is fine. */
  readonly check?: (value: number) => string | null;
}

/** A whole number; `int(224, { min: 32, multipleOf: 4 })`. */
export function int<const T extends number>(value: T, rules: IntRules = {}): Option<T> {
  const { min, max, multipleOf } = rules;
  const expects = [
    'a whole number',
    min !== undefined && max !== undefined
      ? `from ${min} to ${max}`
      : min !== undefined
        ? `from ${min} up`
        : max !== undefined
          ? `up to ${max}`
          : '',
    multipleOf ? `that is a multiple of ${multipleOf}` : '',
  ]
    .filter(Boolean)
    .join(' ');
  return {
    default: value,
    expects,
    check(given) {
      if (typeof given !== 'number' || !Number.isInteger(given)) return `must be ${expects}`;
      if ((min !== undefined && given < min) || (max !== undefined && given > max)) return `must be ${expects}`;
      if (multipleOf && given % multipleOf !== 0) return `must be ${expects}`;
      return rules.check?.(given) ?? null;
    },
    parse: (text) => (/^-?\d+$/.test(text) ? Number(text) : undefined),
  };
}

/** A number; `float(0.2, { min: 0, below: 1 })`. */
export function float(value: number, { min = Number.NEGATIVE_INFINITY, below = Number.POSITIVE_INFINITY } = {}): Option<number> {
  const expects = [
    `a number`,
    min > Number.NEGATIVE_INFINITY ? `from ${min}${below < Number.POSITIVE_INFINITY ? ' to' : ' up'}` : '',
    below < Number.POSITIVE_INFINITY ? `below ${below}` : '',
  ]
    .filter(Boolean)
    .join(' ');
  return {
    default: value,
    expects,
    check: (given) =>
      typeof given === 'number' && Number.isFinite(given) && given >= min && given < below ? null : `must be ${expects}`,
    parse: (text) => (text.trim() !== '' && Number.isFinite(Number(text)) ? Number(text) : undefined),
  };
}

/** true or false. Its type is boolean, not the default, so that the editor checks both arms. */
export function bool(value: boolean): Option<boolean> {
  return {
    default: value,
    expects: 'true or false',
    check: (given) => (typeof given === 'boolean' ? null : 'must be true or false'),
    parse: (text) => (text === 'true' ? true : text === 'false' ? false : undefined),
  };
}

/** One of several words: `choice('pooled', ['pooled', 'equation'])`. */
export function choice<const T extends string>(value: NoInfer<T>, words: readonly T[]): Option<T> {
  const expects = `one of ${words.join(', ')}`;
  return {
    default: value,
    expects,
    check: (given) => (words.includes(given as T) ? null : `must be ${expects}`),
    parse: (text) => text,
  };
}

export type OptionSpecs = Readonly<Record<string, Option>>;
export type OptionValues<O extends OptionSpecs> = { readonly [K in keyof O]: O[K]['default'] };

/**
 * The options of a model with `given` in place of defaults.
 * @throws DdrcError OPTION_UNKNOWN, OPTION_INVALID, MODEL_INVALID where a default breaks its own rule
 */
export function resolveOptions<O extends OptionSpecs>(
  model: string,
  specs: O,
  given: Readonly<Record<string, unknown>>,
): OptionValues<O> {
  const values: Record<string, unknown> = {};
  for (const [name, spec] of Object.entries(specs)) {
    const wrong = spec.check(spec.default);
    if (wrong) {
      throw new DdrcError({
        code: 'MODEL_INVALID',
        message: `${model}: the default of option ${name} ${wrong}, got ${String(spec.default)}`,
        hint: 'give the option another default, or a wider range',
      });
    }
    values[name] = spec.default;
  }
  for (const [name, raw] of Object.entries(given)) {
    if (!Object.hasOwn(specs, name)) {
      throw new DdrcError({
        code: 'OPTION_UNKNOWN',
        message: `${model} has no option ${name}${suggestion(name, Object.keys(specs))}`,
        hint: `its options are ${Object.keys(specs).join(', ') || 'none'}`,
      });
    }
    const spec = specs[name];
    const value = typeof raw === 'string' ? spec.parse(raw) : raw;
    const wrong = spec.check(value);
    if (wrong) {
      throw new DdrcError({
        code: 'OPTION_INVALID',
        message: `option ${name} of ${model} ${wrong}, got ${String(raw)}`,
        hint: `the default is ${name}=${String(spec.default)}`,
      });
    }
    values[name] = value;
  }
  return values as OptionValues<O>;
}
