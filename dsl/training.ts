import type { OptimizerSpec, TrainingDefaults } from '../compiler/ir/program.ts';
import { DdrcError } from '../diagnostics/error.ts';
import { suggestion } from '../diagnostics/suggest.ts';

/** Adam as in Kingma and Ba 2015, both moments bias-corrected: the optimizer of a model that names none. */
export const defaultOptimizer: OptimizerSpec = { kind: 'adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 };

const trainingDefaults: TrainingDefaults = {
  optimizer: defaultOptimizer,
  learningRate: 1e-3,
  schedule: 'constant',
  batch: 32,
  epochs: 10,
  clipNorm: 0,
};

interface Rule {
  readonly fits: (value: unknown) => boolean;
  /** What the value must be: `a number above 0`. */
  readonly says: string;
}

const number = (says: string, fits: (value: number) => boolean): Rule => ({
  fits: (value) => typeof value === 'number' && Number.isFinite(value) && fits(value),
  says,
});
const positive = number('a number above 0', (value) => value > 0);
const notNegative = number('a number of 0 or more', (value) => value >= 0);
const share = number('a number from 0 to below 1', (value) => value >= 0 && value < 1);
const between = number('a number between 0 and 1', (value) => value > 0 && value < 1);
const count = number('a whole number of at least 1', (value) => Number.isSafeInteger(value) && value >= 1);

const fields: Readonly<Record<keyof TrainingDefaults, Rule>> = {
  optimizer: { fits: (value) => typeof value === 'object' && value !== null, says: "an optimizer: { kind: 'sgd', … }" },
  learningRate: positive,
  schedule: { fits: (value) => typeof value === 'string', says: 'a text as --schedule takes it' },
  batch: count,
  epochs: count,
  clipNorm: notNegative,
};

const adam = { beta1: between, beta2: between, epsilon: positive, weightDecay: notNegative };
const optimizers: Readonly<Record<OptimizerSpec['kind'], Readonly<Record<string, Rule>>>> = {
  adam,
  adamw: adam,
  sgd: {
    momentum: share,
    nesterov: { fits: (value) => typeof value === 'boolean', says: 'true or false' },
    weightDecay: notNegative,
  },
  rmsprop: { alpha: share, epsilon: positive, momentum: share, weightDecay: notNegative },
};

function invalid(model: string, sentence: string, hint?: string): DdrcError {
  return new DdrcError({ code: 'MODEL_INVALID', message: `${model}: ${sentence}`, hint });
}

/** Refuses a field of `given` that `rules` lacks, one that breaks its rule, and one that is missing; `path` stands before its name. */
function requireFields(model: string, path: string, given: object, rules: Readonly<Record<string, Rule>>): void {
  const known = Object.keys(rules);
  const unknown = Object.keys(given).find((name) => !Object.hasOwn(rules, name));
  if (unknown !== undefined) {
    throw invalid(model, `${path} has no ${unknown}${suggestion(unknown, known)}`, `it has ${known.join(', ')}`);
  }
  for (const [name, { fits, says }] of Object.entries(rules)) {
    const value = (given as Record<string, unknown>)[name];
    if (!fits(value)) throw invalid(model, `${path}.${name} must be ${says}, got ${shown(value)}`);
  }
}

function shown(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value) : String(value);
}

/**
 * Refuses an optimizer of an unknown kind, or with a setting that is missing, unknown or out of its range; `path` is what the sentence
 * calls it.
 * @throws DdrcError MODEL_INVALID
 */
function requireOptimizer(model: string, path: string, given: OptimizerSpec): void {
  const { kind, ...settings } = given;
  if (!Object.hasOwn(optimizers, kind)) {
    const known = Object.keys(optimizers);
    const close = suggestion(String(kind), known);
    throw invalid(model, `${path}.kind ${shown(kind)} is no optimizer${close}`, `the optimizers are ${known.join(', ')}`);
  }
  requireFields(model, path, settings, optimizers[kind]);
  if (given.kind === 'sgd' && given.nesterov && given.momentum === 0) {
    throw invalid(model, `${path}.nesterov needs a momentum`, 'the usual one is 0.9');
  }
}

/**
 * A model's defaults of training, with the language's own where it states none. The text of the schedule is read where it is used.
 * @throws DdrcError MODEL_INVALID, with the field named
 */
export function trainingOf(model: string, given: Partial<TrainingDefaults> = {}): TrainingDefaults {
  const stated = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  const training = { ...trainingDefaults, ...stated };
  requireFields(model, 'training', training, fields);
  requireOptimizer(model, 'training.optimizer', training.optimizer);
  return training;
}
