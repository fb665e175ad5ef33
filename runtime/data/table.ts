import { existsSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { DdrcError } from '../../diagnostics/error.ts';
import { csvColumns, parseCsv } from './csv.ts';
import { type Candidate, isSplitName } from './listing.ts';

/**
 * The images that a CSV with the columns `path,label[,split][,group][,original][,hash]` names, in its order; paths are relative to the CSV.
 * Split is one of train, val, test (any case, `TEST_SIMPLE` too), in every row or in none; an empty group is an unknown one. A hash is the SHA-256 of the
 * file's bytes, in hexadecimal. Other columns are not read.
 *
 * @throws DATA_CSV, DATA_CSV_COLUMNS, DATA_CSV_SPLIT, DATA_FILE_MISSING
 */
export function readTable(file: string): Candidate[] {
  const { header, rows } = parseCsv(readFileSync(file, 'utf8'), file);
  const column = csvColumns({ header, rows }, ['path', 'label'], ['split', 'group', 'original', 'hash'], file);
  const cell = (cells: readonly string[], at: number) => (at < 0 || cells[at] === '' ? null : cells[at]);
  const spelling = new Map<string, string>();
  const withSplit = column.split >= 0 && rows.some(({ cells }) => cells[column.split] !== '');
  const missing: MissingFile[] = [];
  const candidates = rows.map(({ cells, line }): Candidate => {
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
    if (!existsSync(absolute)) missing.push({ path, absolute, where });
    if (split !== null && !spelling.has(split.toLowerCase())) spelling.set(split.toLowerCase(), split);
    const original = cell(cells, column.original);
    const hash = cell(cells, column.hash)?.toLowerCase();
    return {
      path: absolute,
      className,
      split: split && spelling.get(split.toLowerCase())!,
      group: cell(cells, column.group),
      ...(original !== null && { original }),
      ...(hash !== undefined && { hash }),
      line,
    };
  });
  if (missing.length > 0) throw missingError(missing, rows.length);
  return candidates;
}

interface MissingFile {
  readonly path: string;
  readonly absolute: string;
  readonly where: string;
}

function missingError(missing: readonly MissingFile[], rows: number): DdrcError {
  const [first, ...others] = missing;
  const shown = others.slice(0, 4).map(({ path }) => path);
  const more = others.length > shown.length ? ' and others' : '';
  return new DdrcError({
    code: 'DATA_FILE_MISSING',
    message: `the CSV file names "${first.path}", which does not exist`,
    notes: others.length > 0 ? [{ label: `${missing.length} of ${rows} are missing`, text: `${shown.join(', ')}${more}` }] : [],
    where: first.where,
    hint: `paths are relative to the folder of the CSV: looked for ${first.absolute}`,
  });
}

/** What an `originals.csv` says of an image. */
export interface Origin {
  readonly group: string | null;
  readonly original?: string;
}

/**
 * What a data folder's `originals.csv` says (columns `class,file,group`, `split` where the data has splits, and `original`): a function from
 * split, class and file (its path within the class folder, with `/`) to the group, null where the file is not named.
 *
 * @throws DATA_CSV, DATA_CSV_COLUMNS
 */
export function readOrigins(file: string): (split: string | null, className: string, name: string) => Origin {
  const { header, rows } = parseCsv(readFileSync(file, 'utf8'), file);
  const column = csvColumns({ header, rows }, ['class', 'file', 'group'], ['split', 'original'], file);
  const origins = new Map<string, Origin>();
  for (const { cells } of rows) {
    const split = column.split < 0 ? null : cells[column.split].toLowerCase();
    const original = column.original < 0 ? '' : cells[column.original];
    const origin = { group: cells[column.group] || null, ...(original !== '' && { original }) };
    origins.set(fileKey(split, cells[column.class], cells[column.file]), origin);
  }
  const bySplit = column.split >= 0;
  return (split, className, name) =>
    origins.get(fileKey(bySplit ? (split ?? '').toLowerCase() : null, className, name)) ?? { group: null };
}

function fileKey(split: string | null, className: string, file: string): string {
  return `${split ?? ''}\n${className}\n${file}`;
}
