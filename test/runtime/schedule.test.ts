import { describe, expect, it } from 'vitest';
import { DdrcError } from '../../diagnostics/error.ts';
import { createSchedule, parseSchedule } from '../../runtime/schedule.ts';

const schedule = (text: string, steps: number, learningRate = 1e-3, stepsPerEpoch = 10) =>
  createSchedule(parseSchedule(text), { learningRate, steps, stepsPerEpoch });

function failure(action: () => unknown): DdrcError {
  try {
    action();
  } catch (error) {
    if (error instanceof DdrcError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('parseSchedule', () => {
  it.each([
    ['constant', { kind: 'constant', warmup: 0 }],
    ['step', { kind: 'step', every: 10, gamma: 0.1, warmup: 0 }],
    ['step:every=3,gamma=0.5', { kind: 'step', every: 3, gamma: 0.5, warmup: 0 }],
    ['step: gamma=1e-1 , every=4', { kind: 'step', every: 4, gamma: 0.1, warmup: 0 }],
    ['cosine', { kind: 'cosine', floor: 0, warmup: 0 }],
    ['cosine:floor=1e-5+warmup=100', { kind: 'cosine', floor: 1e-5, warmup: 100 }],
    ['one-cycle', { kind: 'one-cycle', start: 0.3, warmup: 0 }],
    ['one-cycle:start=0.25', { kind: 'one-cycle', start: 0.25, warmup: 0 }],
    ['constant+warmup=5', { kind: 'constant', warmup: 5 }],
  ])('%s', (text, expected) => {
    expect(parseSchedule(text)).toEqual(expected);
  });

  it.each([
    ['cosin', `there is no schedule 'cosin', did you mean "cosine"?`, 'write it as in constant'],
    ['onecycle', `there is no schedule 'onecycle', did you mean "one-cycle"?`, 'write it as in constant'],
    ['warmup=5', "there is no schedule 'warmup=5'", 'write it as in constant'],
    ['', "there is no schedule ''", 'write it as in constant'],
    ['toString', "there is no schedule 'toString'", 'write it as in constant'],
    ['step:evry=3', `the schedule 'step:evry=3' has no parameter 'evry' there, did you mean "every"?`, 'write it as in constant'],
    ['constant:floor=1', "the schedule 'constant:floor=1' has no parameter 'floor' there", 'write it as in constant'],
    [
      'cosine+warmpu=3',
      `the schedule 'cosine+warmpu=3' has no parameter 'warmpu' there, did you mean "warmup"?`,
      'write it as in constant',
    ],
    ['step:every=0', "every of the schedule 'step:every=0' must be a whole number from 1 up, not '0'", 'write it as in'],
    ['step:every', "every of the schedule 'step:every' must be a whole number from 1 up, not ''", 'write it as in'],
    ['step:gamma=two', "gamma of the schedule 'step:gamma=two' must be above 0 and at most 1, not 'two'", 'write it as in'],
    ['one-cycle:start=1', "start of the schedule 'one-cycle:start=1' must be between 0 and 1, not '1'", 'write it as in'],
    ['cosine:floor=-1', "floor of the schedule 'cosine:floor=-1' must be a learning rate, 0 or more, not '-1'", 'write it as in'],
    [
      'cosine+warmup=2.5',
      "warmup of the schedule 'cosine+warmup=2.5' must be a whole number from 1 up, not '2.5'",
      'write it as in',
    ],
  ])("refuses '%s'", (text, message, hint) => {
    const error = failure(() => parseSchedule(text));
    expect(error).toMatchObject({ code: 'SCHEDULE_INVALID', message });
    expect(error.hint).toContain(hint);
  });
});

describe('the place of a mistake', () => {
  const length = { learningRate: 1e-3, steps: 100, stepsPerEpoch: 10 };
  it.each([
    ['a kind', 'cosin'],
    ['a parameter', 'step:evry=3'],
    ['a value', 'step:every=0'],
    ['a warm-up', 'constant+warmup=100'],
    ['a floor', 'cosine:floor=1'],
  ])('%s is that of the flag, or what the caller names', (_, text) => {
    expect(failure(() => createSchedule(parseSchedule(text), length)).where).toBe('--schedule');
    expect(failure(() => createSchedule(parseSchedule(text, 'model.ts'), length, 'model.ts')).where).toBe('model.ts');
  });
});

describe('createSchedule', () => {
  it('constant: always the same, no beta1', () => {
    expect(schedule('constant', 100)(57)).toEqual({ learningRate: 1e-3 });
  });

  it('step: falls after whole epochs', () => {
    const rate = schedule('step:every=2,gamma=0.5', 100);
    expect([0, 19, 20, 39, 40, 99].map((step) => rate(step).learningRate)).toEqual([1e-3, 1e-3, 5e-4, 5e-4, 2.5e-4, 1e-3 / 16]);
  });

  it('cosine: first, a third, half, last, beyond', () => {
    const rate = schedule('cosine:floor=1e-4', 60);
    expect(rate(0).learningRate).toBe(1e-3);
    expect(rate(20).learningRate).toBeCloseTo(1e-4 + 0.75 * 9e-4, 15);
    expect(rate(30).learningRate).toBeCloseTo(5.5e-4, 15);
    expect(rate(59).learningRate).toBeCloseTo(1e-4 + 4.5e-4 * (1 - Math.cos(Math.PI / 60)), 15);
    expect(rate(1000)).toEqual(rate(59));
  });

  // Values of PyTorch 1.13: OneCycleLR(Adam, max_lr, total_steps) with its defaults, read before each step.
  it.each<[steps: number, peak: number, values: [step: number, learningRate: number, beta1: number][]]>([
    [
      100,
      3e-3,
      [
        [0, 0.00011999999999999988, 0.95],
        [1, 0.00012844134169772217, 0.9497068978577179],
        [15, 0.0016379600283630011, 0.897293054570729],
        [28, 0.0029915586583022778, 0.850293102142282],
        [29, 0.003, 0.85],
        [30, 0.002998489605853573, 0.8500503466729342],
        [31, 0.0029939614651470947, 0.850201285300238],
        [64, 0.001500006, 0.8999999999999999],
        [98, 1.5223941464273639e-6, 0.9499496533270657],
        [99, 1.2e-8, 0.95],
      ],
    ],
    [
      7,
      0.01,
      [
        [0, 0.0003999999999999993, 0.95],
        [1, 0.009805566273349588, 0.8520253513192751],
        [2, 0.009190443762697106, 0.858095594755408],
        [3, 0.00672683836480545, 0.8827317472789346],
        [4, 0.003577387757396571, 0.9142263793315516],
        [5, 0.0009929679189326559, 0.9400706810933978],
        [6, 4e-8, 0.95],
      ],
    ],
    [
      3,
      0.01,
      [
        [0, 0.009944154354509118, 0.8505584586887436],
        [1, 0.00462637102666975, 0.9037365046793212],
        [2, 4e-8, 0.95],
      ],
    ],
    [1, 0.01, [[0, 4e-8, 0.95]]],
  ])('one-cycle over %i steps equals PyTorch', (steps, peak, values) => {
    const rate = schedule('one-cycle', steps, peak);
    for (const [step, learningRate, beta1] of values) {
      expect(Math.abs(rate(step).learningRate / learningRate - 1)).toBeLessThan(1e-11);
      expect(rate(step).beta1).toBeCloseTo(beta1, 13);
    }
    expect(rate(steps + 5)).toEqual(rate(steps - 1));
  });

  it('one-cycle: another start moves the peak, and a peak at step 0 is no division by zero', () => {
    expect(schedule('one-cycle:start=0.5', 100, 0.01)(49)).toEqual({ learningRate: 0.01, beta1: 0.85 });
    expect(schedule('one-cycle:start=0.5', 2, 0.01)(0)).toEqual({ learningRate: 0.01, beta1: 0.85 });
  });

  it('warm-up: rises linearly to the first rate, then the whole shape follows', () => {
    const rate = schedule('cosine+warmup=4', 64);
    for (const step of [0, 1, 2, 3, 4]) expect(rate(step).learningRate).toBeCloseTo(((step + 1) / 5) * 1e-3, 15);
    const shape = schedule('cosine', 60);
    for (const step of [0, 1, 30, 59]) expect(rate(step + 4)).toEqual(shape(step));
    const cycle = schedule('one-cycle+warmup=3', 103, 0.01);
    expect(cycle(0).learningRate).toBeCloseTo(0.01 / 25 / 4, 15);
    expect(cycle(0).beta1).toBeCloseTo(0.95, 15);
    expect(cycle(32).learningRate).toBe(0.01);
  });

  it('refuses a warm-up that takes the whole training, and a floor above the learning rate', () => {
    expect(failure(() => schedule('constant+warmup=10', 10))).toMatchObject({
      code: 'SCHEDULE_INVALID',
      message: 'a warm-up of 10 steps does not fit into a training of 10',
    });
    expect(failure(() => schedule('cosine:floor=0.1', 10)).message).toBe(
      'the floor 0.1 of the cosine schedule lies above the learning rate 0.001',
    );
  });
});
