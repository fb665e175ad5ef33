import { describe, expect, it } from 'vitest';
import { classWeightsOf } from '../../cli/class-weights.ts';

const source = (counts: number[] | null, classes: string[] | null = ['blue', 'red', 'green']) => ({
  classes,
  trainingCounts: () => counts,
});

describe('classWeightsOf', () => {
  it('balances by examples / (classes · examples of the class)', () => {
    expect(classWeightsOf('balanced', source([2, 6, 4]))).toEqual([12 / 6, 12 / 18, 12 / 12]);
    expect(classWeightsOf(' balanced ', source([5, 5], null))).toEqual([1, 1]);
  });

  it('takes weights by name, and by number where classes have no names', () => {
    expect(classWeightsOf('red=0.5, blue=3', source([1, 1, 1]))).toEqual([3, 0.5, 1]);
    expect(classWeightsOf('1=2', source([1, 1], null))).toEqual([1, 2]);
    expect(classWeightsOf('a=b=2', source([1, 1], ['a=b', 'c']))).toEqual([2, 1]);
  });

  it.each([
    [
      'balanced',
      source([2, 0, 1]),
      'AID_UNFIT',
      '--class-weights balanced has nothing to balance the class red by: no example to train on is of it',
      'give examples of red, or weights by name: --class-weights blue=2',
    ],
    [
      'balanced',
      source([0], ['only']),
      'AID_UNFIT',
      '--class-weights balanced has nothing to balance the class only by: no example to train on is of it',
      'give examples of only, or weights by name: --class-weights only=2',
    ],
    ['balanced', source(null), 'AID_UNFIT', '--class-weights weighs classes, and these examples have none', 'leave it out'],
    ['red=1,red=2', source([1, 1, 1]), 'USAGE', '--class-weights has red twice', expect.any(String)],
    ['red=', source([1, 1, 1]), 'USAGE', '--class-weights: red= is not a number above 0', expect.any(String)],
  ])('refuses %s of %j', (text, from, code, message, hint) => {
    expect(() => classWeightsOf(text, from)).toThrow(expect.objectContaining({ code, message, hint }));
  });
});
