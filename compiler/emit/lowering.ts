import type { Node } from '../ir/graph.ts';
import type { Attrs } from '../ir/types.ts';
import type { Emitter } from './emitter.ts';

/** What a graph is compiled for. `portable` uses standard operators only. */
export interface Target {
  readonly provider: 'portable' | 'cpu' | 'webgpu' | 'cuda';
  /** ONNX opset, 13 or newer. */
  readonly opset: number;
  /** Channels in a block of ONNX Runtime's NCHWc kernels on this machine (16 with AVX-512, 8 with AVX2); 0: do not use them. */
  readonly block: number;
}

/** The opsets whose operators the lowerings know. */
export const oldestOpset = 13;
export const newestOpset = 25;

export const portable: Target = { provider: 'portable', opset: 17, block: 0 };

/** One way to write an operator in ONNX. */
export interface Lowering<A extends Attrs = Attrs> {
  /** Short name for `--explain` and test titles: `nchwc`, `unfold`, `standard`. */
  readonly name: string;
  /** Whether it fits; left out means always. */
  when?(node: Node, target: Target, attrs: A): boolean;
  /** Emits ONNX nodes; `x` are the names of the inputs' values. Returns the name of the output, or of each output. */
  emit(e: Emitter, node: Node, x: readonly string[], attrs: A): string | readonly string[];
}
