/*
 * What is too long for the default lane: every program of test/ort-training for ten steps, and a free run of both engines on real images.
 */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { asTensors } from '../../cli/compile-for-device.ts';
import { compile } from '../../compiler/compile.ts';
import { imageDataset } from '../../runtime/data/dataset.ts';
import { loadImages } from '../../runtime/data/images.ts';
import { readListing } from '../../runtime/data/layout.ts';
import { itemsOfSplit } from '../../runtime/data/listing.ts';
import { runPaths } from '../../runtime/runfolder.ts';
import { createSchedule, parseSchedule } from '../../runtime/schedule.ts';
import { train } from '../../runtime/trainer.ts';
import { temporaryFolder } from '../cli/ddrc.ts';
import { adam, compareSteps, rate } from '../ort-training/compare-steps.ts';
import { openPair } from '../ort-training/pair.ts';
import { bloodCells } from '../runtime/data/files.ts';

vi.mock('ddrc', () => import('../../dsl/index.ts'));
const { programs } = await import('../ort-training/programs.ts');
const { default: ddrnet } = await import('../../models/ddrnet.ts');

const folder = temporaryFolder();
const shown = (loss: number) => loss.toFixed(3);
const mean = (values: readonly number[]) => values.reduce((a, b) => a + b) / values.length;

const small = { size: 32, channels: 8, drdb: false, glfeb: false, csab: false } as const;
/** All ablations: what the default lane has, and DDRNet with one of its blocks. */
const all = {
  ...programs,
  'DDRNet with its dense block only': ddrnet.instantiate({ ...small, drdb: true }),
  'DDRNet with global and local features only': ddrnet.instantiate({ ...small, glfeb: true }),
  'DDRNet with attention only': ddrnet.instantiate({ ...small, csab: true }),
};

describe('ten steps by the training artifacts are ten steps by step.onnx', () => {
  it.each(Object.entries(all))('%s', async (_, program) => {
    const pair = await openPair(program, { optimizer: adam, clipNorm: 0, rates: [rate] });
    try {
      await compareSteps(pair, 10);
    } finally {
      await pair.close();
    }
  });
});

describe.skipIf(!existsSync(bloodCells))('real blood cells (skipped where ../shared/data/blood-cells is absent)', () => {
  const size = 64;
  const batch = 8;
  const stepsPerEpoch = 10;
  const steps = 200;
  const epochs = steps / stepsPerEpoch;

  it(`the loss of ${steps} steps falls alike by both engines`, async () => {
    const listing = readListing(bloodCells);
    const all = itemsOfSplit(listing, 'TRAIN');
    const perClass = (batch * stepsPerEpoch) / listing.classes.length;
    const some = listing.classes.flatMap((_, label) => all.filter((i) => listing.items[i].label === label).slice(0, perClass));
    const images = await loadImages({ ...listing, items: some.map((i) => listing.items[i]) }, { size, cache: 'none' });
    const data = { train: imageDataset(images, [...some.keys()]) };

    const program = ddrnet.instantiate({ size, channels: 16 });
    const schedule = createSchedule(parseSchedule('cosine'), { learningRate: 1e-3, steps, stepsPerEpoch });
    const rates = Array.from({ length: steps }, (_, step) => schedule(step).learningRate);
    const artifacts = { stock: ['step', 'eval'], 'ort-training': ['training_model', 'eval_model', 'optimizer_model'] } as const;
    const lossesBy = async (engine: keyof typeof artifacts) => {
      const request = { artifacts: artifacts[engine], batch, optimizer: adam, clipNorm: 1, rates };
      const { manifest, files, initial } = compile(program, request);
      const paths = runPaths(join(folder, engine));
      mkdirSync(paths.folder);
      const losses: number[] = [];
      let sum = 0;
      const settings = { manifest, files, weights: asTensors(initial), data, epochs, batch, schedule, seed: 0, paths, engine };
      await train({
        ...settings,
        augmentation: null,
        threads: 1,
        onUpdate({ phase, loss, done }) {
          if (phase !== 'train') return;
          // It gives the mean of the epoch so far.
          if (done === batch) sum = 0;
          losses.push((loss! * done - sum) / batch);
          sum = loss! * done;
        },
      });
      return losses;
    };
    const ours = await lossesBy('stock');
    const theirs = await lossesBy('ort-training');
    await images.close();

    expect([ours.length, theirs.length]).toEqual([steps, steps]);
    // Seen: 1.359, 1.218, 1.046, 0.952 by the stock engine, 1.359, 1.215, 1.051, 0.970 by the other. The stock engine's own last number moves by up to 1.3 % where its
    // first weights are changed by half a unit in the last place.
    const quarters = (losses: readonly number[]) =>
      [0, 1, 2, 3].map((i) => mean(losses.slice((i * steps) / 4, ((i + 1) * steps) / 4)));
    const [stock, ort] = [quarters(ours), quarters(theirs)];
    console.log(`mean losses of 50 steps: stock ${stock.map(shown)}, ort-training ${ort.map(shown)}`);
    stock.forEach((loss, i) => {
      expect(Math.abs(ort[i] / loss - 1)).toBeLessThan(0.05);
    });
    for (const [first, , , last] of [stock, ort]) expect(last / first).toBeLessThan(0.85);
    // The first step is the same one but for rounding, which grows from step to step.
    expect(Math.abs(theirs[0] / ours[0] - 1)).toBeLessThan(1e-5);
  });
});
