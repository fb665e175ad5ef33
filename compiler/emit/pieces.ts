/*
 * Many pieces of one array. A WebGPU shader may bind eight buffers on any adapter, its output among them, so there a Split or Concat of many is a tree of
 * small ones; elsewhere it is one node.
 */
import type { Emitter } from './emitter.ts';

/** Pieces that one shader makes or reads. */
const most = 7;

/** `x` cut along `axis` into parts of the given sizes. */
export function splitInto(e: Emitter, x: string, sizes: readonly number[], axis: number): readonly string[] {
  if (sizes.length === 1) return [x];
  const groups = grouped(e, sizes);
  if (!groups) return e.multi('Split', [x, e.ints(sizes)], sizes.length, { axis });
  const wholes = splitInto(
    e,
    x,
    groups.map((group) => group.reduce((sum, size) => sum + size, 0)),
    axis,
  );
  return groups.flatMap((group, i) => splitInto(e, wholes[i], group, axis));
}

/** `pieces` one behind the other along `axis`. */
export function concatOf(e: Emitter, pieces: readonly string[], axis: number): string {
  if (pieces.length === 1) return pieces[0];
  const groups = grouped(e, pieces);
  if (!groups) return e.node('Concat', pieces, { axis });
  return concatOf(
    e,
    groups.map((group) => concatOf(e, group, axis)),
    axis,
  );
}

/** The items in at most {@link most} runs of nearly equal length; null where one node takes them all. */
function grouped<T>(e: Emitter, items: readonly T[]): T[][] | null {
  if (e.target.provider !== 'webgpu' || items.length <= most) return null;
  const length = Math.ceil(items.length / most);
  return Array.from({ length: Math.ceil(items.length / length) }, (_, i) => items.slice(i * length, (i + 1) * length));
}
