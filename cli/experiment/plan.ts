import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { DdrcError } from '../../diagnostics/error.ts';
import type { TestFigures } from '../../runtime/evaluator.ts';
import { readLines } from '../../runtime/files.ts';
import type { EpochLine } from '../../runtime/trainer.ts';
import { packageRoot } from '../project.ts';
import { folderWord, type TrainingProtocol, type Variant } from './protocol.ts';

/** One training of an experiment. */
export interface PlannedRun {
  /** Its name and its folder's below `runs/`: `ddrnet-seed0`, `ddrnet-seed0-fold2`. */
  readonly name: string;
  readonly folder: string;
  readonly variant: Variant;
  readonly seed: number;
  /** The fold that is tested; null where the protocol has none. */
  readonly fold: number | null;
}

/** The trainings below an experiment's folder, a seed of all variants after the other: what is there after some time is comparable. */
export function plannedRuns(folder: string, { division, variants }: TrainingProtocol, seeds: readonly number[]): PlannedRun[] {
  const folds = 'folds' in division ? Array.from({ length: division.folds }, (_, fold) => fold) : [null];
  return seeds.flatMap((seed) =>
    folds.flatMap((fold) =>
      variants.map((variant) => {
        const name = `${folderWord(variant.name)}-seed${seed}${fold === null ? '' : `-fold${fold}`}`;
        return { name, folder: join(folder, 'runs', name), variant, seed, fold };
      }),
    ),
  );
}

/** How far a run is. */
export type RunState = 'open' | 'begun' | 'done';

/** Whether a run has its result: its test, or where there is none its last epoch. */
export function stateOf({ folder }: PlannedRun, { test, train }: TrainingProtocol): RunState {
  if (!existsSync(join(folder, 'config.json'))) return 'open';
  const { epochs, test: figures, stoppedEarly } = readMetrics(folder);
  const trained = test === 'none' ? stoppedEarly || epochs.length >= Number(train.epochs) : figures !== null;
  return trained && existsSync(join(folder, 'model.onnx')) ? 'done' : 'begun';
}

/** What a run's metrics.jsonl has. */
export interface RunMetrics {
  readonly epochs: readonly EpochLine[];
  /** Null where there was no test yet. */
  readonly test: TestFigures | null;
  /** Whether it ended for lack of patience. */
  readonly stoppedEarly: boolean;
}

export function readMetrics(folder: string): RunMetrics {
  const file = join(folder, 'metrics.jsonl');
  const lines = (existsSync(file) ? readLines(file) : []) as (Partial<EpochLine> & { readonly test?: TestFigures | null })[];
  return {
    epochs: lines.filter((line): line is EpochLine => line.epoch !== undefined),
    test: lines.findLast(({ test }) => test)?.test ?? null,
    stoppedEarly: lines.some((line) => 'stoppedEarly' in line && line.stoppedEarly === true),
  };
}

/**
 * The file of a variant's model.
 * @throws DdrcError FILE_MISSING
 */
export function modelFileOf({ model }: Variant): string {
  const own = join(packageRoot, 'models', `${model}.ts`);
  const file = existsSync(own) ? own : model;
  if (existsSync(file)) return file;
  throw new DdrcError({
    code: 'FILE_MISSING',
    message: `there is no model "${basename(model)}"`,
    where: file,
    hint: 'name a model of the package, such as ddrnet, resnet or vit, or the path of a model file',
  });
}

/** The flags by which `ddrc train` and `ddrc bench` set the options of a variant. */
export function optionFlags({ options }: Variant): string[] {
  return Object.entries(options).flatMap(([name, value]) => ['--option', `${name}=${value}`]);
}
