/**
 * Calls `work` for 0 … count-1 in order, at most `lanes` at a time. After a failure no further one is started; when those under way have ended,
 * the error of the lowest index is thrown.
 */
export async function inParallel(count: number, lanes: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  let failedAt = Number.POSITIVE_INFINITY;
  let failure: unknown;
  const lane = async (): Promise<void> => {
    while (next < count && failedAt === Number.POSITIVE_INFINITY) {
      const index = next++;
      try {
        await work(index);
      } catch (error) {
        if (index >= failedAt) continue;
        failedAt = index;
        failure = error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(lanes, count) }, lane));
  if (failedAt < Number.POSITIVE_INFINITY) throw failure;
}
