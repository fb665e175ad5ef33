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
import { bloodCells } from '../runtime/data/files.ts';

vi.mock('ddrc', () => import('../../dsl/index.ts'));
const { default: ddrnet } = await import('../../models/ddrnet.ts');

const folder = temporaryFolder();
const adam = { kind: 'adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 } as const;
const mean = (values: readonly number[]) => values.reduce((a, b) => a + b) / values.length;

describe.skipIf(!existsSync(bloodCells))('real blood cells (skipped where ../shared/data/blood-cells is absent)', () => {
  const size = 64;
  const batch = 8;
  const epochs = 4;
  const stepsPerEpoch = 50;
  const steps = epochs * stepsPerEpoch;

  it(`the loss of ${steps} steps falls alike by both engines`, async () => {
    const listing = readListing(bloodCells);
    const all = itemsOfSplit(listing, 'TRAIN');
    const perClass = (batch * stepsPerEpoch) / listing.classes.length;
    const some = listing.classes.flatMap((_, label) => all.filter((i) => listing.items[i].label === label).slice(0, perClass));
    const images = await loadImages({ ...listing, items: some.map((i) => listing.items[i]) }, { size, cache: 'none' });
    const data = { train: imageDataset(images, [...some.keys()]) };

    const program = ddrnet.instantiate({ size, channels: 8 });
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
    const tens = (losses: readonly number[]) => Array.from({ length: 4 }, (_, i) => mean(losses.slice(50 * i, 50 * (i + 1))));
    console.log('first', ours.slice(0, 6), theirs.slice(0, 6));
    console.log('quarters', tens(ours), tens(theirs));
    console.log(
      'steps',
      [0, 1, 2, 5, 10, 20, 50, 100, 150, 199].map((i) => [i, ours[i], theirs[i]]),
    );
  });
});
