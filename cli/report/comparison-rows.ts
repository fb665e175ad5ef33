import { grouped } from '../quantity.ts';
import type { RunFigures } from './comparison.ts';

/** A row of text for each figure that one of the runs has: its name, then its value in each run. */
export function figureRows(runs: readonly RunFigures[]): string[][] {
  const loss = (value: number) => value.toPrecision(4);
  const percent = (value: number) => `${(100 * value).toFixed(1)} %`;
  const row = <K extends keyof RunFigures>(name: string, key: K, format: (value: NonNullable<RunFigures[K]>) => string) => [
    name,
    ...runs.map((run) => (run[key] === null ? '' : format(run[key]!))),
  ];
  const rows = [
    row('state', 'state', String),
    row('epochs', 'epochs', String),
    row('best epoch', 'bestEpoch', String),
    row('training loss', 'trainLoss', loss),
    row('training accuracy', 'trainAccuracy', percent),
    row('validation loss', 'valLoss', loss),
    row('validation accuracy', 'valAccuracy', percent),
    row('test examples', 'testImages', grouped),
    row('test loss', 'testLoss', loss),
    row('test accuracy', 'testAccuracy', percent),
    row('95 % interval over groups', 'testAccuracyInterval', ([low, high]) => `${percent(low)} to ${percent(high)}`),
    row('test F1, macro mean', 'testF1', (value) => value.toFixed(3)),
    row('test MCC, all classes', 'testMcc', (value) => value.toFixed(3)),
    row('test log loss', 'testLogLoss', loss),
    row('seconds an epoch', 'secondsPerEpoch', (value) => value.toFixed(1)),
    row('parameters', 'parameters', grouped),
  ];
  return rows.filter(([, ...values]) => values.some((value) => value !== ''));
}
