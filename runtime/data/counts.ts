/** A number for each split and class; a data set without splits has the one split `all`. */
export type BySplitAndClass = Readonly<Record<string, Readonly<Record<string, number>>>>;

/** How many different names, other than null, each split and class has; an image of the split null counts nowhere. */
export function countsBy(
  splits: readonly (string | null)[],
  labels: readonly string[],
  names: readonly unknown[],
  classes: readonly string[],
): BySplitAndClass {
  const seen = new Map<string, Map<string, Set<unknown>>>();
  splits.forEach((split, i) => {
    if (split === null) return;
    if (!seen.has(split)) seen.set(split, new Map(classes.map((name) => [name, new Set()])));
    if (names[i] !== null) seen.get(split)!.get(labels[i])!.add(names[i]);
  });
  return Object.fromEntries(
    [...seen].map(([split, ofClass]) => [split, Object.fromEntries([...ofClass].map(([name, set]) => [name, set.size]))]),
  );
}
