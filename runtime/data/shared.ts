import { counted } from '../../diagnostics/counted.ts';
import { byRole } from './listing.ts';

/** What two splits have in common. */
export interface Shared {
  readonly splits: readonly [string, string];
  /** How many groups, originals or contents are in both. */
  readonly count: number;
  readonly names: readonly string[];
  /** Images of each of the two splits that have one of them. */
  readonly images: Readonly<Record<string, number>>;
}

/** One sentence: `train and test share 2 groups: 3 images of train and 1 of test.` */
export function sharedSentence({ splits, count, images }: Shared, one: string, many = `${one}s`): string {
  const [a, b] = splits.toSorted(byRole);
  return `${a} and ${b} share ${counted(count, one, many)}: ${counted(images[a], 'image')} of ${a} and ${images[b].toLocaleString('en-US')} of ${b}.`;
}

/**
 * What is on both sides of two splits, for each two splits that have something in common.
 *
 * @param splits the split of each image; null: in none
 * @param names what each image belongs to (its group, its original, the hash of its bytes); null: not known
 */
export function sharedBetween(splits: readonly (string | null)[], names: readonly (string | null)[]): Shared[] {
  const counts = new Map<string, Map<string, number>>();
  splits.forEach((split, i) => {
    const name = names[i];
    if (split === null || name === null) return;
    if (!counts.has(split)) counts.set(split, new Map());
    const ofSplit = counts.get(split)!;
    ofSplit.set(name, (ofSplit.get(name) ?? 0) + 1);
  });
  return pairsOf([...counts.keys()]).flatMap(([a, b]) => {
    const [inA, inB] = [counts.get(a)!, counts.get(b)!];
    const both = [...inA.keys()].filter((name) => inB.has(name));
    if (both.length === 0) return [];
    const images = (of: ReadonlyMap<string, number>) => both.reduce((sum, name) => sum + of.get(name)!, 0);
    return [{ splits: [a, b], count: both.length, names: both, images: { [a]: images(inA), [b]: images(inB) } }];
  });
}

/** Every two of a list, in its order. */
export function pairsOf<T>(list: readonly T[]): [T, T][] {
  return list.flatMap((a, i) => list.slice(i + 1).map((b): [T, T] => [a, b]));
}
