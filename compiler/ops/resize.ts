/*
 * Resizing of maps [N,C,h,w] to [N,C,H,W]. Rows and columns are independent and linear: y = R·x·Cᵀ with constant matrices
 * R [H,h] and C [W,w], so dx = Rᵀ·dy·C.
 *
 * Row i of the result has its centre at u = (i + ½)·h/H − ½ of the source (half-pixel centres).
 *   nearest:   the source row whose cell holds that centre, ⌊(i + ½)·h/H⌋: the lower of two only where the centre is not on their border
 *   bilinear:  rows ⌊u⌋ and ⌊u⌋ + 1 with weights 1 − (u − ⌊u⌋) and u − ⌊u⌋, u cut to 0 … h − 1
 */
import type { Emitter } from '../emit/emitter.ts';
import { type Lowering, needs } from '../emit/lowering.ts';
import type { Node } from '../ir/graph.ts';
import { type NDArray, zeros } from '../ir/ndarray.ts';
import { defineOp, type Site } from '../ir/op.ts';
import { type Dim, elementCount, formatShape, type Shape, type TensorType } from '../ir/types.ts';
import { wave } from './samples.ts';
import { requireDType, requireRank, shapeError } from './shapes.ts';

export type ResizeMode = 'nearest' | 'bilinear';

/**
 * The result's height and width by `size` [H,W], or by factors `scales` (H = ⌊h · scale⌋); one of the two. Distances are measured
 * with h/H, also where a factor does not give a whole number of rows.
 */
export type ResizeAttrs = { mode: ResizeMode; size?: readonly number[]; scales?: readonly number[] };

/** `size` is the height and width that the forward pass resized from. */
export type ResizeGradAttrs = { mode: ResizeMode; size: readonly number[] };

/** What a row of the result is made of: source rows and their weights. */
type Row = readonly (readonly [source: number, weight: number])[];

function rowsOf(from: number, to: number, mode: ResizeMode): Row[] {
  return Array.from({ length: to }, (_, i) => {
    if (mode === 'nearest') return [[Math.floor(((2 * i + 1) * from) / (2 * to)), 1]];
    const at = Math.min(Math.max(((i + 0.5) * from) / to - 0.5, 0), from - 1);
    const low = Math.floor(at);
    return at === low ? [[low, 1]] : [[low, 1 - (at - low)] as const, [low + 1, at - low] as const];
  });
}

/** The rows as a matrix [to, from]; [from, to] where `transposed`. */
function matrixOf(from: number, to: number, mode: ResizeMode, transposed: boolean): NDArray {
  const matrix = zeros(transposed ? [from, to] : [to, from]);
  rowsOf(from, to, mode).forEach((row, i) => {
    for (const [source, weight] of row) matrix.data[transposed ? source * to + i : i * from + source] += weight;
  });
  return matrix;
}

/** Height and width of maps that the shape rule has accepted. */
function mapOf(shape: Shape): [number, number] {
  return [shape[2] as number, shape[3] as number];
}

function inferMaps(inputs: readonly TensorType[], site: Site): void {
  requireDType(inputs, 'float32', site);
  requireRank(inputs[0], [4], site, 'maps [N,C,H,W]');
  if (mapOf(inputs[0].shape).some((size) => typeof size !== 'number')) {
    const sentence = `takes maps of a known size, got ${formatShape(inputs[0].shape)}`;
    throw shapeError(site, 'SHAPE_ATTRIBUTE', sentence, inputs, 'give height and width numbers');
  }
}

function requireMode(mode: ResizeMode, inputs: readonly TensorType[], site: Site): void {
  if (mode !== 'nearest' && mode !== 'bilinear') {
    throw shapeError(site, 'SHAPE_ATTRIBUTE', `mode ${String(mode)} is not known`, inputs, "take 'nearest' or 'bilinear'");
  }
}

function requireSize(size: readonly number[] | undefined, inputs: readonly TensorType[], site: Site): void {
  if (size?.length === 2 && size.every((extent) => Number.isInteger(extent) && extent > 0)) return;
  const sentence = `[${size?.join(',') ?? ''}] is not a height and a width`;
  throw shapeError(site, 'SHAPE_ATTRIBUTE', sentence, inputs, 'give two positive integers as size, or two factors as scales');
}

/** Height and width of the result. */
function resized(shape: Shape, { size, scales }: ResizeAttrs): readonly number[] | undefined {
  return size ?? scales?.map((scale, i) => Math.floor(mapOf(shape)[i] * scale));
}

function withMap(shape: Shape, size: readonly number[]): Dim[] {
  return [shape[0], shape[1], size[0], size[1]];
}

/** Calls `visit(offset in the small side x, offset in the result y, weight)` for every contribution. */
function forEachTerm(
  [n, c, h, w]: readonly number[],
  [height, width]: readonly number[],
  mode: ResizeMode,
  visit: (ofX: number, ofY: number, weight: number) => void,
): void {
  const rows = rowsOf(h, height, mode);
  const columns = rowsOf(w, width, mode);
  for (let plane = 0; plane < n * c; plane++) {
    for (const [i, row] of rows.entries()) {
      for (const [j, column] of columns.entries()) {
        for (const [y, wy] of row) {
          for (const [x, wx] of column) visit((plane * h + y) * w + x, (plane * height + i) * width + j, wy * wx);
        }
      }
    }
  }
}

/** Whether float32 arithmetic finds the nearest rows of the formula: no centre lies on, or next to, the border of two. */
function isClear(from: number, to: number): boolean {
  return Array.from({ length: to }, (_, i) => ((i + 0.5) * from) / to).every((at) => Math.abs(at - Math.round(at)) > 1e-4);
}

/** Multiplies maps by constant matrices from the right (columns) and the left (rows). */
function product(e: Emitter, x: string, rows: NDArray, columns: NDArray): string {
  return e.node('MatMul', [e.array(rows), e.node('MatMul', [x, e.array(columns)])]);
}

const native: Lowering<ResizeAttrs> = {
  name: 'resize',
  when: needs('no pixel between two others', ({ inputs: [x], outputs: [y] }, _target, { mode }) => {
    const [from, to] = [mapOf(x.type.shape), mapOf(y.type.shape)];
    return mode === 'bilinear' || from.every((size, i) => isClear(size, to[i]));
  }),
  emit(e, { outputs: [y] }, [name], { mode }) {
    const { shape } = y.type;
    const planes = shape.slice(0, 2);
    const known = planes.every((dim) => typeof dim === 'number');
    // Sizes, not scales: a factor such as 7/3 is not exact, and the number of rows would depend on its rounding.
    const sizes = known
      ? e.ints(shape as readonly number[])
      : e.node('Concat', [e.node('Slice', [e.node('Shape', [name]), e.ints([0]), e.ints([2])]), e.ints(mapOf(shape))], {
          axis: 0,
        });
    const attrs = { coordinate_transformation_mode: 'half_pixel', mode: mode === 'bilinear' ? 'linear' : 'nearest' };
    return e.node('Resize', [name, '', '', sizes], mode === 'bilinear' ? attrs : { ...attrs, nearest_mode: 'round_prefer_ceil' });
  },
};

export const resize = defineOp<ResizeAttrs>('resize', {
  summary: 'y [N,C,H,W] = the maps x [N,C,h,w] in another size, by nearest or bilinear sampling at half-pixel centres.',
  properties: {},
  infer(inputs, attrs, site) {
    inferMaps(inputs, site);
    requireMode(attrs.mode, inputs, site);
    const size = resized(inputs[0].shape, attrs);
    requireSize(size, inputs, site);
    return [{ dtype: 'float32', shape: withMap(inputs[0].shape, size!) }];
  },
  vjp(graph, { inputs: [x], grads: [dy], wanted }, { mode }) {
    return [wanted[0] ? graph.op('resizeGrad', [dy!], { mode, size: mapOf(x.type.shape) }) : null];
  },
  lower: [
    native,
    {
      name: 'product',
      emit(e, { inputs: [x], outputs: [y] }, [name], { mode }) {
        const [h, w] = mapOf(x.type.shape);
        const [height, width] = mapOf(y.type.shape);
        return product(e, name, matrixOf(h, height, mode, false), matrixOf(w, width, mode, true));
      },
    },
  ],
  flops: (_inputs, [y], { mode }) => (mode === 'bilinear' ? 8 * elementCount(y.shape) : 0),
  evaluate([x], attrs) {
    const size = resized(x.shape, attrs)!;
    const y = zeros(withMap(x.shape, size) as number[]);
    forEachTerm(x.shape, size, attrs.mode, (ofX, ofY, weight) => {
      y.data[ofY] += weight * x.data[ofX];
    });
    return [y];
  },
  samples: () => [
    { name: 'nearest, twice', inputs: [wave([2, 2, 2, 3])], attrs: { mode: 'nearest', scales: [2, 2] } },
    { name: 'nearest, up by no whole factor', inputs: [wave([1, 2, 3, 3])], attrs: { mode: 'nearest', size: [4, 7] } },
    { name: 'nearest, half: centres on borders', inputs: [wave([2, 1, 4, 6])], attrs: { mode: 'nearest', size: [2, 3] } },
    { name: 'nearest, down by no whole factor', inputs: [wave([1, 1, 10, 5])], attrs: { mode: 'nearest', size: [3, 3] } },
    { name: 'bilinear, twice', inputs: [wave([2, 2, 3, 2])], attrs: { mode: 'bilinear', scales: [2, 2] } },
    { name: 'bilinear, another shape', inputs: [wave([1, 2, 3, 5])], attrs: { mode: 'bilinear', size: [5, 3] } },
    { name: 'bilinear, factors that are cut', inputs: [wave([2, 1, 3, 3])], attrs: { mode: 'bilinear', scales: [1.5, 0.7] } },
    { name: 'bilinear, from one pixel', inputs: [wave([2, 1, 1, 1])], attrs: { mode: 'bilinear', size: [2, 3] } },
    { name: 'bilinear, the same size', inputs: [wave([1, 1, 2, 3])], attrs: { mode: 'bilinear', size: [2, 3] } },
  ],
});

/** By how much a nearest resize repeats rows and columns, where both are whole numbers. */
function factors({ inputs: [dy] }: Node, size: readonly number[]): number[] | null {
  const ratios = mapOf(dy.type.shape).map((extent, i) => extent / size[i]);
  return ratios.every((ratio) => Number.isInteger(ratio)) ? ratios : null;
}

export const resizeGrad = defineOp<ResizeGradAttrs>('resizeGrad', {
  summary: 'dx [N,C,h,w] = the gradient dy [N,C,H,W] of resized maps, brought back to the size `size` = [h,w] that they had.',
  properties: {},
  infer(inputs, { mode, size }, site) {
    inferMaps(inputs, site);
    requireMode(mode, inputs, site);
    requireSize(size, inputs, site);
    return [{ dtype: 'float32', shape: withMap(inputs[0].shape, size) }];
  },
  vjp(graph, { inputs: [dy], grads: [dz], wanted }, { mode }) {
    return [wanted[0] ? graph.op('resize', [dz!], { mode, size: mapOf(dy.type.shape) }) : null];
  },
  lower: [
    {
      // Each source pixel was repeated over a window, so its gradient is the window's sum: the mean times the number of pixels.
      name: 'pool',
      when: needs(
        'nearest neighbours and a whole factor',
        (node, _target, { mode, size }) => mode === 'nearest' && factors(node, size) !== null,
      ),
      emit(e, node, [dy], { size }) {
        const window = factors(node, size)!;
        const means = e.node('AveragePool', [dy], { kernel_shape: window, strides: window });
        return e.node('Mul', [means, e.floats(window[0] * window[1])]);
      },
    },
    {
      name: 'product',
      emit(e, { inputs: [dy] }, [name], { mode, size: [h, w] }) {
        const [height, width] = mapOf(dy.type.shape);
        return product(e, name, matrixOf(h, height, mode, true), matrixOf(w, width, mode, false));
      },
    },
  ],
  flops: ([dy], _outputs, { mode }) => (mode === 'bilinear' ? 8 : 1) * elementCount(dy.shape),
  evaluate([dy], { mode, size }) {
    const shape = withMap(dy.shape, size) as number[];
    const dx = zeros(shape);
    forEachTerm(shape, mapOf(dy.shape), mode, (ofX, ofY, weight) => {
      dx.data[ofX] += weight * dy.data[ofY];
    });
    return [dx];
  },
  samples: () => [
    { name: 'nearest, three times and twice', inputs: [wave([2, 2, 6, 4])], attrs: { mode: 'nearest', size: [2, 2] } },
    { name: 'nearest, up by no whole factor', inputs: [wave([1, 1, 4, 7])], attrs: { mode: 'nearest', size: [3, 3] } },
    { name: 'nearest, half', inputs: [wave([1, 2, 2, 3])], attrs: { mode: 'nearest', size: [4, 6] } },
    { name: 'bilinear, twice', inputs: [wave([2, 1, 4, 6])], attrs: { mode: 'bilinear', size: [2, 3] } },
    { name: 'bilinear, from one pixel', inputs: [wave([1, 1, 2, 3])], attrs: { mode: 'bilinear', size: [1, 1] } },
  ],
});
