import { describe, expect, it } from 'vitest';
import { createProgress, duration } from '../../runtime/progress.ts';
import type { TrainingUpdate } from '../../runtime/trainer.ts';

function display(columns: number, isTTY: boolean) {
  const written: string[] = [];
  let time = 0;
  const progress = createProgress({ isTTY, columns, write: (text) => written.push(text) }, () => time);
  return { progress, written, pass: (ms: number) => (time += ms) };
}

const update = (done: number, more: Partial<TrainingUpdate> = {}): TrainingUpdate => ({
  phase: 'train',
  epoch: 1,
  epochs: 2,
  done,
  total: 100,
  loss: 0.75,
  accuracy: 0.625,
  ...more,
});

describe('createProgress on a terminal', () => {
  it('redraws one line with bar, loss, accuracy, rate and time left', () => {
    const { progress, written, pass } = display(100, true);
    progress.update(update(10));
    pass(1000);
    progress.update(update(30));
    // 20 images in the second; 20 % of an epoch done in it, 1.7 epochs left: 8.5 s.
    expect(written.at(-1)).toBe(
      '\r\x1b[Kepoch 1/2  [########....................]  loss 0.750  accuracy 62.5 %  20.0 img/s  9 s left',
    );
  });

  it('redraws at most ten times a second', () => {
    const { progress, written, pass } = display(100, true);
    for (let i = 0; i < 99; i++) {
      progress.update(update(i));
      pass(10);
    }
    expect(written).toHaveLength(10);
  });

  it.each([8, 12, 20, 30, 40, 60, 79, 200])(
    'never fills a line of %i columns, and drops the least important first',
    (columns) => {
      const { progress, written, pass } = display(columns, true);
      progress.update(update(10));
      pass(1000);
      progress.update(update(30));
      const line = written.at(-1)!.replace('\r\x1b[K', '');
      expect(line.length).toBeLessThan(columns);
      expect(line.startsWith('epoch 1')).toBe(true);
      if (line.includes('img/s')) expect(line).toContain('left');
      if (line.includes('left')) expect(line).toContain('accuracy');
      if (line.includes('accuracy')) expect(line).toContain('loss');
    },
  );

  it('prints lines above the bar', () => {
    const { progress, written } = display(80, true);
    progress.update(update(10));
    progress.epoch(
      { epoch: 1, train: { loss: 1.25, accuracy: 0.5 }, val: { loss: 2, accuracy: 0.25 }, learningRate: 1, seconds: 72 },
      2,
    );
    progress.end();
    expect(written.slice(1)).toEqual([
      '\r\x1b[K',
      'epoch 1/2  loss 1.25  accuracy 50.0 %  val loss 2.00  val accuracy 25.0 %  1 min 12 s\n',
    ]);
  });
});

describe('createProgress elsewhere', () => {
  it('prints a plain line every ten seconds', () => {
    const { progress, written, pass } = display(80, false);
    for (let i = 0; i <= 50; i++) {
      progress.update(update(i, { accuracy: null }));
      pass(500);
    }
    expect(written).toEqual([
      'epoch 1/2  0 %  loss 0.750\n',
      'epoch 1/2  20 %  loss 0.750  2.00 img/s  1 min 30 s left\n',
      'epoch 1/2  40 %  loss 0.750  2.00 img/s  1 min 20 s left\n',
    ]);
  });

  it('shows validation, test and other counts without loss', () => {
    const { progress, written, pass } = display(80, false);
    progress.count('decoding images', 5, 20);
    pass(10_000);
    progress.update(update(50, { phase: 'validate' }));
    pass(10_000);
    progress.update(update(100, { phase: 'test' }));
    expect(written).toEqual(['decoding images  5/20\n', 'epoch 1/2 validation  50 %\n', 'test  100 %\n']);
  });
});

it('says durations as people do', () => {
  expect([400, 59_400, 60_000, 3_599_400, 7_500_000].map(duration)).toEqual([
    '0 s',
    '59 s',
    '1 min 00 s',
    '59 min 59 s',
    '2 h 05 min',
  ]);
});
