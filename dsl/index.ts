export type { DType, Shape } from '../compiler/ir/types.ts';
export * from './initializers.ts';
export * from './layers.ts';
export * from './losses.ts';
export * from './model.ts';
export * from './operators.ts';
export * from './options.ts';
export * from './scope.ts';
export type { Dim, Tensor } from './tensor.ts';
