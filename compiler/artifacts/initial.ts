import { DdrcError } from '../../diagnostics/error.ts';
import { random } from '../../numeric/random.ts';
import { type NDArray, zeros } from '../ir/ndarray.ts';
import type { Initializer, Program, Stored } from '../ir/program.ts';
import { elementCount } from '../ir/types.ts';

/** 2^28 parameters: beyond that, float32 weights do not fit into the 2 GB of an ONNX file with room for the graph. */
const largestModel = 2 ** 28;

/** Values of a model's parameters and statistics before training: the same seed gives the same bytes on every machine. */
export function initialWeights(program: Program, seed: number): Map<string, NDArray> {
  const { parameters, statistics } = program.build({ mode: 'training', batch: 1, loss: false });
  const count = [...parameters, ...statistics].reduce((sum, { shape }) => sum + elementCount(shape), 0);
  if (count > largestModel) {
    throw new DdrcError({
      code: 'MODEL_INVALID',
      message: `${program.name} has ${count} parameters, more than the ${largestModel} that one model may have`,
      hint: 'choose smaller options',
    });
  }
  return new Map([...parameters, ...statistics].map((stored) => [stored.name, draw(stored, seed)]));
}

function draw({ name, shape, initializer }: Stored, seed: number): NDArray {
  const array = zeros(shape);
  const next = random(seed, name);
  fill(array.data, initializer, next);
  return array;
}

/** Fills `data` with float32 values of an initialiser, drawn from `next`, uniform in [0, 1). */
function fill(data: Float64Array, initializer: Initializer, next: () => number): void {
  if (initializer.kind === 'constant') {
    data.fill(Math.fround(initializer.value));
  } else if (initializer.kind === 'uniform') {
    for (let i = 0; i < data.length; i++) data[i] = Math.fround((2 * next() - 1) * initializer.bound);
  } else {
    // Box and Muller: two values from two; 1 − u keeps the logarithm finite.
    for (let i = 0; i < data.length; i += 2) {
      const radius = initializer.deviation * Math.sqrt(-2 * Math.log(1 - next()));
      const angle = 2 * Math.PI * next();
      data[i] = Math.fround(radius * Math.cos(angle));
      if (i + 1 < data.length) data[i + 1] = Math.fround(radius * Math.sin(angle));
    }
  }
}
