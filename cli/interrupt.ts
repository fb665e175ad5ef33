/** The exit code of a command that Ctrl-C ended. */
export const interrupted = 130;

/** Signals within so many ms count as one: the terminal sends Ctrl-C to every process, and npm passes it on to its child once more. */
const sameKey = 700;

/**
 * Takes Ctrl-C (SIGINT) and SIGTERM over: the first calls `first`, a second one later ends the process at once.
 * @returns gives them back
 */
export function onInterrupt(first: () => void): () => void {
  let asked: number | null = null;
  const handle = () => {
    const now = performance.now();
    if (asked === null) {
      asked = now;
      first();
    } else if (now - asked > sameKey) process.exit(interrupted);
  };
  process.on('SIGINT', handle).on('SIGTERM', handle);
  return () => process.off('SIGINT', handle).off('SIGTERM', handle);
}
