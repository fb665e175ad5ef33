import type { Manifest } from '../../contract/manifest.ts';
import { DdrcError } from '../../diagnostics/error.ts';
import { permutation, random } from '../../numeric/random.ts';
import type { Weights } from '../flat-state.ts';
import { fileOf, portsOf } from '../manifest.ts';
import { argmax } from '../metrics.ts';
import { engineState, stepScalars } from '../step-inputs.ts';
import type { TensorData } from '../tensor.ts';
import type { FinetuneOptions } from './options.ts';
import { writePlanes } from './pixels.ts';
import type { Feeds, GraphRunner } from './session.ts';

/** A picture of a known class: pixels uint8 [size,size,3] and the class's index. */
export interface Example {
  readonly pixels: Uint8Array;
  readonly label: number;
}

/** Which parameters learn: those of the last layer, or all. */
export type Part = 'head' | 'all';

export interface FinetuneSettings {
  readonly part: Part;
  readonly steps: number;
  readonly batch: number;
  readonly learningRate: number;
  readonly seed: number;
}

export interface FinetuneProgress {
  /** Steps that are done, from 1, and all. */
  readonly step: number;
  readonly steps: number;
  /** Mean loss of the step's examples. */
  readonly loss: number;
  /** Share of them that the step got right before it learned. */
  readonly accuracy: number;
}

/** What training keeps from step to step: flat vectors by name, and how many steps there were. */
export interface TrainingState {
  readonly vectors: Readonly<Record<string, Float32Array>>;
  readonly step: number;
}

/** The graph that trains a part. */
export const graphOf: Readonly<Record<Part, string>> = { head: 'head.onnx', all: 'step.onnx' };

/** A training that begins with these parameters and statistics. */
export function startState(manifest: Manifest, weights: Weights): TrainingState {
  return { vectors: engineState(manifest, weights), step: 0 };
}

/** Parameters and statistics alone: what a state is worth keeping for. */
export function weightsOf({ vectors }: TrainingState): Weights {
  const { parameters, statistics = new Float32Array(0) } = vectors;
  return { parameters, statistics };
}

/** What pictures are for, by what they show: one that was held back once is never trained on, and one that was trained on is never held back. */
export type Roles = Map<string, 'train' | 'held'>;

/** Holds a share of each class back, chosen by the seed and by what the pictures show; a class of one picture is all trained on. */
export function holdBack(
  examples: readonly Example[],
  { holdBack: share, seed }: Pick<FinetuneOptions, 'holdBack' | 'seed'>,
  roles: Roles = new Map(),
): { train: Example[]; held: Example[] } {
  const named = examples.map((example) => ({ example, name: fingerprintOf(example.pixels) }));
  for (const label of new Set(examples.map((example) => example.label))) {
    const own = named.filter(({ example }) => example.label === label);
    const names = [...new Set(own.map(({ name }) => name))];
    const free = names.filter((name) => !roles.has(name)).sort();
    let missing = Math.floor(names.length * share) - names.filter((name) => roles.get(name) === 'held').length;
    for (const index of permutation(free.length, random(seed, 'hold back', label)))
      roles.set(free[index], missing-- > 0 ? 'held' : 'train');
  }
  const of = (role: 'train' | 'held') => named.filter(({ name }) => roles.get(name) === role).map(({ example }) => example);
  return { train: of('train'), held: of('held') };
}

/** A text that pictures share that are the same to the last bit (FNV-1a, two hashes of 32 bits). */
function fingerprintOf(pixels: Uint8Array): string {
  let [a, b] = [0x811c9dc5, 0x1b873593];
  for (const value of pixels) {
    a = Math.imul(a ^ value, 0x01000193);
    b = Math.imul(b ^ value, 0x85ebca6b);
  }
  return [a, b].map((hash) => (hash >>> 0).toString(16).padStart(8, '0')).join('');
}

/** Examples of a step, and steps in all, of a training on so many examples. */
export function plannedSteps(
  examples: number,
  { batch: asked, epochs }: Pick<FinetuneOptions, 'batch' | 'epochs'>,
): { readonly batch: number; readonly steps: number } {
  const batch = Math.min(asked, examples);
  return { batch, steps: epochs * Math.floor(examples / batch) };
}

/** A batch of examples as a training graph takes it. */
export function batchOf({ files }: Manifest, graph: string, examples: readonly Example[]): Feeds {
  const { inputs } = files[graph];
  const [image] = portsOf(inputs, 'data');
  const [label] = portsOf(inputs, 'target');
  const each = examples[0].pixels.length;
  const planes = new Float32Array(each * examples.length);
  examples.forEach(({ pixels }, i) => {
    writePlanes(pixels, planes, i * each);
  });
  return {
    [image.name]: { dtype: 'float32', shape: [examples.length, ...(image.shape.slice(1) as number[])], data: planes },
    [label.name]: {
      dtype: 'int64',
      shape: [examples.length],
      data: BigInt64Array.from(examples, (example) => BigInt(example.label)),
    },
  };
}

/** One step of the optimizer on a batch. */
export async function trainStep(
  graphs: GraphRunner,
  { part, learningRate, seed }: Pick<FinetuneSettings, 'part' | 'learningRate' | 'seed'>,
  { vectors, step }: TrainingState,
  examples: readonly Example[],
): Promise<{ readonly state: TrainingState; readonly loss: number; readonly accuracy: number }> {
  const { manifest } = graphs;
  const graph = graphOf[part];
  const { outputs } = fileOf(manifest, graph);
  const flat = Object.entries(vectors).map(([name, data]): [string, TensorData] => [
    name,
    { dtype: 'float32', shape: [data.length], data },
  ]);
  const feeds = {
    ...batchOf(manifest, graph, examples),
    ...stepScalars(manifest, step, { learningRate }, seed, graph),
    ...Object.fromEntries(flat),
  };
  const [loss] = portsOf(outputs, 'loss');
  const { output } = manifest.scores!;
  const results = await graphs.run(graph, feeds, [loss.name, output, ...flat.map(([name]) => `${name}_out`)], true);
  const after = flat.map(([name]): [string, Float32Array] => [name, results[`${name}_out`].data as Float32Array]);
  const scores = results[output].data as Float32Array;
  const classes = scores.length / examples.length;
  const right = examples.filter(({ label }, i) => argmax(scores, i * classes, classes) === label).length;
  return {
    state: { vectors: Object.fromEntries(after), step: step + 1 },
    loss: (results[loss.name].data as Float32Array)[0],
    accuracy: right / examples.length,
  };
}

/**
 * Trains on examples in a random order that follows from the seed, epoch after epoch. In each, what does not fill a batch is left out, if there is a full one.
 * @param proceed told of each step; false stops the training after it
 * @throws DdrcError LOSS_NOT_FINITE
 */
export async function finetune(
  graphs: GraphRunner,
  settings: FinetuneSettings,
  start: TrainingState,
  examples: readonly Example[],
  proceed: (progress: FinetuneProgress) => Promise<boolean>,
): Promise<TrainingState> {
  const { batch, steps, seed } = settings;
  let state = start;
  for (let epoch = 1, done = 0; done < steps; epoch++) {
    const order = permutation(examples.length, random(seed, 'order', epoch));
    for (let first = 0; (first === 0 || first + batch <= order.length) && done < steps; first += batch) {
      const chosen = Array.from(order.subarray(first, first + batch), (index) => examples[index]);
      const { loss, accuracy, ...result } = await trainStep(graphs, settings, state, chosen);
      if (!Number.isFinite(loss)) {
        const message = `the loss became ${loss} at step ${done + 1}`;
        throw new DdrcError({ code: 'LOSS_NOT_FINITE', message, hint: 'lower the learning rate; the weights are as before' });
      }
      state = result.state;
      done++;
      if (!(await proceed({ step: done, steps, loss, accuracy }))) return state;
    }
  }
  return state;
}
