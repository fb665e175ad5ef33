import { isDdrcError } from '../../diagnostics/error.ts';
import { firstThree } from '../../runtime/flat-state.ts';
import { instantiate, loadModel } from '../load-model.ts';
import type { RunRecord } from './run-record.ts';
import { flatSettings, mixedAccuracy, readable, timings, trainingLoss } from './summary.ts';

/** Figures of one run; null where it has none. Those of training and validation are of the epoch whose weights it keeps. */
export interface RunFigures {
  /** The folder as it was named. */
  readonly run: string;
  readonly state: RunRecord['state'];
  readonly epochs: number;
  readonly bestEpoch: number | null;
  readonly trainLoss: number | null;
  readonly trainAccuracy: number | null;
  readonly valLoss: number | null;
  readonly valAccuracy: number | null;
  readonly testImages: number | null;
  readonly testLoss: number | null;
  readonly testAccuracy: number | null;
  /** Bounds of its interval over groups, of 95 % by default. */
  readonly testAccuracyInterval: readonly [low: number, high: number] | null;
  /** Mean over the classes. */
  readonly testF1: number | null;
  /** Of all classes together. */
  readonly testMcc: number | null;
  readonly testLogLoss: number | null;
  /** The median. */
  readonly secondsPerEpoch: number | null;
  /** Trainable numbers; null where the model file is gone or does not load. */
  readonly parameters: number | null;
}

export interface Comparison {
  readonly runs: readonly RunFigures[];
  /** Settings that are not the same in all runs: a value for each run, in their order; empty text where a run has none. */
  readonly settings: Readonly<Record<string, readonly string[]>>;
  /** Why figures are not of the same, a sentence each. */
  readonly notes: readonly string[];
}

/** Settings that say what a training was compiled to and looked at, and not what was asked for. */
const derived = /^(step|data\.(fingerprint|partFingerprints|contents))(\.|$)/;

/** Puts runs side by side. @param names as they were given on the command line */
export async function compareRuns(records: readonly RunRecord[], names: readonly string[]): Promise<Comparison> {
  const runs: RunFigures[] = [];
  for (const [i, record] of records.entries()) runs.push(figuresOf(record, names[i], await parametersOf(record)));
  return { runs, settings: differences(records), notes: notesOf(records, names) };
}

function figuresOf(record: RunRecord, run: string, parameters: number | null): RunFigures {
  const { state, epochs, best, test } = record;
  const interval = test?.intervals?.accuracy;
  return {
    run,
    state,
    epochs: epochs.length,
    bestEpoch: best?.epoch ?? null,
    trainLoss: best?.train.loss ?? null,
    trainAccuracy: best?.train.accuracy ?? null,
    valLoss: best?.val?.loss ?? null,
    valAccuracy: best?.val?.accuracy ?? null,
    testImages: test?.images ?? null,
    testLoss: test?.loss ?? null,
    testAccuracy: test?.accuracy ?? null,
    testAccuracyInterval: interval ? [interval.low, interval.high] : null,
    testF1: test?.macro?.f1 ?? null,
    testMcc: test?.mcc ?? null,
    testLogLoss: test?.logLoss ?? null,
    secondsPerEpoch: timings(record).perEpoch,
    parameters,
  };
}

async function parametersOf({ settings }: RunRecord): Promise<number | null> {
  try {
    const program = instantiate(await loadModel(settings.modelFile ?? undefined), settings.options);
    const { parameters } = program.build({ mode: 'inference', batch: 1, loss: false });
    return parameters.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  } catch (error) {
    if (isDdrcError(error)) return null;
    throw error;
  }
}

function differences(records: readonly RunRecord[]): Record<string, string[]> {
  const all = records.map(({ config, settings }) => {
    const { model, ddrc } = config;
    return new Map([...flatSettings(readable({ model, ddrc, ...settings }))].filter(([name]) => !derived.test(name)));
  });
  const names = [...new Set(all.flatMap((one) => [...one.keys()]))];
  const rows = names.map((name): [string, string[]] => [name, all.map((one) => one.get(name) ?? '')]);
  return Object.fromEntries(rows.filter(([, values]) => new Set(values).size > 1));
}

const figuresOfPart = { train: 'training', val: 'validation', test: 'test' } as const;

/** Which figures are not of the same examples; nothing where all are. A run counts for the parts that it has. */
function otherExamples(records: readonly RunRecord[]): string[] {
  const all = records.map(({ settings }) => settings.data);
  if (new Set(all.map(({ fingerprint }) => fingerprint)).size === 1) return [];
  if (all.some(({ partFingerprints }) => partFingerprints === null))
    return [
      'The runs have other examples, or divide them in another way, and those of earlier versions of ddrc do not tell which: their figures may not be of the same examples.',
    ];
  const differ = (['train', 'val', 'test'] as const).filter((part) => {
    const having = all.filter(({ examples }) => examples[part] > 0);
    return new Set(having.map(({ partFingerprints }) => partFingerprints![part])).size > 1;
  });
  if (differ.length === 0) return [];
  const list = differ
    .map((part) => figuresOfPart[part])
    .join(', ')
    .replace(/, (?=\w+$)/, ' and ');
  return [`The ${list} figures are not of the same examples in all runs.`];
}

function notesOf(records: readonly RunRecord[], names: readonly string[]): string[] {
  const notes: string[] = [];
  // Those of arrays are known from the test only.
  const known = records.flatMap(({ settings, test }, i) => {
    const classes = settings.classes ?? test?.names;
    return classes ? [{ name: names[i], classes }] : [];
  });
  if (new Set(known.map(({ classes }) => JSON.stringify(classes))).size > 1) {
    const each = known.map(({ name, classes }) => `${name}: ${firstThree(classes)}`);
    notes.push(
      `The runs tell different classes apart, so their accuracies and losses are not of the same task (${each.join('; ')}).`,
    );
  } else notes.push(...otherExamples(records));
  const open = records.flatMap(({ state, failure }, i) => {
    if (state === 'complete') return [];
    const how = { going: 'is still going on', stopped: 'was stopped', failed: `failed: ${failure}` };
    return [`${names[i]} ${how[state]}`];
  });
  if (open.length > 0) notes.push(`Not complete: ${open.join(', ')}.`);
  const early = records.flatMap(({ stoppedEarly, epochs, settings }, i) =>
    stoppedEarly ? [`${names[i]} after ${epochs.length} of ${settings.epochs} epochs`] : [],
  );
  if (early.length > 0) notes.push(`Ended early, by --patience: ${early.join(', ')}.`);
  for (const sentence of new Set(records.map(({ settings }) => trainingLoss(settings)))) {
    const where = names.filter((_, i) => trainingLoss(records[i].settings) === sentence && records[i].best);
    if (sentence && where.length > 0) notes.push(`${sentence} (${where.join(', ')}).`);
  }
  const mixed = names.filter((_, i) => records[i].settings.mix && records[i].best?.train.accuracy !== undefined);
  if (mixed.length > 0) notes.push(`${mixedAccuracy} (${mixed.join(', ')}).`);
  return notes;
}
