import type { Listing } from './listing.ts';

/** What images have in common that a division should not cut. */
export interface Relatives {
  readonly what: 'group' | 'original';
  /** Of each item; null where it is not known. */
  readonly names: readonly (string | null)[];
  /** Whether there is a name at all. */
  readonly known: boolean;
}

/** The groups of a listing; where it names none, its originals, which serve as groups. */
export function relativesOf({ items }: Listing): Relatives {
  const groups = items.map(({ group }) => group);
  const originals = items.map(({ original }) => original ?? null);
  return !isKnown(groups) && isKnown(originals)
    ? { what: 'original', names: originals, known: true }
    : { what: 'group', names: groups, known: isKnown(groups) };
}

/** What stays together, for each item. A file that is listed twice is one, and no group's name begins like its. */
export function unitsOf({ items }: Listing, names: readonly (string | null)[]): string[] {
  return items.map(({ path }, i) => names[i] ?? `\0${path}`);
}

/** Whether any name of a column is known. */
export function isKnown(names: readonly (string | null)[]): boolean {
  return names.some((name) => name !== null);
}
