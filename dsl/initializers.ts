import type { Initializer } from '../compiler/ir/program.ts';

export type { Initializer } from '../compiler/ir/program.ts';

/** All elements `value`. */
export function constant(value: number): Initializer {
  return { kind: 'constant', value };
}

export const zeros: Initializer = constant(0);
export const ones: Initializer = constant(1);

/** Uniform in ±bound. */
export function uniform(bound: number): Initializer {
  return { kind: 'uniform', bound };
}

/** Normal with mean 0 and standard deviation `deviation`. */
export function normal(deviation: number): Initializer {
  return { kind: 'normal', deviation };
}

/** Uniform in ±1/√fanIn: PyTorch's default for convolutions and fully connected layers, weights and biases. */
export function fanIn(count: number): Initializer {
  return uniform(1 / Math.sqrt(count));
}

/** Normal with deviation √(2/fanOut): He et al. 2015, for layers followed by ReLU (torchvision's ResNets). */
export function heNormal(fanOut: number): Initializer {
  return normal(Math.sqrt(2 / fanOut));
}

/** Uniform in ±√(6/(fanIn + fanOut)): Glorot and Bengio 2010. */
export function glorotUniform(inputs: number, outputs: number): Initializer {
  return uniform(Math.sqrt(6 / (inputs + outputs)));
}
