import { constants } from 'node:os';

/** The signals that ask a command to stop. */
type Stopping = 'SIGINT' | 'SIGTERM';

/** Signals within so many ms count as one: the terminal sends Ctrl-C to every process, and npm passes it on to its child once more. */
const sameKey = 700;

/**
 * Takes Ctrl-C (SIGINT) and SIGTERM over: the first calls `first` with the exit code of a command that it ends (130, 143); a second one later calls
 * `second` and ends the process at once, by the signal itself: leaving through Node would wait for the step that runs in a thread, and abort in it.
 * @returns gives them back
 */
export function onInterrupt(first: (exitCode: number) => void, second: () => void = () => {}): () => void {
  let asked: number | null = null;
  const handle = (signal: Stopping) => {
    const now = performance.now();
    if (asked === null) {
      asked = now;
      first(128 + constants.signals[signal]);
    } else if (now - asked > sameKey) {
      second();
      // Without listeners the signal has its own effect again.
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
    }
  };
  process.on('SIGINT', handle).on('SIGTERM', handle);
  return () => process.off('SIGINT', handle).off('SIGTERM', handle);
}
