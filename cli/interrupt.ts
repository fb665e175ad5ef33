/** The exit code of a command that Ctrl-C ended. */
export const interrupted = 130;

/**
 * Takes Ctrl-C (SIGINT) and SIGTERM over: the first calls `first`, the second ends the process at once.
 * @returns gives them back
 */
export function onInterrupt(first: () => void): () => void {
  let asked = false;
  const handle = () => {
    if (asked) process.exit(interrupted);
    asked = true;
    first();
  };
  process.on('SIGINT', handle).on('SIGTERM', handle);
  return () => process.off('SIGINT', handle).off('SIGTERM', handle);
}
