import type { OpDefinition, OpTable } from '../ir/op.ts';
import * as activation from './activation.ts';
import * as bounds from './bounds.ts';
import * as comparison from './comparison.ts';
import * as conv from './conv.ts';
import * as convWeightGrad from './conv-weight-grad.ts';
import * as elementwise from './elementwise.ts';
import * as gather from './gather.ts';
import * as linear from './linear.ts';
import * as batchNorm from './norm-batch.ts';
import * as groupNorm from './norm-group.ts';
import * as layerNorm from './norm-layer.ts';
import * as order from './order.ts';
import * as pool from './pool.ts';
import * as averagePool from './pool-average.ts';
import * as globalPool from './pool-global.ts';
import * as random from './random.ts';
import * as reduce from './reduce.ts';
import * as resize from './resize.ts';
import * as shape from './shape.ts';
import * as size from './size.ts';
import * as slice from './slice.ts';
import * as softmax from './softmax.ts';
import * as unary from './unary.ts';

/** The only list of operators. */
const families = {
  activation,
  bounds,
  softmax,
  comparison,
  size,
  elementwise,
  conv,
  convWeightGrad,
  gather,
  batchNorm,
  groupNorm,
  layerNorm,
  order,
  pool,
  averagePool,
  globalPool,
  random,
  linear,
  reduce,
  resize,
  shape,
  slice,
  unary,
};

export const operators: OpTable = new Map(
  Object.values(families)
    .flatMap((family) => Object.entries(family as Readonly<Record<string, unknown>>).sort(byName))
    .map(([, member]) => member)
    .filter((member): member is OpDefinition => typeof member === 'object' && member !== null && 'infer' in member)
    .map((op) => [op.name, op]),
);

function byName([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : 1;
}
