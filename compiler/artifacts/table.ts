import type { TableEntry } from '../../contract/manifest.ts';
import type { Emitter } from '../emit/emitter.ts';
import { splitInto } from '../emit/pieces.ts';
import type { Graph, Value } from '../ir/graph.ts';
import type { Stored } from '../ir/program.ts';
import { elementCount } from '../ir/types.ts';

/** Lays arrays out one behind the other. */
export function layOut(stored: readonly Pick<Stored, 'name' | 'shape'>[]): TableEntry[] {
  let offset = 0;
  return stored.map(({ name, shape }) => {
    const entry = { name, shape, offset };
    offset += elementCount(shape);
    return entry;
  });
}

/** Length of the flat vector of a table, in elements. */
export function lengthOf(table: readonly TableEntry[]): number {
  const last = table.at(-1);
  return last ? last.offset + elementCount(last.shape) : 0;
}

/** Appends to `graph` the flat vector [P] of arrays in the order of a table. */
export function flatten(graph: Graph, values: readonly Value[]): Value {
  const parts = values.map((value) => graph.op('reshape', [value], { shape: [elementCount(value.type.shape)] }));
  return parts.length === 1 ? parts[0] : graph.op('concat', parts, { axis: 0 });
}

/** Makes the inputs called like the table's entries parts of the flat input `vector`. */
export function bindFlat(emitter: Emitter, vector: string, table: readonly TableEntry[]): void {
  if (table.length === 0) return;
  emitter.scope = vector;
  const sizes = table.map((entry) => elementCount(entry.shape));
  const parts = splitInto(emitter, vector, sizes, 0);
  const byName = new Map(emitter.graph.inputs.map((input) => [input.name, input]));
  table.forEach((entry, i) => {
    emitter.setPlanar(byName.get(entry.name)!, emitter.reshape(parts[i], entry.shape));
  });
}
