/*
 * The blocked (NCHWc) layout between the kernels that make it. Element-wise operators do not care where an element lies, so they run on blocked values as
 * they are; a sum or a ReLU right behind a blocked convolution becomes part of it and costs no pass over the map.
 */
import type { Node, Value } from '../ir/graph.ts';
import { elementCount, isStatic, sameType } from '../ir/types.ts';
import { type Emitter, NCHWC, type OnnxNode } from './emitter.ts';

/** Whether an operator can work on its inputs in the blocked layout: element by element, on blocked maps of one type and single numbers. */
export function runsBlocked(e: Emitter, { op, inputs, outputs: [y] }: Node): boolean {
  if (!op.properties.elementwise || y.type.dtype !== 'float32') return false;
  const isNumber = ({ type: { shape } }: Value) => isStatic(shape) && elementCount(shape) === 1;
  const maps = inputs.filter((input) => !isNumber(input));
  return maps.length > 0 && maps.every((map) => e.isBlocked(map) && sameType(map.type, y.type));
}

/**
 * The name of a sum's or a ReLU's result, computed by the blocked convolution before it; null where there is none, or where something else reads what it
 * makes.
 */
export function intoConvolution(e: Emitter, { op, inputs: [a, b] }: Node): string | null {
  const { ofConvolution } = op.properties;
  if (ofConvolution === 'sum') return withSum(e, b, a) ?? withSum(e, a, b);
  return ofConvolution
    ? extended(e, a, (conv) => e.extend(conv, conv.inputs, { ...conv.attrs, activation: ofConvolution }))
    : null;
}

/** `value` + `other`, another map, where a convolution without a sum makes `value`. */
function withSum(e: Emitter, value: Value, other: Value): string | null {
  if (!e.isBlocked(other) || !sameType(value.type, other.type)) return null;
  return extended(e, value, (conv, shape) => {
    const [x, w, bias = '', sum] = conv.inputs;
    if (sum !== undefined) return null;
    return e.extend(conv, [x, w, bias, shape ? e.reshape(e.blocked(other), shape) : e.blocked(other)], conv.attrs);
  });
}

/**
 * Writes the convolution that makes `value` anew as `extend` says. It may work on [1,N·C,H,W] and be reshaped, as that of a norm for each sample and
 * channel; then its shape is passed on.
 */
function extended(
  e: Emitter,
  value: Value,
  extend: (conv: OnnxNode, shape: readonly number[] | null) => string | null,
): string | null {
  if (!e.isBlocked(value) || e.uses(value) !== 1) return null;
  const last = e.producer(e.blocked(value));
  const isReshaped = last?.op === 'Reshape';
  const conv = isReshaped ? e.producer(last.inputs[0]) : last;
  if (conv?.op !== 'Conv' || conv.domain !== NCHWC || conv.attrs.activation !== undefined) return null;
  const [n, c, ...map] = value.type.shape as number[];
  const name = extend(conv, isReshaped ? [1, n * c, ...map] : null);
  return name !== null && isReshaped ? e.node('Reshape', [name, last.inputs[1]]) : name;
}
