/*
 * The paper's Figures 7 to 10 for an experiment's results: feature maps and Grad-CAM, curves, scores of sample images, the ablation.
 */
import { existsSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { makeFolder, writeFileAtomic } from '../../runtime/files.ts';
import { readPredictions } from '../../runtime/predictions.ts';
import { openRun } from '../../runtime/runfolder.ts';
import { barChartFile, lineChartFile, type Series } from '../report/charts.ts';
import { settingsOf } from '../train-settings.ts';
import { runDdrc } from './ddrc-process.ts';
import { table6 } from './paper.ts';
import { readMetrics } from './plan.ts';
import type { VariantResult } from './results.ts';

/** A figure: what it shows, and its file within the experiment's folder. */
export interface Figure {
  readonly title: string;
  readonly file: string;
}

/** Draws what can be drawn of the results so far into `figures/`. */
export async function drawFigures(folder: string, results: readonly VariantResult[], signal: AbortSignal): Promise<Figure[]> {
  const place = join(folder, 'figures');
  const write = (name: string, title: string, svg: string): Figure => {
    makeFolder(place);
    writeFileAtomic(join(place, name), new TextEncoder().encode(svg));
    return { title, file: `figures/${name}` };
  };
  const figures: Figure[] = [];
  const curves = results.flatMap((result) => curvesOf(folder, result)).slice(0, 7);
  if (curves.some(({ points }) => points.length > 1)) {
    const chart = lineChartFile({ title: 'training accuracy %', x: 'epoch', series: curves });
    figures.push(write('curves.svg', 'Figure 8: accuracy on what is trained on, first seeds', chart));
  }
  const ablated = results.filter(({ variant, accuracy }) => Object.hasOwn(table6, variant.name) && accuracy !== null);
  if (ablated.length > 1) {
    const bars = ablated.map(({ variant, accuracy }) => ({
      name: variant.name,
      value: 100 * accuracy!.mean,
      low: accuracy!.low === null ? null : Math.max(0, 100 * accuracy!.low),
      high: accuracy!.high === null ? null : Math.min(100, 100 * accuracy!.high),
      other: table6[variant.name as keyof typeof table6].test,
    }));
    figures.push(write('ablation.svg', 'Figure 10: the ablation', barChartFile('test accuracy %', bars, 'the paper')));
  }
  const explained = results.find(({ variant, runs }) => variant.model === 'ddrnet' && runs.length > 0);
  if (explained) figures.push(...(await explainSamples(folder, explained, signal)));
  return figures;
}

/** The training accuracy by epoch of a variant's first run. */
function curvesOf(folder: string, { variant, runs }: VariantResult): Series[] {
  if (runs.length === 0) return [];
  const { epochs } = readMetrics(join(folder, 'runs', runs[0].name));
  const points = epochs.flatMap(({ epoch, train }) =>
    train.accuracy === undefined ? [] : [{ x: epoch, y: 100 * train.accuracy }],
  );
  return [{ name: variant.name, points }];
}

/** The first test image of each class by `ddrc explain`: Grad-CAM and feature maps (Figure 7), prediction scores (Figure 9). */
async function explainSamples(folder: string, { runs }: VariantResult, signal: AbortSignal): Promise<Figure[]> {
  const run = join(folder, 'runs', runs[0].name);
  const file = join(run, 'predictions.csv');
  if (!existsSync(file)) return [];
  const { classes, labels, paths } = readPredictions(file);
  const { config, paths: places } = openRun(run);
  const { data } = settingsOf(config, places.folder);
  const root = data.path === null ? '' : dirname(data.path);
  const images = classes.flatMap((_, label) => {
    const first = labels.indexOf(label);
    const path = first < 0 ? '' : resolve(root, paths[first]);
    return existsSync(path) && first >= 0 ? [{ path, name: classes[label] }] : [];
  });
  if (images.length === 0) return [];
  const figures: Figure[] = [];
  for (const { path, name } of images) {
    const out = join('figures', 'explained', name.replaceAll(/[^\w-]+/g, '_'));
    const picture = `${out}/${basename(path).replace(/\.[^.]*$/, '')}-explained.png`.replaceAll('\\', '/');
    if (!existsSync(join(folder, picture)))
      await runDdrc(['explain', run, path, '--out', join(folder, out), '--features'], signal);
    if (existsSync(join(folder, picture)))
      figures.push({
        title: `Figures 7 and 9: an image of ${name}, what spoke for the class that it was given, scores and feature maps`,
        file: picture,
      });
  }
  return figures;
}
