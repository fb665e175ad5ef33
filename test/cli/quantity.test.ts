import { describe, expect, it } from 'vitest';
import { bytes, duration, grouped, short } from '../../cli/quantity.ts';
import { textTable } from '../../cli/text-table.ts';

describe('quantities as text', () => {
  it.each([
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1.00 kB'],
    [999_499, '999 kB'],
    [999_500, '1.00 MB'],
    [12_345_678, '12.3 MB'],
    [1.5e9, '1.50 GB'],
  ])('%d bytes', (count, text) => expect(bytes(count)).toBe(text));

  it.each([
    [7, '7'],
    [258, '258'],
    [2064, '2.06 k'],
    [790_600_000, '791 M'],
  ])('%d as a short count', (count, text) => expect(short(count)).toBe(text));

  it.each([
    [0.4, '0 ms'],
    [999, '999 ms'],
    [1234, '1.23 s'],
    [59_994, '59.99 s'],
    [60_000, '1 min 00 s'],
    [245_000, '4 min 05 s'],
    [3_720_000, '1 h 02 min'],
  ])('%d ms', (ms, text) => expect(duration(ms)).toBe(text));

  it('groups thousands', () => expect(grouped(251_527)).toBe('251,527'));
});

describe('a table as text', () => {
  it('aligns columns to the left or the right', () => {
    expect(
      textTable(
        [
          ['a', 'n'],
          ['bcd', '10'],
          ['e', '7'],
        ],
        ['left', 'right'],
      ),
    ).toBe('a     n\nbcd  10\ne     7');
  });
});
