import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseCsv } from '../../runtime/data/csv.ts';
import type { RunPaths } from '../../runtime/runfolder.ts';

/** What a run's model made of one of its test images. */
export interface TestPrediction {
  /** Within the data, with `/`. */
  readonly path: string;
  /** The true class. */
  readonly label: string;
  readonly predicted: string;
  /** Of the class that was predicted; null where the file does not tell. */
  readonly probability: number | null;
}

/**
 * The rows of a run's `predictions.csv`; null where it has none.
 * @throws DdrcError DATA_CSV
 */
export function predictionsOf({ folder }: RunPaths): TestPrediction[] | null {
  const file = join(folder, 'predictions.csv');
  if (!existsSync(file)) return null;
  const { header, rows } = parseCsv(readFileSync(file, 'utf8'), file);
  const at = (cells: readonly string[], column: string) => cells[header.indexOf(column)] ?? '';
  return rows.map(({ cells }) => {
    const predicted = at(cells, 'predicted');
    const probability = Number(at(cells, `p:${predicted.toLowerCase()}`) || Number.NaN);
    return {
      path: at(cells, 'path'),
      label: at(cells, 'label'),
      predicted,
      probability: Number.isFinite(probability) ? probability : null,
    };
  });
}
