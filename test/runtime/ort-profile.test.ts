import { describe, expect, it } from 'vitest';
import { readSessionProfile } from '../../runtime/ort-profile.ts';

const run = (ts: number, dur: number) => ({ cat: 'Session', name: 'model_run', ts, dur, args: {} });
const kernel = (node: string, op_name: string, ts: number, dur: number) => ({
  cat: 'Node',
  name: `${node}_kernel_time`,
  ts,
  dur,
  args: { op_name },
});

/** Three runs as ONNX Runtime records them: kernels first, the run itself when it is over. */
const events = [
  { cat: 'Session', name: 'model_loading_array', ts: 0, dur: 50, args: {} },
  kernel('stem/Conv', 'Conv', 110, 700),
  kernel('stem/Relu', 'Relu', 820, 70),
  run(100, 900),
  kernel('stem/Conv', 'Conv', 2000, 300),
  kernel('stem/Relu', 'Relu', 2310, 20),
  { cat: 'Session', name: 'SequentialExecutor::Execute', ts: 1999, dur: 340, args: {} },
  run(1990, 400),
  { cat: 'Node', name: 'stem/Conv_fence_before', ts: 3001, dur: 1, args: { op_name: 'Conv' } },
  kernel('stem/Conv', 'Conv', 3003, 310),
  kernel('stem/Relu', 'Relu', 3320, 24),
  run(3000, 500),
];

describe("ONNX Runtime's profile", () => {
  it('is summed by node over the runs after the warm-up', () => {
    expect(readSessionProfile(JSON.stringify(events), 1)).toEqual({
      runs: 2,
      microseconds: 900,
      kernels: [
        { node: 'stem/Conv', kind: 'Conv', calls: 2, microseconds: 610 },
        { node: 'stem/Relu', kind: 'Relu', calls: 2, microseconds: 44 },
      ],
    });
  });

  it('counts every run where none is to warm up', () => {
    const { runs, microseconds, kernels } = readSessionProfile(JSON.stringify(events), 0);
    expect([runs, microseconds]).toEqual([3, 1800]);
    expect(kernels.map((time) => time.microseconds)).toEqual([1310, 114]);
  });

  it.each(['{}', '[', ''])('that is %j is refused', (text) => {
    expect(() => readSessionProfile(text, 1)).toThrow(expect.objectContaining({ code: 'ENGINE_FAILED' }));
  });
});
