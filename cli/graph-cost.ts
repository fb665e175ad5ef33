import type { Node } from '../compiler/ir/graph.ts';
import type { BuiltGraph, Program } from '../compiler/ir/program.ts';
import { elementCount, type Shape, type TensorType } from '../compiler/ir/types.ts';
import { liveNodes } from '../compiler/passes/rewrite.ts';

/** What a scope of a model costs for one example; a scope contains those below it. */
export interface ScopeCost {
  /** Scope path, `drdb.3`; empty for the whole model. */
  readonly scope: string;
  /** Shape of the last result in it, with the batch as `N`; null for a scope that computes nothing. */
  readonly shape: Shape | null;
  /** Trainable numbers. */
  readonly parameters: number;
  /** Multiply-adds of the forward pass's convolutions and matrix products. */
  readonly macs: number;
  /** Bytes of all results of the forward pass, those left out that only view another one. */
  readonly activationBytes: number;
}

/**
 * The costs of a model's forward pass in inference for one example, by scope: the whole model first, then each scope in the order in which the
 * model enters it, right behind the one that contains it.
 */
export function graphCost(program: Program): ScopeCost[] {
  const built = program.build({ mode: 'inference', batch: 'N', loss: false });
  for (const [name, value] of built.outputs) built.graph.outputs.set(name, value);
  const live = liveNodes(built.graph);
  const nodes = built.graph.nodes.filter((node) => live.has(node));
  const holders = built.parameters.map(({ name }) => name.slice(0, Math.max(0, name.lastIndexOf('.'))));
  const scopes = scopeTree([...nodes.map((node) => node.scope), ...holders]);
  return scopes.map((scope) => costOf(scope, built, nodes));
}

/** The scopes of these paths and those that contain them, each once: containing ones first (`''` is the whole), others in the order in which they come. */
export function scopeTree(paths: Iterable<string>): string[] {
  const tree = new Map<string, string[]>([['', []]]);
  const enter = (path: string): void => {
    if (tree.has(path)) return;
    const parent = path.slice(0, Math.max(0, path.lastIndexOf('.')));
    enter(parent);
    tree.get(parent)!.push(path);
    tree.set(path, []);
  };
  for (const path of paths) enter(path);
  const walk = (path: string): string[] => [path, ...tree.get(path)!.flatMap(walk)];
  return walk('');
}

/** Whether `path` is the scope or lies in it. */
export function isWithin(scope: string, path: string): boolean {
  return scope === '' || path === scope || path.startsWith(`${scope}.`);
}

function costOf(scope: string, { parameters, outputs }: BuiltGraph, nodes: readonly Node[]): ScopeCost {
  const own = nodes.filter((node) => isWithin(scope, node.scope));
  const last = scope === '' ? [...outputs.values()][0]?.type : own.at(-1)?.outputs[0].type;
  return {
    scope,
    shape: last?.shape ?? null,
    parameters: sum(parameters.filter(({ name }) => isWithin(scope, name)).map(({ shape }) => elementCount(shape))),
    macs: sum(own.filter((node) => node.op.properties.products).map(flopsOf)) / 2,
    activationBytes: sum(own.flatMap((node) => (isView(node) ? [] : node.outputs.map(({ type }) => bytesOf(type))))),
  };
}

function flopsOf({ op, inputs, outputs, attrs }: Node): number {
  const types = (values: readonly { readonly type: TensorType }[]) => values.map(({ type }) => type);
  return op.flops(types(inputs), types(outputs), attrs);
}

/** Only moves elements and keeps them all: a reshape or a transpose. */
function isView({ op, inputs, outputs }: Node): boolean {
  return (
    op.properties.moves === true &&
    inputs.length > 0 &&
    elementCount(inputs[0].type.shape) === elementCount(outputs[0].type.shape)
  );
}

function bytesOf({ dtype, shape }: TensorType): number {
  const size = { float32: 4, int64: 8, int32: 4, uint8: 1, bool: 1 }[dtype];
  return size * elementCount(shape);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
