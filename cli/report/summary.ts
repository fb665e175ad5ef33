import { grouped } from '../quantity.ts';
import type { RunRecord } from './run-record.ts';

/** How long a run's epochs took, in seconds; null where none is finished. */
export interface Timings {
  readonly seconds: number;
  /** The median. */
  readonly perEpoch: number | null;
  /** Examples that were trained on; the time of the validation counts. */
  readonly imagesPerSecond: number | null;
}

export function timings({ epochs, settings }: Pick<RunRecord, 'epochs' | 'settings'>): Timings {
  const all = epochs.map(({ seconds }) => seconds).sort((a, b) => a - b);
  const seconds = all.reduce((a, b) => a + b, 0);
  if (all.length === 0) return { seconds, perEpoch: null, imagesPerSecond: null };
  const middle = [all[Math.floor((all.length - 1) / 2)], all[Math.floor(all.length / 2)]];
  const perEpoch = (middle[0] + middle[1]) / 2;
  const { batch, data } = settings;
  const examples = Math.floor(data.examples.train / batch) * batch;
  return { seconds, perEpoch, imagesPerSecond: examples / Math.max(perEpoch, 1e-3) };
}

/** What came out, in one sentence. */
export function resultLine({ test, best, settings, state }: RunRecord): string {
  if (test) {
    const what = settings.data.path === null ? 'drawn cells (drawn by ddrc, not real)' : 'test examples';
    const figure =
      typeof test.accuracy === 'number' ? `accuracy ${(100 * test.accuracy).toFixed(1)} %` : `loss ${test.loss?.toPrecision(4)}`;
    return `${figure} on ${grouped(test.images)} ${what}${best ? `, weights of epoch ${best.epoch}` : ''}`;
  }
  if (!best) return 'no epoch is finished yet';
  if (!best.val) return `training loss ${best.train.loss.toPrecision(4)} in epoch ${best.epoch}, no validation and no test`;
  const accuracy = best.val.accuracy === undefined ? '' : `, accuracy ${(100 * best.val.accuracy).toFixed(1)} %`;
  return `validation loss ${best.val.loss.toPrecision(4)}${accuracy} in epoch ${best.epoch}, the best${state === 'complete' ? '' : ' so far'}; no test`;
}

/** What the training accuracy of mixed examples is; without a full stop. */
export const mixedAccuracy =
  'With --mixup and --cutmix the training accuracy counts the label with the larger share of a mixed image, so it is no measure of the model';

/** Why the training loss does not compare with the others; null where it does. Without a full stop. */
export function trainingLoss({ classWeights, mix }: RunRecord['settings']): string | null {
  const flags = [...(classWeights ? ['--class-weights'] : []), ...(mix ? ['--mixup and --cutmix'] : [])];
  if (flags.length === 0) return null;
  return `The training loss is with ${flags.join(' and ')}, and the losses of validation and test are without, so it does not compare with them`;
}

/** Where `--patience` ended a training. */
export function earlyEnd({ epochs, patience }: RunRecord['settings'], done: number): string {
  return `ended after ${done} of ${epochs} epochs: no lower validation loss in ${patience} epochs (--patience)`;
}

/** How far the training is, where it is not complete; otherwise null. */
export function stateLine({ state, failure, epochs, settings }: RunRecord): string | null {
  if (state === 'complete') return null;
  const done = `${epochs.length} of ${settings.epochs} epochs are finished`;
  if (state === 'failed') return `This training failed: ${failure}; ${done}.`;
  return state === 'going' ? `This training is still going on: ${done}.` : `This training was stopped: ${done}.`;
}

/** The largest object that is written out setting by setting. */
const largest = 24;

/** Settings as a reader wants them: class weights beside the names of their classes, and no notes, which stand elsewhere. */
export function readable(settings: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { notes, ...rest } = settings;
  const { classes, classWeights } = settings;
  if (!Array.isArray(classWeights) || !Array.isArray(classes)) return rest;
  return { ...rest, classWeights: classWeights.map((weight, i) => `${classes[i]}=${Number(weight).toPrecision(4)}`) };
}

/** Settings as names and texts: `data.path`, `optimizer.kind`. */
export function flatSettings(settings: object, above = ''): [name: string, value: string][] {
  return Object.entries(settings).flatMap(([key, value]): [string, string][] => {
    const name = `${above}${key}`;
    if (typeof value !== 'object' || value === null) return [[name, value === null ? '' : String(value)]];
    if (Array.isArray(value))
      return [[name, value.map((item) => (typeof item === 'object' ? JSON.stringify(item) : String(item))).join(', ')]];
    const count = Object.keys(value).length;
    return count > largest ? [[name, `${count} entries`]] : flatSettings(value, `${name}.`);
  });
}
