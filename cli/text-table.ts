import { printable } from '../diagnostics/printable.ts';

/** Aligns the columns of a table two spaces apart: `left` columns begin, `right` columns end, at the same place. The first row is the head. */
export function textTable(rows: readonly (readonly string[])[], align: readonly ('left' | 'right')[]): string {
  const cells = rows.map((row) => row.map(printable));
  const widths = align.map((_, column) => Math.max(...cells.map((row) => row[column].length)));
  return cells
    .map((row) =>
      row
        .map((cell, column) => (align[column] === 'left' ? cell.padEnd(widths[column]) : cell.padStart(widths[column])))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
