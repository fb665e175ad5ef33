import { DdrcError } from '../diagnostics/error.ts';
import { checkExamples, cut, prepareBatch } from './batches.ts';
import type { AugmentationSettings } from './data/augment.ts';
import { type Dataset, epochOrder } from './data/dataset.ts';
import type { MixSettings } from './data/mix.ts';
import { Engine, trainingSession } from './engine.ts';
import { packState } from './flat-state.ts';
import { expectedState, fileOf, type Manifest, portsOf, scoresOf } from './manifest.ts';
import { checkMix, mixFeeds } from './mixed-batches.ts';
import { engineState, stepScalars } from './step-inputs.ts';
import type { TensorData } from './tensor.ts';

/** What to try learning rates on. */
export interface RangeTestRequest {
  readonly manifest: Manifest;
  /** `step.onnx`. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** Parameters and statistics to start from, by name. */
  readonly weights: ReadonlyMap<string, TensorData>;
  readonly data: Dataset;
  readonly batch: number;
  readonly seed: number | string;
  readonly augmentation: AugmentationSettings | null;
  readonly mix?: MixSettings | null;
  /** How many rates to try at most, one a step; at least 2. */
  readonly steps: number;
  /** The first rate and the last; by default 1e-7 and 1. */
  readonly rates?: readonly [first: number, last: number];
  readonly provider?: string;
  readonly threads?: number;
  /** Called after each step. */
  readonly onStep?: (done: number, total: number) => void;
}

/** A step of a range test. */
export interface RangePoint {
  readonly rate: number;
  /** Loss of the step's batch, before the step. */
  readonly loss: number;
  /** The mean of the losses so far, weighed exponentially with 0.98 and corrected for its start at 0. */
  readonly smoothed: number;
}

export interface RangeTest {
  readonly points: readonly RangePoint[];
  /** `complete`: all rates were tried; `diverged`: the smoothed loss was more than four times its lowest value; `notFinite`: a loss was no number. */
  readonly end: 'complete' | 'diverged' | 'notFinite';
}

const smoothing = 0.98;
/** How often its lowest value the smoothed loss reaches before the test is over. */
const divergence = 4;

/**
 * Smith's range test (2017): trains with a rate that grows exponentially from step to step, until the smoothed loss is four times its lowest value or no number.
 * Batches, their variation and dropout are those of a training with this seed. Nothing is written.
 * @throws DdrcError TRAIN_TOO_FEW, LOSS_NOT_FINITE where the very first loss is no number, those of data sets and the engine
 */
export async function rangeTest(request: RangeTestRequest): Promise<RangeTest> {
  const { manifest, files, weights, data, batch, seed, mix = null, steps, rates: [first, last] = [1e-7, 1] } = request;
  const file = fileOf(manifest, 'step.onnx');
  const inputs = portsOf(file.inputs, 'data', 'target');
  const batches = Math.floor(data.size / batch);
  if (batches === 0) {
    const message = `there are ${data.size} training examples, fewer than one batch of ${batch}`;
    throw new DdrcError({ code: 'TRAIN_TOO_FEW', message, where: '--batch', hint: 'use a smaller --batch, or give more data' });
  }
  checkMix(file, mix);
  await checkExamples('the training data', data, inputs, (data.labels && scoresOf(manifest, file)?.classes) ?? null);
  const expected = expectedState(manifest);
  const parameters = packState(expected.parameters, weights, 'the initial weights');
  const statistics = packState(expected.statistics, weights, 'the initial weights');
  const [{ name: lossName }] = portsOf(file.outputs, 'loss');
  const engine = new Engine({ provider: request.provider, threads: request.threads });
  const points: RangePoint[] = [];
  let end: RangeTest['end'] = 'complete';
  let order: number[][] = [];
  let mean = 0;
  let lowest = Number.POSITIVE_INFINITY;
  try {
    await engine.open('step.onnx', files.get('step.onnx')!, trainingSession);
    await engine.load(engineState(manifest, { parameters, statistics }));
    for (let step = 0; step < steps && end === 'complete'; step++) {
      const epoch = 1 + Math.floor(step / batches);
      if (step % batches === 0) order = cut(epochOrder(data.size, seed, epoch), batch);
      const augmentation = request.augmentation ? { settings: request.augmentation, seed, epoch } : undefined;
      const plain = await prepareBatch(data, inputs, order[step % batches], augmentation);
      const mixing = { count: 1, seed, run: step, looped: false };
      const { feeds, scalars } = mix ? mixFeeds(plain, file, mix, mixing) : { ...plain, scalars: {} };
      const rate = first * (last / first) ** (step / (steps - 1));
      const given = { ...feeds, ...scalars, ...stepScalars(manifest, step, { learningRate: rate }, seed) };
      const loss = Number((await engine.step('step.onnx', given, [lossName]))[lossName].data[0]);
      request.onStep?.(step + 1, steps);
      if (!Number.isFinite(loss)) {
        end = 'notFinite';
        break;
      }
      mean = smoothing * mean + (1 - smoothing) * loss;
      const smoothed = mean / (1 - smoothing ** (step + 1));
      points.push({ rate, loss, smoothed });
      lowest = Math.min(lowest, smoothed);
      if (smoothed > divergence * lowest) end = 'diverged';
    }
  } finally {
    await engine.close();
  }
  if (points.length > 0) return { points, end };
  const hint = 'look for very large numbers in the data and the weights, and for logarithms and divisions of zero in the loss';
  throw new DdrcError({ code: 'LOSS_NOT_FINITE', message: 'the loss of the first batch is no finite number', hint });
}

/** What a range test says. */
export interface RangeSuggestion {
  /** Why both rates are null: too few points, or a loss that fell no further than its noise; null where they are not. */
  readonly lacking: 'points' | 'fall' | null;
  /** The rate at which the smoothed loss falls fastest, by the logarithm of the rate, on the way to its lowest. */
  readonly steepest: number | null;
  /** A tenth of the rate of the lowest smoothed loss. */
  readonly tenthOfLowest: number | null;
}

/**
 * fastai's suggestions, from all points but the first tenth, where little has happened, and the last five, where the loss breaks out. There are none where the
 * smoothed loss falls by less than five standard errors of the mean that it falls from: the lowest of many is low by chance.
 */
export function suggestRates(points: readonly RangePoint[], steps: number): RangeSuggestion {
  const kept = points.slice(Math.floor(steps / 10), -5);
  const without = (lacking: 'points' | 'fall') => ({ lacking, steepest: null, tenthOfLowest: null });
  if (kept.length < 2) return without('points');
  const lowest = kept.reduce((a, b) => (b.smoothed < a.smoothed ? b : a));
  if (lowest === kept[0]) return without('fall');
  const falling = kept.slice(1, kept.indexOf(lowest) + 1);
  const slopes = falling.map((point, i) => (point.smoothed - kept[i].smoothed) / Math.log(point.rate / kept[i].rate));
  const steepest = slopes.indexOf(Math.min(...slopes));
  const before = points.slice(0, points.indexOf(lowest) + 1);
  const standardError = deviation(before.map(({ loss }) => loss)) / Math.sqrt(points.indexOf(kept[0]) + 1);
  if (kept[0].smoothed - lowest.smoothed < 5 * standardError) return without('fall');
  return { lacking: null, steepest: kept[steepest].rate, tenthOfLowest: lowest.rate / 10 };
}

/** The standard deviation of numbers about what they follow slowly, by their differences from one to the next. */
function deviation(numbers: readonly number[]): number {
  const squares = numbers.slice(1).map((number, i) => (number - numbers[i]) ** 2);
  return Math.sqrt(squares.reduce((sum, square) => sum + square, 0) / (2 * Math.max(1, squares.length)));
}
