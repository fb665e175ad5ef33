import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { shellWord } from '../../diagnostics/shell-word.ts';

describe.skipIf(process.platform === 'win32')('a word of a command line', () => {
  it.each(['runs/ddrnet-1', 'ödd run', "a'b", 'a"b', '$HOME', 'a;b', '~x', 'x(1)', '中文', 'a\\b', '*', ''])(
    'comes through a shell as it is: %j',
    (text) => {
      expect(execFileSync('sh', ['-c', `printf %s ${shellWord(text)}`], { encoding: 'utf8' })).toBe(text);
    },
  );

  it('is quoted only where it has to be', () => {
    expect(['runs/ddrnet-1', 'ödd run', 'rép', 'a=b,c:d@e+f%'].map(shellWord)).toEqual([
      'runs/ddrnet-1',
      "'ödd run'",
      'rép',
      'a=b,c:d@e+f%',
    ]);
  });
});
