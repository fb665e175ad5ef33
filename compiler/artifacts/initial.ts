import { random } from '../../numeric/random.ts';
import { type NDArray, zeros } from '../ir/ndarray.ts';
import type { Initializer, Program, Stored } from '../ir/program.ts';

/** Values of a model's parameters and statistics before training: the same seed gives the same bytes on every machine. */
export function initialWeights(program: Program, seed: number): Map<string, NDArray> {
  const { parameters, statistics } = program.build({ mode: 'training', batch: 1, loss: false });
  return new Map([...parameters, ...statistics].map((stored) => [stored.name, draw(stored, seed)]));
}

function draw({ name, shape, initializer }: Stored, seed: number): NDArray {
  const array = zeros(shape);
  const next = random(seed, name);
  for (let i = 0; i < array.data.length; i++) array.data[i] = Math.fround(sample(initializer, next));
  return array;
}

function sample(initializer: Initializer, next: () => number): number {
  if (initializer.kind === 'constant') return initializer.value;
  if (initializer.kind === 'uniform') return (2 * next() - 1) * initializer.bound;
  // Box and Muller; 1 − u keeps the logarithm finite.
  return initializer.deviation * Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
}
