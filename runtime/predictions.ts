import { DdrcError } from '../diagnostics/error.ts';
import { csvColumns, formatCsv, parseCsv } from './data/csv.ts';
import type { Dataset } from './data/dataset.ts';
import { readBytes, writeFileAtomic } from './files.ts';
import { argmax, type Scored } from './metrics/scored.ts';

/** What a model makes of each of N labelled examples: a row each of a file of predictions. */
export interface Predictions extends Scored {
  /** The K class names by class index. */
  readonly classes: readonly string[];
  /** The path of each example within its data, with `/`; its index where it is no file. */
  readonly paths: readonly string[];
  /** The group of each example, null where that is not known. */
  readonly groups: readonly (string | null)[];
}

const columns = ['path', 'label', 'predicted', 'group'] as const;
/** Stands before a class name in the head of its column of probabilities. */
const prefix = 'p:';

/** What was made of a data set's examples, with what they are called. */
export function predictionsOf(scored: Scored, { paths, groups }: Dataset, classes: readonly string[]): Predictions {
  const { labels, predicted, probabilities } = scored;
  const names = paths ?? Array.from(labels, (_, n) => String(n));
  return { classes, paths: names, groups: groups ?? names.map(() => null), labels, predicted, probabilities };
}

/**
 * Writes predictions as CSV, atomically: `path,label,predicted,group,p:CLASS,…`, an example a row; an empty group is an unknown one. Probabilities have nine digits, which
 * give the same float32 again.
 * @throws DdrcError OUTPUT_UNWRITABLE, DISK_FULL
 */
export function writePredictions(file: string, predictions: Predictions): void {
  const { classes, paths, groups, labels, predicted, probabilities } = predictions;
  const rows = paths.map((path, n) => [
    path,
    classes[labels[n]],
    classes[predicted[n]],
    groups[n] ?? '',
    ...Array.from(probabilities.subarray(n * classes.length, (n + 1) * classes.length), digits),
  ]);
  writeFileAtomic(file, formatCsv([[...columns, ...classes.map((name) => prefix + name)], ...rows]));
}

function digits(value: number): string {
  return String(Number(value.toPrecision(9)));
}

/**
 * Reads a file that {@link writePredictions} wrote.
 * @throws DdrcError FILE_MISSING, FILE_UNREADABLE, DATA_CSV, DATA_CSV_COLUMNS; PREDICTIONS_INVALID where the file is cut off, a class is unknown, a probability is none, or the
 * predicted class is not one of the highest probability
 */
export function readPredictions(file: string): Predictions {
  const invalid = (message: string, line: number) => {
    const hint = 'have the file written again: ddrc eval RUN --predictions FILE';
    return new DdrcError({ code: 'PREDICTIONS_INVALID', message, where: `${file}:${line}`, hint });
  };
  const text = Buffer.from(readBytes(file)).toString('utf8');
  const table = parseCsv(text, file, true);
  csvColumns(table, columns, [], file);
  const { header, rows } = table;
  const heads = header.slice(columns.length);
  if (columns.some((name, i) => header[i] !== name) || heads.length === 0 || heads.some((head) => !head.startsWith(prefix)))
    throw invalid(`the columns of a file of predictions are ${columns.join(',')},${prefix}CLASS,…, not ${header.join(',')}`, 1);
  if (!text.endsWith('\n')) throw invalid('the file of predictions ends within a row', rows.at(-1)?.line ?? 1);
  const classes = heads.map((head) => head.slice(prefix.length));
  const index = new Map(classes.map((name, k) => [name, k]));
  const labels = new Int32Array(rows.length);
  const predicted = new Int32Array(rows.length);
  const probabilities = new Float32Array(rows.length * classes.length);
  rows.forEach(({ cells, line }, n) => {
    const [path, label, guess, , ...values] = cells;
    if (path === '') throw invalid('a row of the predictions has no path', line);
    const unknown = [label, guess].find((name) => !index.has(name));
    if (unknown !== undefined) throw invalid(`a row of the predictions has the class "${unknown}", which has no column`, line);
    const wrong = values.find((value) => !isProbability(value));
    if (wrong !== undefined) throw invalid(`a row of the predictions has "${wrong}" in the place of a probability`, line);
    labels[n] = index.get(label)!;
    predicted[n] = index.get(guess)!;
    const row = Float32Array.from(values, Number);
    if (row[predicted[n]] < row[argmax(row)]) throw invalid(`"${guess}" does not have the highest probability of its row`, line);
    probabilities.set(row, n * classes.length);
  });
  const groups = rows.map(({ cells }) => cells[3] || null);
  return { classes, paths: rows.map(({ cells }) => cells[0]), groups, labels, predicted, probabilities };
}

function isProbability(text: string): boolean {
  return /^\d/.test(text) && Number(text) >= 0 && Number(text) <= 1;
}
