import { DdrcError } from '../diagnostics/error.ts';

/** Time of one node of a graph over all timed runs. */
export interface KernelTime {
  /** Name of the ONNX node; ONNX Runtime names those anew that it makes itself. */
  readonly node: string;
  /** ONNX operator, `FusedConv`. */
  readonly kind: string;
  /** Times it ran. */
  readonly calls: number;
  /** Time of all calls together, in µs. */
  readonly microseconds: number;
}

/** What ONNX Runtime recorded of a session's runs. */
export interface SessionProfile {
  /** Runs that are counted. */
  readonly runs: number;
  /** Time of these runs from call to return, in µs: kernels and what lies between them. */
  readonly microseconds: number;
  /** A row for each node, in the order in which they first ran. */
  readonly kernels: readonly KernelTime[];
}

interface Event {
  readonly cat: string;
  readonly name: string;
  /** Start and length in µs. */
  readonly ts: number;
  readonly dur: number;
  readonly args?: { readonly op_name?: string };
}

const kernelSuffix = '_kernel_time';

/**
 * Reads the file that ONNX Runtime writes for a session with `enableProfiling`, when the session is released.
 * @param text the file: a JSON array of events in Chrome's trace format
 * @param warmUp runs at the beginning that are not counted
 * @throws DdrcError ENGINE_FAILED where it is no such array
 */
export function readSessionProfile(text: string, warmUp: number): SessionProfile {
  const events = parse(text);
  const runs = events
    .filter(({ cat, name }) => cat === 'Session' && name === 'model_run')
    .sort((a, b) => a.ts - b.ts)
    .slice(warmUp);
  const timed = ({ ts }: Event) => runs.some((run) => ts >= run.ts && ts <= run.ts + run.dur);
  const kernels = new Map<string, KernelTime>();
  for (const event of events) {
    if (event.cat !== 'Node' || !event.name.endsWith(kernelSuffix) || !timed(event)) continue;
    const node = event.name.slice(0, -kernelSuffix.length);
    const { calls, microseconds } = kernels.get(node) ?? { calls: 0, microseconds: 0 };
    kernels.set(node, { node, kind: event.args?.op_name ?? '', calls: calls + 1, microseconds: microseconds + event.dur });
  }
  return { runs: runs.length, microseconds: runs.reduce((sum, { dur }) => sum + dur, 0), kernels: [...kernels.values()] };
}

function parse(text: string): readonly Event[] {
  let events: unknown;
  let cause: unknown;
  try {
    events = JSON.parse(text);
  } catch (error) {
    cause = error;
  }
  if (Array.isArray(events)) return events;
  const message = 'what ONNX Runtime wrote as its profile is no list of events';
  throw new DdrcError({ code: 'ENGINE_FAILED', message, hint: 'is there room in the folder for temporary files?', cause });
}
