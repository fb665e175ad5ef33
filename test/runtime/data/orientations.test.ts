import { describe, expect, it } from 'vitest';
import { orient, orientations } from '../../../runtime/data/orientations.ts';

/** Two planes of 2 x 2: 1 2 / 3 4 and ten times as much. */
const planes = Float32Array.of(1, 2, 3, 4, 10, 20, 30, 40);
const seen = (name: keyof typeof orientations) => orientations[name].map((view) => [...orient(planes, 2, view)].slice(0, 4));

describe('orientations', () => {
  it('none is the image as it is', () => {
    const [view] = orientations.none;
    expect(orientations.none).toHaveLength(1);
    expect(orient(planes, 2, view)).toEqual(planes);
  });

  it('flips mirror along one axis and both, in every plane', () => {
    expect(seen('flips')).toEqual([
      [1, 2, 3, 4],
      [2, 1, 4, 3],
      [3, 4, 1, 2],
      [4, 3, 2, 1],
    ]);
    expect([...orient(planes, 2, orientations.flips[1])].slice(4)).toEqual([20, 10, 40, 30]);
  });

  it('turns are all eight ways to lay a square on itself, the image first', () => {
    const all = seen('turns');
    expect(all[0]).toEqual([1, 2, 3, 4]);
    expect(new Set(all.map(String)).size).toBe(8);
    // A quarter turn clockwise, and one back.
    expect(all).toContainEqual([3, 1, 4, 2]);
    expect(all).toContainEqual([2, 4, 1, 3]);
  });
});
