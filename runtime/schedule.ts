import { DdrcError } from '../diagnostics/error.ts';
import { suggestion } from '../diagnostics/suggest.ts';

/** What a schedule says for one step. */
export interface Rate {
  readonly learningRate: number;
  /** Adam's beta1, or the momentum of SGD and RMSprop, for this step where the schedule cycles it; otherwise the optimizer's own holds. */
  readonly beta1?: number;
}

/** A schedule: the rate of an optimizer step, counted from 0. The same step always gives the same rate, so a resumed training needs no state. */
export type Schedule = (step: number) => Rate;

/** A schedule as text says it; see {@link parseSchedule}. */
export type ScheduleShape =
  | { readonly kind: 'constant' }
  | { readonly kind: 'step'; readonly every: number; readonly gamma: number }
  | { readonly kind: 'cosine'; readonly floor: number }
  | { readonly kind: 'one-cycle'; readonly start: number };

/** A shape and the steps of linear warm-up before it (0: none). */
export type ScheduleDescription = ScheduleShape & { readonly warmup: number };

/** What a schedule is fitted to. */
export interface TrainingLength {
  /** The learning rate asked for: the constant's, the first of step and cosine, the peak of one-cycle. */
  readonly learningRate: number;
  /** Optimizer steps of the whole training. */
  readonly steps: number;
  /** Optimizer steps of an epoch; `step` counts in epochs. */
  readonly stepsPerEpoch: number;
}

interface Parameter {
  readonly fallback: number;
  readonly valid: (value: number) => boolean;
  readonly says: string;
}

const atLeastOne: Pick<Parameter, 'valid' | 'says'> = {
  valid: (value) => Number.isInteger(value) && value >= 1,
  says: 'a whole number from 1 up',
};

/** The parameters of each kind, with default and range. */
const parametersOf: Record<ScheduleShape['kind'], Record<string, Parameter>> = {
  constant: {},
  step: {
    every: { fallback: 10, ...atLeastOne },
    gamma: { fallback: 0.1, valid: (value) => value > 0 && value <= 1, says: 'above 0 and at most 1' },
  },
  cosine: { floor: { fallback: 0, valid: (value) => value >= 0, says: 'a learning rate, 0 or more' } },
  'one-cycle': { start: { fallback: 0.3, valid: (value) => value > 0 && value < 1, says: 'between 0 and 1' } },
};

/**
 * Reads a schedule's text: a kind, its parameters where they differ from the default, and a warm-up.
 *
 * | text | learning rate |
 * | --- | --- |
 * | `constant` | the one asked for |
 * | `step:every=10,gamma=0.1` | times gamma after every so many epochs |
 * | `cosine:floor=0` | from the one asked for down to the floor (a learning rate) along half a cosine |
 * | `one-cycle:start=0.3` | PyTorch's OneCycleLR with its defaults; start is its pct_start |
 * | `…+warmup=100` | that many steps of linear rise before any of them |
 *
 * @param where what the text came from, for messages
 * @throws DdrcError SCHEDULE_INVALID, with the nearest spelling
 */
export function parseSchedule(text: string, where = '--schedule'): ScheduleDescription {
  const [main, ...suffixes] = text.trim().split('+');
  const colon = main.indexOf(':');
  const kind = (colon < 0 ? main : main.slice(0, colon)).trim();
  const kinds = Object.keys(parametersOf);
  if (!kinds.includes(kind)) throw unknownWord('schedule', kind, kinds, text, where);
  const parameters = parametersOf[kind as ScheduleShape['kind']];
  const values = Object.fromEntries(Object.entries(parameters).map(([name, { fallback }]) => [name, fallback]));
  Object.assign(values, parseValues(colon < 0 ? '' : main.slice(colon + 1), parameters, text, where));
  const warmup = { warmup: { fallback: 0, ...atLeastOne } };
  const { warmup: steps = 0 } = parseValues(suffixes.join(','), warmup, text, where);
  return { kind, ...values, warmup: steps } as ScheduleDescription;
}

/**
 * Fits a schedule to a training.
 *
 * With a warm-up of n steps, step s < n has (s + 1) / (n + 1) of the first rate of the shape, which then begins at step n and has the steps that are left.
 * Steps behind the last one keep the last rate.
 * @param where what the schedule came from, for messages
 * @throws DdrcError SCHEDULE_INVALID where the warm-up takes the whole training, or the floor lies above the learning rate
 */
export function createSchedule(description: ScheduleDescription, length: TrainingLength, where = '--schedule'): Schedule {
  const { warmup } = description;
  if (warmup > 0 && warmup >= length.steps) {
    const message = `a warm-up of ${warmup} steps does not fit into a training of ${length.steps}`;
    throw new DdrcError({
      code: 'SCHEDULE_INVALID',
      message,
      where,
      hint: 'shorten the warm-up or train for more epochs',
    });
  }
  if (description.kind === 'cosine' && description.floor > length.learningRate) {
    const message = `the floor ${description.floor} of the cosine schedule lies above the learning rate ${length.learningRate}`;
    throw new DdrcError({ code: 'SCHEDULE_INVALID', message, where, hint: 'lower the floor or raise --lr' });
  }
  const shape = shapeOf(description, { ...length, steps: length.steps - warmup });
  if (warmup === 0) return shape;
  const first = shape(0);
  return (step) =>
    step < warmup ? { ...first, learningRate: (first.learningRate * (step + 1)) / (warmup + 1) } : shape(step - warmup);
}

function shapeOf(shape: ScheduleShape, { learningRate, steps, stepsPerEpoch }: TrainingLength): Schedule {
  switch (shape.kind) {
    case 'constant':
      return () => ({ learningRate });
    case 'step':
      return (step) => ({ learningRate: learningRate * shape.gamma ** Math.floor(step / (shape.every * stepsPerEpoch)) });
    case 'cosine':
      return (step) => ({ learningRate: cosine(learningRate, shape.floor, Math.min(step, steps - 1) / steps) });
    case 'one-cycle':
      return (step) => oneCycle(Math.min(step, steps - 1), steps, learningRate, shape.start);
  }
}

/**
 * PyTorch's OneCycleLR with cosine annealing, div_factor 25, final_div_factor 1e4 and momentum cycled between 0.95 and 0.85: up to the peak at step
 * start · steps − 1, which need not be whole, then down to the last step.
 */
function oneCycle(step: number, steps: number, peak: number, start: number): Rate {
  const first = peak / 25;
  const turn = start * steps - 1;
  if (step <= turn) {
    // A peak at step 0 exactly has no way up; PyTorch divides by zero there.
    const part = turn === 0 ? 1 : step / turn;
    return { learningRate: cosine(first, peak, part), beta1: cosine(0.95, 0.85, part) };
  }
  const part = (step - turn) / (steps - 1 - turn);
  return { learningRate: cosine(peak, first / 1e4, part), beta1: cosine(0.85, 0.95, part) };
}

/** From `from` to `to` along half a cosine; `part` runs from 0 to 1. */
function cosine(from: number, to: number, part: number): number {
  return to + ((from - to) / 2) * (1 + Math.cos(Math.PI * part));
}

function parseValues(list: string, parameters: Record<string, Parameter>, text: string, where: string): Record<string, number> {
  const values: Record<string, number> = {};
  for (const item of list.split(',').filter((part) => part.trim() !== '')) {
    const [name, value, ...rest] = item.split('=').map((part) => part.trim());
    if (!Object.hasOwn(parameters, name)) throw unknownWord('parameter', name, Object.keys(parameters), text, where);
    const { valid, says } = parameters[name];
    const number = value && rest.length === 0 ? Number(value) : Number.NaN;
    if (!Number.isFinite(number) || !valid(number)) {
      const message = `${name} of the schedule '${text}' must be ${says}, not '${value ?? ''}'`;
      throw new DdrcError({ code: 'SCHEDULE_INVALID', message, where, hint: `write it as in ${examples}` });
    }
    values[name] = number;
  }
  return values;
}

const examples = 'constant, step:every=10,gamma=0.1, cosine:floor=0, one-cycle:start=0.3, cosine+warmup=100';

function unknownWord(what: string, word: string, known: string[], text: string, where: string): DdrcError {
  const message =
    what === 'schedule' ? `there is no schedule '${word}'` : `the schedule '${text}' has no parameter '${word}' there`;
  const hint = `write it as in ${examples}`;
  return new DdrcError({ code: 'SCHEDULE_INVALID', message: message + suggestion(word, known), where, hint });
}
