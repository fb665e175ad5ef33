/*
 * Matrix products. A, B are matrices, or stacks of them over leading axes that broadcast; A′ is A or Aᵀ, B′ is B or Bᵀ, as the flags say.
 *
 *   Z = A·B      dA = dZ·Bᵀ    dB = Aᵀ·dZ       summed over leading axes that were repeated
 *   Z = Aᵀ·B     dA = B·dZᵀ    dB = A·dZ
 *   Z = A·Bᵀ     dA = dZ·B     dB = dZᵀ·A
 *   Z = Aᵀ·Bᵀ    dA = Bᵀ·dZᵀ   dB = dZᵀ·Aᵀ
 *
 *   y = x·wᵀ + b     dx = dy·w    dw = Σ dyᵀ·x    db = Σ dy      Σ over all axes of x but the last
 *   Z = Σ aᵀ·b       da = b·dZᵀ   db = a·dZ
 *
 * Where B is one matrix for a whole stack of A, its gradient is one product over all rows of the stack, not a sum of products.
 */
import { type Emitter, MICROSOFT } from '../emit/emitter.ts';
import { type Lowering, needs, type Target } from '../emit/lowering.ts';
import type { Graph, Value } from '../ir/graph.ts';
import { broadcastStrides, forEachIndex, type NDArray, zeros } from '../ir/ndarray.ts';
import { defineOp, type Site } from '../ir/op.ts';
import { type Dim, elementCount, formatShape, type Shape, type TensorType } from '../ir/types.ts';
import { unbroadcast } from './elementwise.ts';
import { wave } from './samples.ts';
import { broadcastShapes, requireDType, requireKnown, requireWhole, shapeError } from './shapes.ts';

/** Whether the last two axes of an input are exchanged before the product; no by default. */
export type MatmulAttrs = { transA?: boolean; transB?: boolean };

/** Rows and columns of the last two axes, exchanged where `transposed`. */
function sides(shape: Shape, transposed: boolean): [Dim, Dim] {
  const [rows, columns] = shape.slice(-2);
  return transposed ? [columns, rows] : [rows, columns];
}

function differ(site: Site, inputs: readonly TensorType[], left: Dim, right: Dim, hint?: string) {
  const both = `${formatShape(inputs[0].shape)} and ${formatShape(inputs[1].shape)}`;
  return shapeError(site, 'SHAPE_MISMATCH', `${both} do not match: ${left} against ${right}`, inputs, hint);
}

function inferMatmul(inputs: readonly TensorType[], { transA = false, transB = false }: MatmulAttrs, site: Site): Dim[] {
  requireDType(inputs, 'float32', site);
  const [a, b] = inputs.map((input) => input.shape);
  const flat = inputs.find((input) => input.shape.length < 2);
  if (flat) {
    throw shapeError(
      site,
      'SHAPE_RANK',
      `takes matrices, got ${formatShape(flat.shape)}`,
      inputs,
      'reshape a vector to one row or one column',
    );
  }
  const [rows, inner] = sides(a, transA);
  const [other, columns] = sides(b, transB);
  if (inner !== other) throw differ(site, inputs, inner, other);
  const stack = broadcastShapes(a.slice(0, -2), b.slice(0, -2));
  if (!stack) {
    const rank = Math.min(a.length, b.length) - 2;
    const i = [...Array(rank).keys()].findIndex((back) => !broadcastShapes([a[a.length - 3 - back]], [b[b.length - 3 - back]]));
    throw differ(
      site,
      inputs,
      a[a.length - 3 - i],
      b[b.length - 3 - i],
      'leading axes must be equal, or 1 where a matrix is to be repeated',
    );
  }
  return [...stack, rows, columns];
}

/** Dot products of the rows of one stack of matrices with the columns of another. */
function product(a: NDArray, b: NDArray, transA: boolean, transB: boolean): NDArray {
  const [rows, inner] = sides(a.shape, transA) as [number, number];
  const columns = sides(b.shape, transB)[1] as number;
  const stack = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2)) as number[];
  const out = zeros([...stack, rows, columns]);
  const strideOf = (x: NDArray) => broadcastStrides(x.shape, [...stack, ...x.shape.slice(-2)]);
  const [sa, sb] = [strideOf(a), strideOf(b)];
  const [ai, ak] = transA ? [sa.length - 1, sa.length - 2] : [sa.length - 2, sa.length - 1];
  const [bk, bj] = transB ? [sb.length - 1, sb.length - 2] : [sb.length - 2, sb.length - 1];
  forEachIndex(out.shape, (offset, index) => {
    const [i, j] = index.slice(-2);
    let left = i * sa[ai];
    let right = j * sb[bj];
    for (let axis = 0; axis < stack.length; axis++) {
      left += index[axis] * sa[axis];
      right += index[axis] * sb[axis];
    }
    let sum = 0;
    for (let k = 0; k < inner; k++) sum += a.data[left + k * sa[ak]] * b.data[right + k * sb[bk]];
    out.data[offset] = sum;
  });
  return out;
}

/** The gradient by the right operand B of Z = A′·B′. */
function rightGrad(graph: Graph, a: Value, b: Value, dz: Value, transA: boolean, transB: boolean): Value {
  const known = [...b.type.shape, ...a.type.shape.slice(-1)].every((dim) => typeof dim === 'number');
  if (b.type.shape.length === 2 && a.type.shape.length > 2 && !transA && known) {
    return graph.op('matmulRows', transB ? [dz, a] : [a, dz]);
  }
  const grad = transB
    ? graph.op('matmul', [dz, a], { transA: true, transB: transA })
    : graph.op('matmul', [a, dz], { transA: !transA, transB: false });
  return unbroadcast(graph, grad, b.type.shape);
}

const swapLast = (rank: number): number[] => [...Array(rank - 2).keys(), rank - 1, rank - 2];

/** Whether ONNX Runtime's product that reads its operands transposed is there. */
const hasFused = ({ provider }: Target): boolean => provider === 'cpu' || provider === 'cuda';

const fusedProduct = (e: Emitter, operands: readonly string[], { transA, transB }: MatmulAttrs): string =>
  e.node('FusedMatMul', operands, { transA: transA ? 1 : 0, transB: transB ? 1 : 0 }, MICROSOFT);

function standardProduct(
  e: Emitter,
  [a, b]: readonly string[],
  [rankA, rankB]: readonly number[],
  { transA, transB }: MatmulAttrs,
): string {
  return e.node('MatMul', [transA ? e.transpose(a, swapLast(rankA)) : a, transB ? e.transpose(b, swapLast(rankB)) : b]);
}

/** a […,p,q] · b […,r,q]ᵀ → […,p,r] for two arrays of `rank` axes, in the target's best form. */
export function matmulTransposed(e: Emitter, a: string, b: string, rank: number): string {
  const attrs = { transB: true };
  return hasFused(e.target) ? fusedProduct(e, [a, b], attrs) : standardProduct(e, [a, b], [rank, rank], attrs);
}

const gemm: Lowering<MatmulAttrs> = {
  name: 'gemm',
  when: needs(
    'two matrices, one of them transposed',
    ({ inputs }, _target, { transA, transB }) => (transA || transB) === true && inputs.every((x) => x.type.shape.length === 2),
  ),
  emit: (e, _node, [a, b], { transA, transB }) => e.node('Gemm', [a, b], { transA: transA ? 1 : 0, transB: transB ? 1 : 0 }),
};

const fused: Lowering<MatmulAttrs> = {
  name: 'fused',
  when: needs(
    'the CPU or CUDA, and a transposed operand',
    (_node, target, { transA, transB }) => (transA || transB) === true && hasFused(target),
  ),
  emit: (e, _node, operands, attrs) => fusedProduct(e, operands, attrs),
};

const transposed: Lowering<MatmulAttrs> = {
  name: 'standard',
  emit(e, { inputs }, operands, attrs) {
    const ranks = inputs.map(({ type }) => type.shape.length);
    return standardProduct(e, operands, ranks, attrs);
  },
};

export const matmul = defineOp<MatmulAttrs>('matmul', {
  summary: 'Z = A·B over the last two axes, with A and B transposed where `transA`, `transB` say so; leading axes broadcast.',
  properties: { products: true },
  infer: (inputs, attrs, site) => [{ dtype: 'float32', shape: inferMatmul(inputs, attrs, site) }],
  vjp(graph, { inputs: [a, b], grads: [dz], wanted }, { transA = false, transB = false }) {
    const left = () =>
      transA
        ? graph.op('matmul', [b, dz!], { transA: transB, transB: true })
        : graph.op('matmul', [dz!, b], { transA: false, transB: !transB });
    return [
      wanted[0] ? unbroadcast(graph, left(), a.type.shape) : null,
      wanted[1] ? rightGrad(graph, a, b, dz!, transA, transB) : null,
    ];
  },
  lower: [gemm, fused, transposed],
  flops: ([a], [z], { transA = false }) => 2 * elementCount(z.shape) * elementCount([sides(a.shape, transA)[1]]),
  evaluate: ([a, b], { transA = false, transB = false }) => [product(a, b, transA, transB)],
  samples: () => [
    { name: 'matrices', inputs: [wave([2, 3]), wave([3, 4], 1)] },
    { name: 'Aᵀ·B', inputs: [wave([3, 2]), wave([3, 4], 1)], attrs: { transA: true } },
    { name: 'A·Bᵀ', inputs: [wave([2, 3]), wave([4, 3], 1)], attrs: { transB: true } },
    { name: 'Aᵀ·Bᵀ', inputs: [wave([3, 2]), wave([4, 3], 1)], attrs: { transA: true, transB: true } },
    { name: 'stacks', inputs: [wave([2, 2, 2, 3]), wave([2, 2, 3, 2], 1)] },
    { name: 'stacks, Aᵀ·B', inputs: [wave([2, 3, 2]), wave([2, 3, 4], 1)], attrs: { transA: true } },
    { name: 'stacks, A·Bᵀ', inputs: [wave([2, 2, 3]), wave([2, 4, 3], 1)], attrs: { transB: true } },
    { name: 'stacks, Aᵀ·Bᵀ', inputs: [wave([2, 3, 2]), wave([2, 4, 3], 1)], attrs: { transA: true, transB: true } },
    { name: 'both repeated', inputs: [wave([2, 1, 2, 3]), wave([3, 3, 2], 1)] },
    { name: 'one right matrix', inputs: [wave([2, 2, 3]), wave([3, 4], 1)] },
    { name: 'one right matrix, transposed', inputs: [wave([2, 2, 3]), wave([4, 3], 1)], attrs: { transB: true } },
    { name: 'one left matrix, transposed', inputs: [wave([3, 2]), wave([2, 3, 4], 1)], attrs: { transA: true } },
    { name: 'row by column', inputs: [wave([1, 5]), wave([5, 1], 1)] },
  ],
});

export const matmulRows = defineOp('matmulRows', {
  summary: 'Z [p,q] = Σ aᵀ·b over all rows of a […,p] and b […,q]: the gradient of a weight that was applied to every row.',
  properties: { products: true },
  infer(inputs, _attrs, site) {
    requireDType(inputs, 'float32', site);
    const [a, b] = inputs.map((input) => input.shape);
    if (a.length < 2 || a.length !== b.length) {
      throw shapeError(site, 'SHAPE_RANK', `${formatShape(a)} and ${formatShape(b)} have no rows in common`, inputs);
    }
    const axis = a.findIndex((dim, i) => i < a.length - 1 && dim !== b[i]);
    if (axis >= 0) throw differ(site, inputs, a[axis], b[axis]);
    const shape = [a[a.length - 1], b[b.length - 1]];
    const named = shape.find((dim) => typeof dim === 'string');
    // Joining the leading axes leaves no room for another size that is open.
    if (named !== undefined && a.length > 2) {
      throw shapeError(site, 'SHAPE_ATTRIBUTE', `the last axis has the named size ${named}`, inputs, 'give it a number');
    }
    return [{ dtype: 'float32', shape }];
  },
  vjp(graph, { inputs: [a, b], grads: [dz], wanted }) {
    return [wanted[0] ? graph.op('matmul', [b, dz!], { transB: true }) : null, wanted[1] ? graph.op('matmul', [a, dz!]) : null];
  },
  lower: [
    {
      name: 'gemm',
      emit(e, node, x) {
        const rows = x.map((name, i) => {
          const { shape } = node.inputs[i].type;
          return shape.length === 2 ? name : e.reshape(name, [-1, shape[shape.length - 1] as number]);
        });
        return e.node('Gemm', rows, { transA: 1, transB: 0 });
      },
    },
  ],
  flops: ([a], [z]) => 2 * elementCount(z.shape) * elementCount(a.shape.slice(0, -1)),
  evaluate([a, b]) {
    const rows = (x: NDArray): NDArray => {
      const width = x.shape[x.shape.length - 1];
      return { ...x, shape: [x.data.length / width, width] };
    };
    return [product(rows(a), rows(b), true, false)];
  },
  samples: () => [
    { name: 'rows of two axes', inputs: [wave([2, 3, 2]), wave([2, 3, 4], 1)] },
    { name: 'plain', inputs: [wave([3, 2]), wave([3, 1], 1)] },
    { name: 'one row', inputs: [wave([1, 1, 2]), wave([1, 1, 3], 1)] },
  ],
});

/** What a fully connected layer asks of its first input and of its size; the language asks it before it makes the weight. */
export function requireLinearSizes(inputs: readonly TensorType[], units: Dim, site: Site): void {
  const { shape } = inputs[0];
  if (shape.length < 2) {
    throw shapeError(site, 'SHAPE_RANK', `takes [N,…,in], got ${formatShape(shape)}`, inputs, 'reshape a vector to one row');
  }
  requireKnown(inputs[0], shape.length - 1, inputs, site);
  requireWhole('units', units, 1, inputs, site);
}

export const linear = defineOp('linear', {
  summary: 'y […,out] = x […,in] · wᵀ + b, w [out,in], b [out] optional.',
  properties: { products: true },
  infer(inputs, _attrs, site) {
    requireDType(inputs, 'float32', site);
    const [x, w, bias] = inputs.map((input) => input.shape);
    requireLinearSizes(inputs, w[0], site);
    if (w.length !== 2) throw shapeError(site, 'SHAPE_RANK', `takes a weight [out,in], got ${formatShape(w)}`, inputs);
    const features = x[x.length - 1];
    if (features !== w[1]) throw differ(site, inputs, features, w[1], `a weight [${w[0]},${features}] fits this input`);
    if (bias && (bias.length !== 1 || bias[0] !== w[0])) {
      throw shapeError(
        site,
        'SHAPE_MISMATCH',
        `a bias ${formatShape(bias)} does not fit ${w[0]} outputs`,
        inputs,
        `a bias [${w[0]}] fits`,
      );
    }
    return [{ dtype: 'float32', shape: [...x.slice(0, -1), w[0]] }];
  },
  vjp(graph, { inputs: [x, w, bias], grads: [dy], wanted }) {
    const rows = x.type.shape.slice(0, -1).map((_, axis) => axis);
    const grads = [wanted[0] ? graph.op('matmul', [dy!, w]) : null, wanted[1] ? graph.op('matmulRows', [dy!, x]) : null];
    if (bias) grads.push(wanted[2] ? graph.op('reduceSum', [dy!], { axes: rows, keepdims: false }) : null);
    return grads;
  },
  lower: [
    {
      name: 'gemm',
      // Folding the leading axes into one and back.
      when: needs('all leading sizes but one known', ({ inputs: [x] }) => {
        const named = x.type.shape.slice(0, -1).filter((dim) => typeof dim === 'string');
        return x.type.shape.length === 2 || named.length < 2;
      }),
      emit(e, { inputs: [x], outputs: [y] }, [name, ...parameters]) {
        const from = x.type.shape;
        if (from.length === 2) return e.node('Gemm', [name, ...parameters], { transB: 1 });
        const rows = e.reshape(name, [-1, from[from.length - 1] as number]);
        const product = e.node('Gemm', [rows, ...parameters], { transB: 1 });
        return e.reshape(
          product,
          y.type.shape.map((dim) => (typeof dim === 'number' ? dim : -1)),
        );
      },
    },
    {
      name: 'standard',
      emit(e, _node, [x, w, bias]) {
        const product = e.node('MatMul', [x, e.transpose(w, [1, 0])]);
        return bias === undefined ? product : e.node('Add', [product, bias]);
      },
    },
  ],
  flops: ([x], [y]) => 2 * elementCount(x.shape.slice(-1)) * elementCount(y.shape),
  evaluate([x, w, bias]) {
    const y = product({ ...x, shape: [x.data.length / w.shape[1], w.shape[1]] }, w, false, true);
    const data = bias ? y.data.map((value, i) => value + bias.data[i % w.shape[0]]) : y.data;
    return [{ ...y, data, shape: [...x.shape.slice(0, -1), w.shape[0]] }];
  },
  samples: () => [
    { name: 'with bias', inputs: [wave([3, 4]), wave([2, 4], 1), wave([2], 2)] },
    { name: 'without bias', inputs: [wave([3, 4]), wave([2, 4], 1)] },
    { name: 'rows of two axes', inputs: [wave([2, 3, 4]), wave([5, 4], 1), wave([5], 2)] },
    { name: 'rows of two axes, no bias', inputs: [wave([2, 3, 4]), wave([5, 4], 1)] },
    { name: 'batch 1, one feature, one output', inputs: [wave([1, 1]), wave([1, 1], 1), wave([1], 2)] },
  ],
});
