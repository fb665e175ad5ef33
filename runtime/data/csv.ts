import { DdrcError } from '../../diagnostics/error.ts';

/** A row of a CSV file and the line (from 1) on which it begins. */
export interface CsvRow {
  readonly line: number;
  readonly cells: readonly string[];
}

/** A CSV file: its header in lower case without surrounding blanks, and its rows. */
export interface CsvTable {
  readonly header: readonly string[];
  readonly rows: readonly CsvRow[];
}

/**
 * Reads CSV text: commas, RFC 4180 quoting (`""` is a quote, quoted cells may hold line breaks), LF or CRLF, an optional byte order mark.
 * Blank lines are skipped. Cells outside quotes lose surrounding blanks.
 *
 * @param where names the file in errors
 * @throws DATA_CSV for an unclosed quote, text after a closing quote, a row whose number of cells is not the header's, a repeated column
 */
export function parseCsv(text: string, where: string): CsvTable {
  const rows = splitRows(text, where);
  const header = (rows[0]?.cells ?? []).map((name) => name.trim().toLowerCase());
  const repeated = header.find((name, i) => name !== '' && header.indexOf(name) !== i);
  if (repeated !== undefined) throw csvError(`the column "${repeated}" is there twice`, where, rows[0].line);
  for (const { cells, line } of rows) {
    if (cells.length === header.length) continue;
    throw csvError(
      `a row has ${cells.length} cells where the header has ${header.length}`,
      where,
      line,
      'put cells that hold a comma in double quotes',
    );
  }
  return { header, rows: rows.slice(1) };
}

/** CSV text that {@link parseCsv} reads back: a header and rows, quoted where need be. */
export function formatCsv(rows: readonly (readonly string[])[]): string {
  const cell = (text: string) => (/^\s|\s$|[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return rows.map((row) => `${row.map(cell).join(',')}\n`).join('');
}

/**
 * The positions of columns by name; -1 where an optional one is absent.
 *
 * @throws DATA_CSV_COLUMNS naming the missing columns and those that are there
 */
export function csvColumns<Name extends string>(
  table: CsvTable,
  required: readonly Name[],
  optional: readonly Name[],
  where: string,
): Record<Name, number> {
  const missing = required.filter((name) => !table.header.includes(name));
  if (missing.length > 0) {
    const semicolons = table.header.length === 1 && table.header[0].includes(';');
    const wanted = [...required, ...optional.map((name) => `[${name}]`)].join(',');
    throw new DdrcError({
      code: 'DATA_CSV_COLUMNS',
      message: `the CSV file has no column ${missing.map((name) => `"${name}"`).join(' and no column ')}`,
      notes: [{ label: 'columns', text: table.header.join(', ') || 'none: the file is empty' }],
      where,
      hint: semicolons ? 'cells are separated by commas, not by semicolons' : `the first line names the columns: ${wanted}`,
    });
  }
  return Object.fromEntries([...required, ...optional].map((name) => [name, table.header.indexOf(name)])) as Record<Name, number>;
}

function splitRows(text: string, where: string): CsvRow[] {
  const rows: CsvRow[] = [];
  let cells: string[] = [];
  let line = 1;
  let firstLine = 1;
  let at = text.charCodeAt(0) === 0xfeff ? 1 : 0;
  while (at < text.length) {
    let cell: string;
    let quoted = false;
    const start = skipBlanks(text, at);
    if (text[start] === '"') {
      const openedOn = line;
      quoted = true;
      cell = '';
      at = start + 1;
      for (;;) {
        const close = text.indexOf('"', at);
        if (close < 0) throw csvError('a quoted cell is never closed', where, openedOn);
        const piece = text.slice(at, close);
        line += countLines(piece);
        cell += piece;
        at = close + 1;
        if (text[at] !== '"') break;
        cell += '"';
        at++;
      }
      at = skipBlanks(text, at);
      if (at < text.length && !',\r\n'.includes(text[at])) {
        throw csvError('there is text after a closing quote', where, line, 'a quote inside a quoted cell is written twice');
      }
    } else {
      let end = at;
      while (end < text.length && text[end] !== ',' && text[end] !== '\n' && text[end] !== '\r') end++;
      cell = text.slice(at, end).trim();
      at = end;
    }
    cells.push(cell);
    if (text[at] === ',') {
      at++;
      if (at < text.length) continue;
      cells.push('');
    }
    if (cells.length > 1 || cell !== '' || quoted) rows.push({ line: firstLine, cells });
    cells = [];
    if (text[at] === '\r' && text[at + 1] === '\n') at++;
    at++;
    line++;
    firstLine = line;
  }
  return rows;
}

function skipBlanks(text: string, at: number): number {
  while (text[at] === ' ' || text[at] === '\t') at++;
  return at;
}

function countLines(text: string): number {
  let lines = 0;
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) lines++;
  return lines;
}

function csvError(problem: string, where: string, line: number, hint?: string): DdrcError {
  return new DdrcError({ code: 'DATA_CSV', message: `the CSV file cannot be read: ${problem}`, where: `${where}:${line}`, hint });
}
