import { DdrcError } from '../diagnostics/error.ts';
import { type Dataset, imageDataset } from '../runtime/data/dataset.ts';
import type { ListingItem } from '../runtime/data/listing.ts';
import { drawnClasses, drawnSmears } from '../runtime/data/synthetic.ts';
import { type ExamplePorts, imagePorts } from './example-ports.ts';

/** Width of drawn smears in pixels, where the model's size is an option that nobody set. */
export const drawnSize = 64;

/** The largest width: all smears are held in memory. */
const largestDrawn = 512;

/** How many smears are drawn for each part. */
export const drawnCounts = { train: 2400, val: 400, test: 600 } as const;

export { drawnClasses };

/** The drawn smears of a part, or so many of them: the same in every run, whatever its seed, so that runs can be compared. */
export function drawnDataset(part: keyof typeof drawnCounts, ports: ExamplePorts, count: number = drawnCounts[part]): Dataset {
  const { image, label, size } = imagePorts(ports);
  if (size > largestDrawn) {
    throw new DdrcError({
      code: 'OPTION_INVALID',
      message: `cells are drawn up to ${largestDrawn} px a side, not ${size} px`,
      hint: 'choose a smaller --size, or give images of your own: --data',
    });
  }
  const { images, labels } = drawnSmears({ count, size, seed: 0, split: part });
  const items = Array.from(labels, (label, i): ListingItem => ({ path: `drawn/${part}/${i}`, label, split: part, group: null }));
  const length = 3 * size * size;
  const loaded = {
    listing: { root: `drawn/${part}`, items, classes: drawnClasses, splits: [part], notes: [] },
    size,
    bad: [],
    notes: [],
    has: () => true,
    pixels: (item: number) => images.subarray(item * length, (item + 1) * length),
    close: async () => {},
  };
  return imageDataset(
    loaded,
    items.map((_, i) => i),
    { image, label },
  );
}
