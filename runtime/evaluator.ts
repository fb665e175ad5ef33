import { cut, overlap, prepareBatch } from './batches.ts';
import type { Dataset } from './data/dataset.ts';
import type { Engine, SessionPort } from './engine.ts';
import type { Scores } from './manifest.ts';
import { bootstrapOverGroups } from './metrics/bootstrap.ts';
import { argmax, probabilitiesOf, type Scored } from './metrics/scored.ts';
import { accuracy, addPrediction, type Confusion, createConfusion, type Report, report } from './metrics.ts';

/** What to run over a data set, and on what. */
export interface EvaluationRequest {
  readonly engine: Engine;
  /** The name of an open graph whose batch size is free; it reads parameters from the engine's state where it takes them. */
  readonly graph: string;
  /** Its inputs that a batch fills. */
  readonly inputs: readonly SessionPort[];
  /** Its output of scores [N, classes]; null where it does not classify. */
  readonly scores: Scores | null;
  /** Its output of the mean loss of the batch, null where it has none. */
  readonly loss: string | null;
  readonly dataset: Dataset;
  /** Examples at a time. */
  readonly batch: number;
  readonly signal?: AbortSignal;
  /** Called after each batch. */
  readonly onBatch?: (done: number, total: number) => void;
}

/** How a model fares on a data set. */
export interface Evaluation {
  readonly images: number;
  /** Mean loss of the examples, null where the graph has none. */
  readonly loss: number | null;
  /** Counts by class, null where the model does not classify or the data has no classes. */
  readonly confusion: Confusion | null;
  /** What was made of each example, in the order of the data set; null where {@link confusion} is. */
  readonly scored: Scored | null;
  /** Whether all scores were finite numbers. */
  readonly finite: boolean;
}

/**
 * Runs a graph over all examples, the last incomplete batch included. The loss is the mean over examples: each batch counts with its size.
 * @returns null where the signal ended it
 */
export async function evaluate(request: EvaluationRequest): Promise<Evaluation | null> {
  const { engine, graph, inputs, scores, loss, dataset, batch, signal, onBatch } = request;
  const scored = scores && dataset.labels && emptyScored(dataset.labels, scores.classes);
  const fetch = [...(loss ? [loss] : []), ...(scores ? [scores.output] : [])];
  const order = Array.from({ length: dataset.size }, (_, i) => i);
  let sum = 0;
  let images = 0;
  let finite = true;
  await overlap(
    cut(order, batch),
    async (indices) => {
      if (signal?.aborted) return null;
      const size = indices.length;
      const { feeds } = await prepareBatch(dataset, inputs, loss ? indices : filled(indices, inputs));
      return { running: engine.run(graph, feeds, fetch).then((outputs) => ({ outputs, size })) };
    },
    ({ outputs, size }) => {
      if (loss) sum += Number(outputs[loss].data[0]) * size;
      if (scores) {
        const given = (outputs[scores.output].data as Float32Array).subarray(0, size * scores.classes);
        finite &&= given.every(Number.isFinite);
        if (scored) takeScores(scored, images, given, scores);
      }
      images += size;
      onBatch?.(images, dataset.size);
    },
  );
  if (signal?.aborted) return null;
  const confusion = scored && confusionOf(scored, scores!.classes);
  return { images, loss: loss ? sum / images : null, confusion, scored, finite };
}

function emptyScored(labels: Int32Array, classes: number): Scored {
  return { labels, predicted: new Int32Array(labels.length), probabilities: new Float32Array(labels.length * classes) };
}

/** Takes in what examples from `first` on were given. */
function takeScores(
  { predicted, probabilities }: Scored,
  first: number,
  given: Float32Array,
  { classes, activation }: Scores,
): void {
  for (let row = 0; row * classes < given.length; row++) predicted[first + row] = argmax(given, row * classes, classes);
  probabilities.set(probabilitiesOf(given, classes, activation), first * classes);
}

function confusionOf({ labels, predicted }: Scored, classes: number): Confusion {
  const confusion = createConfusion(classes);
  labels.forEach((label, n) => {
    addPrediction(confusion, label, predicted[n]);
  });
  return confusion;
}

/**
 * One evaluation out of several of the same examples: the means of their probabilities, and the classes that these predict. One alone stays as it is.
 */
export function averaged(evaluations: readonly Evaluation[]): Evaluation {
  const [first] = evaluations;
  if (evaluations.length === 1 || !first.scored || !first.confusion) return first;
  const { labels } = first.scored;
  const { classes } = first.confusion;
  const probabilities = meanOf(evaluations.map(({ scored }) => scored!.probabilities));
  const scored = { labels, predicted: labels.map((_, n) => argmax(probabilities, n * classes, classes)), probabilities };
  return { ...first, confusion: confusionOf(scored, classes), scored };
}

/** The mean of arrays of one length, element by element, summed in double precision. */
export function meanOf(arrays: readonly Float32Array[]): Float32Array {
  return arrays[0].map((_, i) => arrays.reduce((sum, array) => sum + array[i], 0) / arrays.length);
}

/** Where a graph was built for batches of one size, the last one is filled up with its first example again, and what comes of that is dropped. */
function filled(indices: readonly number[], [input]: readonly SessionPort[]): readonly number[] {
  const missing = (fixedBatch(input) ?? 0) - indices.length;
  return missing > 0 ? [...indices, ...Array<number>(missing).fill(indices[0])] : indices;
}

/** The batch that a graph with this input was built for; null where it takes any. */
export function fixedBatch(input: SessionPort | undefined): number | null {
  const batch = input?.shape[0];
  return typeof batch === 'number' ? batch : null;
}

/** The figures of an epoch's validation: `loss` always, the others for a model that classifies. */
export interface EpochFigures {
  readonly loss: number;
  readonly accuracy?: number;
  /** Mean over the classes. */
  readonly f1?: number;
  readonly mcc?: number;
}

/** The short form of an evaluation with a loss, as a line of metrics.jsonl has it. */
export function figuresOf({ loss, confusion }: Evaluation): EpochFigures {
  if (!confusion) return { loss: loss! };
  const { macro } = report(confusion, namesOf(null, confusion.classes));
  return { loss: loss!, accuracy: accuracy(confusion), f1: macro.f1, mcc: macro.mcc };
}

/** The full form: the number of examples, the loss where there is one, and the report by class for a model that classifies. */
export type TestFigures = { readonly images: number; readonly loss?: number } & Partial<Report>;

/**
 * The full form of an evaluation.
 * @param classes the names, by default the class numbers
 * @param groups the group of each example, null where it is not known; where some are known, there are intervals over them
 */
export function testFiguresOf(
  { images, loss, confusion, scored }: Evaluation,
  classes: readonly string[] | null,
  groups: readonly (string | null)[] = [],
): TestFigures {
  const base = { images, ...(confusion && report(confusion, namesOf(classes, confusion.classes), scored)) };
  const intervals = scored && confusion && bootstrapOverGroups(scored, confusion.classes, groups);
  return { ...base, ...(intervals && { intervals }), ...(loss !== null && { loss }) };
}

/** The class names, or `0`, `1`, … where there are none. */
export function namesOf(classes: readonly string[] | null, count: number): readonly string[] {
  return classes ?? Array.from({ length: count }, (_, index) => String(index));
}
