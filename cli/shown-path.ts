import { relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The path of a file that is named by a path or a `file:` address, as it stands in a stack. */
export function pathOf(place: string): string {
  return place.startsWith('file:') ? fileURLToPath(place.replace(/[?#].*$/, '')) : place.replace(/^async /, '');
}

/** A path as a reader wants it: relative where it lies below the working folder. */
export function shown(path: string): string {
  const full = resolve(pathOf(path));
  const short = relative('', full);
  return short.startsWith('..') ? full : short || full;
}
