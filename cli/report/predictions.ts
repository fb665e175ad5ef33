import { existsSync } from 'node:fs';
import { readPredictions } from '../../runtime/predictions.ts';
import type { RunPaths } from '../../runtime/runfolder.ts';

/** What a run's model made of one of its test images. */
export interface TestPrediction {
  /** Within the data, with `/`. */
  readonly path: string;
  /** The true class. */
  readonly label: string;
  readonly predicted: string;
  /** Of the class that was predicted. */
  readonly probability: number;
}

/**
 * The rows of a run's `predictions.csv`; null where it has none.
 * @throws DdrcError those of {@link readPredictions}
 */
export function testPredictions({ predictions: file }: RunPaths): TestPrediction[] | null {
  if (!existsSync(file)) return null;
  const { classes, paths, labels, predicted, probabilities } = readPredictions(file);
  return paths.map((path, n) => ({
    path,
    label: classes[labels[n]],
    predicted: classes[predicted[n]],
    probability: probabilities[n * classes.length + predicted[n]],
  }));
}
