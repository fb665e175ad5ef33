import { existsSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { DdrcError } from '../../diagnostics/error.ts';
import { csvColumns, parseCsv } from './csv.ts';
import { type Candidate, isSplitName } from './listing.ts';

/**
 * The images that a CSV with the columns `path,label[,split][,group]` names, in its order; paths are relative to the CSV.
 * Split is one of train, val, test (any case, `TEST_SIMPLE` too), in every row or in none; an empty group is an unknown one.
 *
 * @throws DATA_CSV, DATA_CSV_COLUMNS, DATA_CSV_SPLIT, DATA_FILE_MISSING
 */
export function readTable(file: string): Candidate[] {
  const { header, rows } = parseCsv(readFileSync(file, 'utf8'), file);
  const column = csvColumns({ header, rows }, ['path', 'label'], ['split', 'group'], file);
  const cell = (cells: readonly string[], at: number) => (at < 0 || cells[at] === '' ? null : cells[at]);
  const spelling = new Map<string, string>();
  const withSplit = column.split >= 0 && rows.some(({ cells }) => cells[column.split] !== '');
  return rows.map(({ cells, line }) => {
    const where = `${file}:${line}`;
    const path = cell(cells, column.path);
    const className = cell(cells, column.label);
    const split = cell(cells, column.split);
    if (path === null || className === null) {
      throw new DdrcError({
        code: 'DATA_CSV',
        message: `the CSV file has a row without a ${path === null ? 'path' : 'label'}`,
        where,
        hint: 'fill the cell, or remove the row',
      });
    }
    if (withSplit && (split === null || !isSplitName(split))) {
      throw new DdrcError({
        code: 'DATA_CSV_SPLIT',
        message:
          split === null
            ? 'the CSV file has a row without a split, others have one'
            : `the CSV file has the unknown split "${split}"`,
        where,
        hint: 'a split is train, val or test; leave the column out to have the data split for you',
      });
    }
    const absolute = resolve(dirname(file), path);
    if (!existsSync(absolute)) {
      throw new DdrcError({
        code: 'DATA_FILE_MISSING',
        message: `the CSV file names "${path}", which does not exist`,
        where,
        hint: `paths are relative to the folder of the CSV: looked for ${absolute}`,
      });
    }
    if (split !== null && !spelling.has(split.toLowerCase())) spelling.set(split.toLowerCase(), split);
    return { path: absolute, className, split: split && spelling.get(split.toLowerCase())!, group: cell(cells, column.group) };
  });
}

/**
 * The groups in a data folder's `originals.csv` (columns `class,file,group`, and `split` where the data has splits): a function from
 * split, class and file (its path within the class folder, with `/`) to the group, null where the file is not named.
 *
 * @throws DATA_CSV, DATA_CSV_COLUMNS
 */
export function readGroups(file: string): (split: string | null, className: string, name: string) => string | null {
  const { header, rows } = parseCsv(readFileSync(file, 'utf8'), file);
  const column = csvColumns({ header, rows }, ['class', 'file', 'group'], ['split'], file);
  const groups = new Map<string, string>();
  for (const { cells } of rows) {
    const split = column.split < 0 ? null : cells[column.split].toLowerCase();
    if (cells[column.group] !== '') groups.set(groupKey(split, cells[column.class], cells[column.file]), cells[column.group]);
  }
  const bySplit = column.split >= 0;
  return (split, className, name) => groups.get(groupKey(bySplit ? (split ?? '').toLowerCase() : null, className, name)) ?? null;
}

function groupKey(split: string | null, className: string, file: string): string {
  return `${split ?? ''}\n${className}\n${file}`;
}
