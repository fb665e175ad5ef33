/*
 * Operators that put arrays together and take them apart.
 *
 *   y = concat(a, b, …)      da, db, … = the parts of dy
 *   a, b, … = split(x)       dx = concat(da, db, …), zeros for a part that the loss does not depend on
 *   y = pad(x)               dx = slice(dy)
 *   y = slice(x), step 1     dx = pad(dy) with zeros
 *             step −1        dx = pad(slice(dy, step −1))
 *             step s > 1     each element of dy followed by s − 1 zeros (a pad of a view with one more axis), cut to length, then padded
 */
import type { Emitter } from '../emit/emitter.ts';
import { mayRunOnWebgpu } from '../emit/lowering.ts';
import { concatOf, splitInto } from '../emit/pieces.ts';
import type { Graph, Value } from '../ir/graph.ts';
import { forEachIndex, full, type NDArray, ndarray, scalar, stridesOf, zeros } from '../ir/ndarray.ts';
import { defineOp, type Site } from '../ir/op.ts';
import { type Dim, elementCount, formatShape, isStatic, type Shape, type TensorType } from '../ir/types.ts';
import { normalizeAxis, requireOneDType, shapeError } from './shapes.ts';

/** `axis` may be negative. */
export type ConcatAttrs = { axis: number };

/** Sizes of the parts along `axis`; their sum is the axis's size. */
export type SplitAttrs = { axis: number; sizes: readonly number[] };

/**
 * ONNX's and numpy's conventions: negative starts and ends count from the end of the axis, ends beyond it are cut, steps may be negative
 * (1 where left out; an end below −size takes the first element too). One entry for each of `axes`.
 */
export type SliceAttrs = {
  starts: readonly number[];
  ends: readonly number[];
  axes: readonly number[];
  steps?: readonly number[];
};

/** Elements added before each axis, then those after each axis, as in ONNX; `value` (0 by default) fills them. */
export type PadAttrs = { pads: readonly number[]; value?: number };

function ramp(shape: readonly number[], start = 0): NDArray {
  return ndarray(
    shape,
    Array.from({ length: elementCount(shape) }, (_, i) => start + 0.25 * i),
  );
}

/** An axis that the shape rule has accepted, counted from 0. */
function fromStart(axis: number, shape: Shape): number {
  return axis < 0 ? axis + shape.length : axis;
}

/** Size of `axis`, which must be a number. */
function knownSize(type: TensorType, axis: number, site: Site, inputs: readonly TensorType[]): number {
  const size = type.shape[axis];
  if (typeof size === 'number') return size;
  const sentence = `axis ${axis} of ${formatShape(type.shape)} has no known size`;
  throw shapeError(site, 'SHAPE_ATTRIBUTE', sentence, inputs, `give ${size} a number, or use another axis`);
}

/** Copies the box of `part`'s shape at `corner` of `whole` (both with the same rank) from or to `part`. */
function copyBox(whole: NDArray, corner: readonly number[], part: NDArray, direction: 'extract' | 'insert'): void {
  const strides = stridesOf(whole.shape);
  forEachIndex(part.shape, (offset, index) => {
    const at = index.reduce((sum, i, axis) => sum + (i + corner[axis]) * strides[axis], 0);
    if (direction === 'extract') part.data[offset] = whole.data[at];
    else whole.data[at] = part.data[offset];
  });
}

/** Where along `axis` each part begins. */
function cornersOf(sizes: readonly number[], axis: number, rank: number): number[][] {
  let start = 0;
  return sizes.map((size) => {
    const corner = new Array<number>(rank).fill(0);
    corner[axis] = start;
    start += size;
    return corner;
  });
}

export const concat = defineOp<ConcatAttrs>('concat', {
  summary: 'y = the inputs one after the other along `axis`.',
  properties: { moves: true },
  infer(inputs, attrs, site) {
    const [first] = inputs;
    const axis = normalizeAxis(attrs.axis, first.shape, site, inputs);
    for (const other of inputs.slice(1)) {
      const both = `${formatShape(first.shape)} and ${formatShape(other.shape)}`;
      requireOneDType([first, other], site, inputs);
      if (other.shape.length !== first.shape.length) {
        throw shapeError(site, 'SHAPE_RANK', `${both} have different numbers of axes`, inputs);
      }
      const differs = first.shape.findIndex((dim, i) => i !== axis && dim !== other.shape[i]);
      if (differs >= 0) {
        throw shapeError(site, 'SHAPE_MISMATCH', `${both} differ in axis ${differs}`, inputs, `only axis ${axis} may differ`);
      }
    }
    if (inputs.length === 1) return [first];
    const size = inputs.reduce((sum, input) => sum + knownSize(input, axis, site, inputs), 0);
    return [{ dtype: first.dtype, shape: first.shape.map((dim, i) => (i === axis ? size : dim)) }];
  },
  vjp(graph, { inputs, grads: [dy], wanted }, attrs) {
    const axis = fromStart(attrs.axis, dy!.type.shape);
    if (inputs.length === 1) return [dy];
    const sizes = inputs.map((input) => input.type.shape[axis] as number);
    if (!wanted.includes(false)) return graph.ops('split', [dy!], { axis, sizes });
    let end = 0;
    return sizes.map((size, i) => {
      end += size;
      return wanted[i] ? graph.op('slice', [dy!], { starts: [end - size], ends: [end], axes: [axis] }) : null;
    });
  },
  lower: [
    {
      name: 'standard',
      emit(e, { inputs, outputs: [y] }, x, attrs) {
        const axis = fromStart(attrs.axis, inputs[0].type.shape);
        if (axis !== 1 || !inputs.every((input) => e.isBlocked(input))) return concatOf(e, x, axis);
        // Blocks of channels one behind the other.
        const blocks = inputs.map((input) => e.blocked(input));
        e.setBlocked(y, concatOf(e, blocks, axis));
        return '';
      },
    },
  ],
  flops: () => 0,
  evaluate(inputs, attrs) {
    const [first] = inputs;
    const axis = fromStart(attrs.axis, first.shape);
    const sizes = inputs.map((input) => input.shape[axis]);
    const size = sizes.reduce((sum, part) => sum + part, 0);
    const out = zeros(
      first.shape.map((dim, i) => (i === axis ? size : dim)),
      first.dtype,
    );
    const corners = cornersOf(sizes, axis, first.shape.length);
    for (const [i, input] of inputs.entries()) copyBox(out, corners[i], input, 'insert');
    return [out];
  },
  samples: () => [
    { name: 'channels of two maps', inputs: [ramp([2, 1, 2, 2]), ramp([2, 3, 2, 2], 9)], attrs: { axis: 1 } },
    { name: 'three, negative axis', inputs: [ramp([2, 2]), ramp([2, 1], 9), ramp([2, 3], -9)], attrs: { axis: -1 } },
    { name: 'the first axis', inputs: [ramp([1, 3]), ramp([2, 3], 9)], attrs: { axis: 0 } },
    { name: 'one input', inputs: [ramp([2, 3])], attrs: { axis: 1 } },
  ],
});

export const split = defineOp<SplitAttrs>('split', {
  summary: 'y₁, y₂, … = x cut along `axis` into parts of `sizes`.',
  properties: { moves: true },
  infer(inputs, { axis: given, sizes }, site) {
    const [x] = inputs;
    const axis = normalizeAxis(given, x.shape, site, inputs);
    const size = knownSize(x, axis, site, inputs);
    const sum = sizes.reduce((total, part) => total + part, 0);
    if (sum !== size || sizes.some((part) => !Number.isInteger(part) || part < 1)) {
      const sentence = `sizes [${sizes.join(',')}] do not make up axis ${axis} of ${formatShape(x.shape)}`;
      throw shapeError(site, 'SHAPE_ATTRIBUTE', sentence, inputs, `positive sizes that sum to ${size} are needed`);
    }
    return sizes.map((part) => ({ dtype: x.dtype, shape: x.shape.map((dim, i) => (i === axis ? part : dim)) }));
  },
  vjp(graph, { inputs: [x], outputs, grads, wanted }, { axis: given, sizes }) {
    if (!wanted[0]) return [null];
    const axis = fromStart(given, x.type.shape);
    const present = grads.flatMap((grad, i) => (grad ? [i] : []));
    if (present.length === 1) {
      const [only] = present;
      const before = sizes.slice(0, only).reduce((sum, size) => sum + size, 0);
      const after = sizes.slice(only + 1).reduce((sum, size) => sum + size, 0);
      return [padAxis(graph, grads[only]!, axis, before, after)];
    }
    const parts = grads.map((grad, i) => grad ?? zerosLike(graph, outputs[i]));
    return [graph.op('concat', parts, { axis })];
  },
  lower: [
    {
      name: 'standard',
      emit: (e, node, [x], { axis, sizes }) => splitInto(e, x, sizes, fromStart(axis, node.inputs[0].type.shape)),
    },
  ],
  flops: () => 0,
  evaluate([x], { axis: given, sizes }) {
    const axis = fromStart(given, x.shape);
    const corners = cornersOf(sizes, axis, x.shape.length);
    return sizes.map((size, i) => {
      const part = zeros(
        x.shape.map((dim, other) => (other === axis ? size : dim)),
        x.dtype,
      );
      copyBox(x, corners[i], part, 'extract');
      return part;
    });
  },
  samples: () => [
    { name: 'channels', inputs: [ramp([2, 4, 2, 2])], attrs: { axis: 1, sizes: [1, 3] } },
    { name: 'three parts, negative axis', inputs: [ramp([2, 5])], attrs: { axis: -1, sizes: [2, 1, 2] } },
    { name: 'one part', inputs: [ramp([2, 3])], attrs: { axis: 0, sizes: [2] } },
  ],
});

function zerosLike(graph: Graph, value: Value): Value {
  const { shape, dtype } = value.type;
  if (isStatic(shape)) return graph.constant(zeros(shape, dtype));
  return graph.op('expand', [graph.constant(scalar(0, dtype)), value]);
}

/** `value` with zeros before and after along one axis. */
function padAxis(graph: Graph, value: Value, axis: number, before: number, after: number): Value {
  if (before === 0 && after === 0) return value;
  const rank = value.type.shape.length;
  const pads = new Array<number>(2 * rank).fill(0);
  pads[axis] = before;
  pads[rank + axis] = after;
  return graph.op('pad', [value], { pads });
}

/** What a slice takes of one axis: elements start, start + step, … (`count` of them). */
interface Cut {
  readonly axis: number;
  readonly start: number;
  readonly step: number;
  readonly count: number;
}

/** Resolves starts and ends as numpy does, on axes whose sizes are `sizes`. */
function cutsOf({ starts, ends, axes, steps }: SliceAttrs, shape: Shape): Cut[] {
  return axes.map((given, i) => {
    const axis = fromStart(given, shape);
    const size = shape[axis] as number;
    const step = steps?.[i] ?? 1;
    const [low, high] = step > 0 ? [0, size] : [-1, size - 1];
    const bound = (at: number) => Math.min(Math.max(at < 0 ? at + size : at, low), high);
    const start = bound(starts[i]);
    return { axis, start, step, count: Math.max(0, Math.ceil((bound(ends[i]) - start) / step)) };
  });
}

function sliced(e: Emitter, x: string, cuts: readonly Cut[]): string {
  // An end before the first element is written as one that is below every negative index.
  const ends = cuts.map(({ start, step, count }) => (start + count * step < 0 ? -0x7fffffff : start + count * step));
  const lists = [cuts.map((cut) => cut.start), ends, cuts.map((cut) => cut.axis), cuts.map((cut) => cut.step)];
  return cuts.length === 0 ? x : e.node('Slice', [x, ...lists.map((list) => e.ints(list))]);
}

export const slice = defineOp<SliceAttrs>('slice', {
  summary: 'y = elements `starts`, `starts` + `steps`, … up to `ends` (excluded) of x along `axes`.',
  properties: { moves: true },
  infer(inputs, attrs, site) {
    const [x] = inputs;
    const { starts, ends, axes, steps } = attrs;
    const refuse = (sentence: string, hint?: string) => shapeError(site, 'SHAPE_ATTRIBUTE', sentence, inputs, hint);
    if ([starts, ends, steps ?? axes].some((list) => list.length !== axes.length)) {
      throw refuse('each axis needs a start, an end and a step');
    }
    const normal = axes.map((axis) => normalizeAxis(axis, x.shape, site, inputs));
    const twice = normal.find((axis, i) => normal.indexOf(axis) !== i);
    if (twice !== undefined) throw refuse(`axis ${twice} of ${formatShape(x.shape)} is given twice`);
    for (const axis of normal) knownSize(x, axis, site, inputs);
    if (steps?.some((step) => !Number.isInteger(step) || step === 0))
      throw refuse(`[${steps.join(',')}] are not steps`, 'a step is an integer other than 0');
    const shape: Dim[] = [...x.shape];
    cutsOf(attrs, x.shape).forEach(({ axis, count }, i) => {
      if (count === 0)
        throw refuse(`from ${starts[i]} to ${ends[i]} there is nothing in axis ${axis} of ${formatShape(x.shape)}`);
      shape[axis] = count;
    });
    return [{ dtype: x.dtype, shape }];
  },
  vjp(graph, { inputs: [x], grads: [dy], wanted }, attrs) {
    if (!wanted[0]) return [null];
    const { shape } = x.type;
    const cuts = cutsOf(attrs, shape);
    const flipped = cuts.filter((cut) => cut.step < 0 && cut.count > 1);
    let dx = dy!;
    if (flipped.length > 0) {
      const axes = flipped.map((cut) => cut.axis);
      const ends = axes.map((axis) => -(shape[axis] as number) - 1);
      dx = graph.op('slice', [dx], { starts: axes.map(() => -1), ends, axes, steps: axes.map(() => -1) });
    }
    const pads = new Array<number>(2 * shape.length).fill(0);
    for (const { axis, start, step, count } of cuts) {
      const first = step < 0 ? start + (count - 1) * step : start;
      const room = (shape[axis] as number) - first;
      const gap = Math.abs(step);
      let length = count;
      if (gap > 1 && count > 1) {
        length = Math.min(count * gap, room);
        dx = spread(graph, dx, axis, gap, length);
      }
      pads[axis] = first;
      pads[shape.length + axis] = room - length;
    }
    return [pads.some((pad) => pad > 0) ? graph.op('pad', [dx], { pads }) : dx];
  },
  lower: [
    {
      name: 'standard',
      emit(e, node, [x], attrs) {
        const cuts = cutsOf(attrs, node.inputs[0].type.shape);
        // WebGPU's kernel reverses an axis well only as a whole: first what lies between the ends is cut out, then reversed, then its steps are taken.
        const reversed = mayRunOnWebgpu(e.target) ? cuts.filter(({ step }) => step < 0) : [];
        if (reversed.length === 0) return sliced(e, x, cuts);
        const reach = ({ step, count }: Cut) => (count - 1) * -step + 1;
        const between = cuts.map((cut) =>
          cut.step < 0 ? { ...cut, start: cut.start - reach(cut) + 1, step: 1, count: reach(cut) } : cut,
        );
        const whole = ({ axis, count }: Cut) => count === node.inputs[0].type.shape[axis];
        const backwards = reversed.map((cut) => ({ ...cut, start: reach(cut) - 1, step: -1, count: reach(cut) }));
        const steps = reversed.filter(({ step }) => step < -1).map((cut) => ({ ...cut, start: 0, step: -cut.step }));
        return [between.filter((cut) => !whole(cut)), backwards, steps].reduce((name, list) => sliced(e, name, list), x);
      },
    },
  ],
  flops: () => 0,
  evaluate([x], attrs) {
    const cuts = cutsOf(attrs, x.shape);
    const shape = [...x.shape];
    const starts = x.shape.map(() => 0);
    const steps = x.shape.map(() => 1);
    for (const { axis, start, step, count } of cuts) {
      shape[axis] = count;
      starts[axis] = start;
      steps[axis] = step;
    }
    const out = zeros(shape, x.dtype);
    const strides = stridesOf(x.shape);
    forEachIndex(shape, (offset, index) => {
      out.data[offset] = x.data[index.reduce((sum, i, axis) => sum + (starts[axis] + i * steps[axis]) * strides[axis], 0)];
    });
    return [out];
  },
  samples: () => [
    { name: 'a window', inputs: [ramp([2, 2, 4, 5])], attrs: { starts: [1, 2], ends: [3, 4], axes: [2, 3], steps: [1, 1] } },
    { name: 'negative indices, end beyond', inputs: [ramp([2, 6])], attrs: { starts: [-4], ends: [99], axes: [-1] } },
    { name: 'reversed', inputs: [ramp([2, 4])], attrs: { starts: [-1], ends: [-99], axes: [1], steps: [-1] } },
    { name: 'step 2, odd size', inputs: [ramp([2, 7])], attrs: { starts: [0], ends: [7], axes: [1], steps: [2] } },
    { name: 'step 3 from 1, rest', inputs: [ramp([8, 2])], attrs: { starts: [1], ends: [8], axes: [0], steps: [3] } },
    { name: 'two strided axes', inputs: [ramp([1, 5, 6])], attrs: { starts: [0, 1], ends: [5, 6], axes: [1, 2], steps: [2, 2] } },
    { name: 'step −2', inputs: [ramp([7])], attrs: { starts: [5], ends: [0], axes: [0], steps: [-2] } },
    { name: 'step −1 inside', inputs: [ramp([2, 7])], attrs: { starts: [4], ends: [1], axes: [1], steps: [-1] } },
    { name: 'one element of a big step', inputs: [ramp([3, 4])], attrs: { starts: [2], ends: [4], axes: [1], steps: [5] } },
  ],
});

/** `value` with `gap` − 1 zeros after each element of `axis`, cut to `length`. */
function spread(graph: Graph, value: Value, axis: number, gap: number, length: number): Value {
  const { shape } = value.type;
  const count = shape[axis] as number;
  const view = graph.op('reshape', [value], { shape: [...shape.slice(0, axis + 1), 1, ...shape.slice(axis + 1)] });
  const padded = padAxis(graph, view, axis + 1, 0, gap - 1);
  const joined = graph.op('reshape', [padded], { shape: shape.map((dim, i) => (i === axis ? count * gap : dim)) });
  return length === count * gap ? joined : graph.op('slice', [joined], { starts: [0], ends: [length], axes: [axis] });
}

export const pad = defineOp<PadAttrs>('pad', {
  summary: 'y = x with `pads` elements of `value` (0) around it.',
  properties: {},
  infer(inputs, { pads }, site) {
    const [x] = inputs;
    const rank = x.shape.length;
    if (pads.length !== 2 * rank || pads.some((count) => !Number.isInteger(count) || count < 0)) {
      const sentence = `pads [${pads.join(',')}] do not fit ${formatShape(x.shape)}`;
      throw shapeError(
        site,
        'SHAPE_ATTRIBUTE',
        sentence,
        inputs,
        `${rank} counts before and ${rank} after the axes are needed, none negative`,
      );
    }
    const shape = x.shape.map((dim, axis) => {
      const more = pads[axis] + pads[rank + axis];
      return more === 0 ? dim : knownSize(x, axis, site, inputs) + more;
    });
    return [{ dtype: x.dtype, shape }];
  },
  vjp(graph, { inputs: [x], grads: [dy], wanted }, { pads }) {
    if (!wanted[0]) return [null];
    const { shape } = x.type;
    const axes = shape.flatMap((_, axis) => (pads[axis] + pads[shape.length + axis] > 0 ? [axis] : []));
    if (axes.length === 0) return [dy];
    const starts = axes.map((axis) => pads[axis]);
    return [graph.op('slice', [dy!], { starts, ends: axes.map((axis) => pads[axis] + (shape[axis] as number)), axes })];
  },
  lower: [
    {
      name: 'standard',
      emit(e, node, [x], { pads, value = 0 }) {
        if (pads.every((count) => count === 0)) return x;
        return e.node('Pad', [x, e.ints(pads), e.array(scalar(value, node.inputs[0].type.dtype))], { mode: 'constant' });
      },
    },
  ],
  flops: () => 0,
  evaluate([x], { pads, value = 0 }) {
    const rank = x.shape.length;
    const shape = x.shape.map((size, axis) => size + pads[axis] + pads[rank + axis]);
    const out = full(shape, value, x.dtype);
    copyBox(out, pads.slice(0, rank), x, 'insert');
    return [out];
  },
  samples: () => [
    { name: 'a map, asymmetric', inputs: [ramp([1, 2, 2, 3], 1)], attrs: { pads: [0, 0, 1, 0, 0, 0, 2, 1] } },
    { name: 'another value', inputs: [ramp([2, 2], 1)], attrs: { pads: [0, 1, 0, 1], value: -1.5 } },
    { name: 'the first axis, on one side', inputs: [ramp([2, 3], 1)], attrs: { pads: [2, 0, 0, 0] } },
    { name: 'nothing', inputs: [ramp([2], 1)], attrs: { pads: [0, 0] } },
  ],
});
