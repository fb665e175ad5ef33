import type { OpDefinition, OpTable } from '../ir/op.ts';
import * as conv from './conv.ts';
import * as elementwise from './elementwise.ts';

/** The only list of operators. */
const families = { elementwise, conv };

export const operators: OpTable = new Map(
  Object.values(families)
    .flatMap((family) => Object.values(family) as unknown[])
    .filter((member): member is OpDefinition => typeof member === 'object' && member !== null && 'infer' in member)
    .map((op) => [op.name, op]),
);
