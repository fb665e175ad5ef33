import { DdrcError } from '../../diagnostics/error.ts';
import { suggestion } from '../../diagnostics/suggest.ts';
import type { Artifact, CompileRequest } from '../compile.ts';
import { newestOpset, oldestOpset, type Target } from '../emit/lowering.ts';
import type { OptimizerSpec } from '../ir/program.ts';

type Rules<T> = Readonly<Record<keyof T, (value: never) => string | null>>;

const isArtifact: Readonly<Record<Artifact, true>> = {
  model: true,
  step: true,
  loop: true,
  grad: true,
  update: true,
  eval: true,
  explain: true,
  features: true,
  tunable: true,
  training_model: true,
  eval_model: true,
  optimizer_model: true,
};
const artifacts = Object.keys(isArtifact);
const optimizers: readonly OptimizerSpec['kind'][] = ['sgd', 'adam', 'adamw', 'rmsprop'];

const oneOf = (words: readonly string[]) => (value: unknown) =>
  words.includes(value as string) ? null : `be ${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
const whole =
  (least: number, most = Number.MAX_SAFE_INTEGER) =>
  (value: unknown) => {
    const range = most < Number.MAX_SAFE_INTEGER ? `from ${least} to ${most}` : `of at least ${least}`;
    return Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most
      ? null
      : `be a whole number ${range}`;
  };
const truth = (value: unknown) => (typeof value === 'boolean' ? null : 'be true or false');
const batch = (value: unknown) =>
  typeof value === 'string'
    ? /^[A-Za-z_]\w*$/.test(value)
      ? null
      : 'be a name of letters and digits where it is no number'
    : whole(1)(value);
const object = (value: unknown) => (typeof value === 'object' && value !== null ? null : 'be an object');

/** What each part of a request must be; a rule gives null, or the end of the sentence `seed must …`. */
const rules: Rules<CompileRequest> = {
  artifacts(value: unknown) {
    if (!Array.isArray(value)) return `be a list of ${artifacts.join(', ')}`;
    return value.map(oneOf(artifacts)).find((wrong) => wrong !== null) ?? null;
  },
  target: object,
  batch,
  inferenceBatch: batch,
  weights: (value: unknown) => (value instanceof Map ? null : 'be a Map of arrays by name'),
  seed: whole(0),
  optimizer: (value: unknown) => object(value) ?? oneOf(optimizers)((value as OptimizerSpec).kind),
  clipNorm: (value: unknown) => (Number.isFinite(value) && (value as number) >= 0 ? null : 'be a number of 0 or more'),
  rates: (value: unknown) =>
    Array.isArray(value) && value.length > 0 && value.every((rate) => Number.isFinite(rate) && rate >= 0)
      ? null
      : 'be a list of numbers of 0 or more',
  freeze: (value: unknown) =>
    Array.isArray(value) && value.every((name) => typeof name === 'string') ? null : 'be a list of names',
  classWeights: (value: unknown) =>
    Array.isArray(value) && value.every((weight) => Number.isFinite(weight) && weight >= 0)
      ? null
      : 'be a list of numbers of 0 or more',
  mixed: truth,
  ema: (value: unknown) =>
    Number.isFinite(value) && (value as number) >= 0 && (value as number) < 1 ? null : 'be a number from 0 to below 1',
  classes(value: unknown) {
    if (!Array.isArray(value) || value.some((name) => typeof name !== 'string' || name === '')) return 'be a list of names';
    return new Set(value).size === value.length ? null : 'be different names';
  },
  input: oneOf(['float32', 'uint8']),
  gradients: truth,
  checkpointActivations: truth,
};

const targetRules: Rules<Target> = {
  provider: oneOf(['portable', 'cpu', 'webgpu', 'cuda']),
  opset: whole(oldestOpset, newestOpset),
  block: whole(0),
  mode: oneOf(['training', 'inference']),
  tuned: (value: unknown) =>
    value === undefined || value instanceof Map ? null : 'be a Map of lowerings by the signature of a node',
};

/**
 * Refuses a request that says what `compile` does not know.
 * @throws DdrcError COMPILE_REQUEST
 */
export function checkRequest(request: CompileRequest): void {
  const given = Object.fromEntries(Object.entries(request).filter(([, value]) => value !== undefined));
  checkParts('', given, rules);
  if (request.target) {
    const { provider, opset, block, ...more } = request.target;
    checkParts('target.', { provider, opset, block, ...more }, targetRules);
  }
}

function checkParts<T>(path: string, given: Readonly<Record<string, unknown>>, known: Rules<T>): void {
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(known, name)) {
      const close = suggestion(name, Object.keys(known));
      throw refused(`there is no ${path}${name}${close}`, `known are ${Object.keys(known).join(', ')}`);
    }
    const wrong = known[name as keyof T](value as never);
    if (wrong) throw refused(`${path}${name} must ${wrong}, got ${JSON.stringify(value) ?? String(value)}`);
  }
}

function refused(sentence: string, hint?: string): DdrcError {
  return new DdrcError({ code: 'COMPILE_REQUEST', message: `compile: ${sentence}`, hint });
}
