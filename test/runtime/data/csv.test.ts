import { describe, expect, it } from 'vitest';
import { csvColumns, formatCsv, parseCsv } from '../../../runtime/data/csv.ts';
import { errorOf } from './files.ts';

describe('parseCsv', () => {
  it('reads quotes, line breaks in quotes, CRLF, a byte order mark, blank lines and blanks around cells', () => {
    const text = '\ufeff Path ,LABEL\r\n"a,1.png", cat \r\n\r\n"say ""hi""\nthere",dog\r\n"",""\r\nlast.png,';
    expect(parseCsv(text, 'x.csv')).toEqual({
      header: ['path', 'label'],
      rows: [
        { line: 2, cells: ['a,1.png', 'cat'] },
        { line: 4, cells: ['say "hi"\nthere', 'dog'] },
        { line: 6, cells: ['', ''] },
        { line: 7, cells: ['last.png', ''] },
      ],
    });
  });

  it('reads an empty text as no columns', () => {
    expect(parseCsv('', 'x.csv')).toEqual({ header: [], rows: [] });
  });

  it('keeps the header as it is where that is asked for', () => {
    expect(parseCsv('Path," p:A ",p:a\n', 'x.csv', true).header).toEqual(['Path', ' p:A ', 'p:a']);
  });

  it.each([
    ['path,label\na,"b\n', 'x.csv:2', 'never closed'],
    ['path,label\n"a"b,c\n', 'x.csv:2', 'after a closing quote'],
    ['path,label\n"a\nb",c\na,b,c\n', 'x.csv:4', 'a row has 3 cells where the header has 2'],
    ['path,label\na\n', 'x.csv:2', 'a row has 1 cells'],
    ['path,path\na,b\n', 'x.csv:1', 'twice'],
  ])('locates what is wrong in %j', async (text, where, sentence) => {
    const error = await errorOf(() => parseCsv(text, 'x.csv'));
    expect(error).toMatchObject({ code: 'DATA_CSV', where });
    expect(error.message).toContain(sentence);
  });
});

describe('formatCsv', () => {
  it('writes what parseCsv reads, quotes only where they are needed', () => {
    const rows = [
      ['name', 'note'],
      ['a,b', 'say "hi"'],
      [' blanks ', 'two\r\nlines'],
      ['', ''],
      ['plain text', '\ufeffmark'],
    ];
    const text = formatCsv(rows);
    expect(text).toBe('name,note\n"a,b","say ""hi"""\n" blanks ","two\r\nlines"\n,\nplain text,"\ufeffmark"\n');
    const { header, rows: read } = parseCsv(text, 'x.csv', true);
    expect([header, ...read.map(({ cells }) => cells)]).toEqual(rows);
    // One empty cell alone would be a blank line.
    expect(parseCsv(formatCsv([['one'], ['']]), 'x.csv').rows).toEqual([{ line: 2, cells: [''] }]);
  });
});

describe('csvColumns', () => {
  it('finds columns in any order and says -1 for optional ones that are absent', () => {
    const table = parseCsv('label,path\n', 'x.csv');
    expect(csvColumns(table, ['path', 'label'], ['group'], 'x.csv')).toEqual({ path: 1, label: 0, group: -1 });
  });

  it('names missing columns, and suspects semicolons', async () => {
    const error = await errorOf(() => csvColumns(parseCsv('path;label\na;b\n', 'x.csv'), ['path', 'label'], [], 'x.csv'));
    expect(error.code).toBe('DATA_CSV_COLUMNS');
    expect(error.message).toBe('the CSV file has no column "path" and no column "label"');
    expect(error.hint).toContain('semicolons');
  });
});
