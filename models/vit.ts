/**
 * A small vision transformer (Dosovitskiy et al., "An image is worth 16x16 words", ICLR 2021) with a convolutional stem: Xiao, Singh, Mintun, Darrell, Dollár,
 * Girshick, "Early convolutions help transformers see better", NeurIPS 2021. Four 3x3 convolutions of stride 2 and a 1x1 stand in place of the
 * convolution that cuts the image into patches of 16x16, and of one block. Pre-norm, GELU, a class token, learned positions.
 * Width and heads are DeiT-Ti's (Touvron et al. 2021), which `stem=patchify` with `depth=12` and `size=224` is.
 *
 * With D = `dim`, L = `depth`, M = `mlp`, K = `classes` and T = (size/16)² places there are L·((4 + 2M)·D² + (9 + M)·D) + (T + 4 + K)·D + K parameters and the
 * stem's: 769·D of patches, or (221·D² + 260·D)/32 of convolutions. They have torchvision's names, so the weights of its vit_b_16
 * (`dim=768`, `heads=12`, as `state_dict()` names them) can be loaded with `--weights`.
 */
import {
  add,
  batchNorm,
  choice,
  classIndex,
  concat,
  conv2d,
  DdrcError,
  defineModel,
  dropout,
  float,
  gelu,
  glorotUniform,
  image,
  int,
  layerNorm,
  linear,
  matmul,
  mul,
  normal,
  pad,
  parameter,
  relu,
  reshape,
  scope,
  slice,
  softmax,
  softmaxCrossEntropy,
  split,
  type Tensor,
  transpose,
  zeros,
} from 'ddrc';

const patch = 16;

const norm = (x: Tensor, name: string): Tensor => layerNorm(x, name, { epsilon: 1e-6 });

const dense = (x: Tensor, name: string, units: number): Tensor =>
  linear(x, name, { units, initializer: glorotUniform(x.shape[2] as number, units) });

/** Image [N,3,S,S] → [N,D,S/16,S/16]: convolutions of D/8, D/4, D/2 and D filters, each with batch norm and ReLU, and a 1x1. */
const convolutionalStem = (image: Tensor, dim: number): Tensor => {
  const y = [8, 4, 2, 1].reduce(
    (x: Tensor, share, i) =>
      scope(x, `conv_bn_relu_${i}`, (x) => {
        const window = { filters: dim / share, kernel: 3, stride: 2, pad: 1, bias: false } as const;
        return relu(batchNorm(conv2d(x, '0', window), '1'));
      }),
    image,
  );
  return conv2d(y, 'conv_last', { filters: dim, kernel: 1, initializer: normal(Math.sqrt(1 / dim)) });
};

/** softmax(q·kᵀ/√d)·v of one head, each [N,T,d]. */
const attend = (q: Tensor, k: Tensor, v: Tensor): Tensor => {
  const similarity = matmul(q, transpose(k, [0, 2, 1]));
  return matmul(softmax(mul(similarity, 1 / Math.sqrt(q.shape[2] as number))), v);
};

/** Self-attention of x [N,T,D]. Heads are cut off the last axis, so that only maps of the image have four axes, which is where Grad-CAM looks. */
const selfAttention = (x: Tensor, heads: number): Tensor =>
  scope(x, 'self_attention', (x) => {
    const dim = x.shape[2] as number;
    const weight: Tensor = parameter(x, 'in_proj_weight', [3 * dim, dim], glorotUniform(dim, 3 * dim));
    const bias: Tensor = parameter(x, 'in_proj_bias', [3 * dim], zeros);
    const projected = add(matmul(x, transpose(weight, [1, 0])), bias);
    const parts = split(projected, new Array<number>(3 * heads).fill(dim / heads), 2) as Tensor[];
    const results = parts.slice(0, heads).map((q, i) => attend(q, parts[heads + i], parts[2 * heads + i]));
    return dense(concat(results, 2), 'out_proj', dim);
  });

/** Two layers with a GELU between them. */
const perceptron = (x: Tensor, hidden: number, drop: number): Tensor =>
  scope(x, 'mlp', (x) => {
    const y = dropout(gelu(dense(x, '0', hidden)), drop);
    return dropout(dense(y, '3', x.shape[2] as number), drop);
  });

const block = (x: Tensor, heads: number, hidden: number, drop: number): Tensor => {
  const y = add(x, dropout(selfAttention(norm(x, 'ln_1'), heads), drop));
  return add(y, perceptron(norm(y, 'ln_2'), hidden, drop));
};

export default defineModel({
  name: 'vit',
  options: {
    stem: choice('convolutional', ['convolutional', 'patchify']),
    dim: int(192, { min: 8, multipleOf: 8 }),
    /** Blocks; one fewer than behind patches, as the stem takes its computing time. */
    depth: int(11, { min: 1 }),
    heads: int(3, { min: 1 }),
    /** Width of a block's hidden layer, as a multiple of `dim`. */
    mlp: int(4, { min: 1 }),
    classes: int(4, { min: 2 }),
    size: int(96, { min: patch, max: 4096, multipleOf: patch }),
    dropout: float(0, { min: 0, below: 1 }),
  },
  inputs: ({ size }) => ({ image: image(3, size, size) }),
  targets: () => ({ label: classIndex() }),
  forward({ image }, { stem, dim, depth, heads, mlp, classes, size, dropout: drop }) {
    if (dim % heads !== 0)
      throw new DdrcError({
        code: 'OPTION_INVALID',
        message: `vit: ${heads} heads cannot share dim ${dim} evenly`,
        hint: 'give dim as a multiple of heads',
      });
    const places = (size / patch) ** 2;
    const token: Tensor = parameter(image, 'class_token', [1, 1, dim], zeros);
    const map: Tensor =
      stem === 'convolutional'
        ? scope(image, 'conv_proj', (image) => convolutionalStem(image, dim))
        : conv2d(image, 'conv_proj', { filters: dim, kernel: patch, stride: patch });
    const tokens = transpose(reshape(map, [map.shape[0], dim, places]), [0, 2, 1]);
    const x = scope(tokens, 'encoder', (tokens) => {
      const positions: Tensor = parameter(tokens, 'pos_embedding', [1, places + 1, dim], normal(0.02));
      // The class token goes into a place of its own in front.
      const first = pad(token, [0, 0, 0, 0, places, 0]);
      let x: Tensor = add(pad(tokens, [0, 1, 0, 0, 0, 0]), add(first, positions));
      x = dropout(x, drop);
      for (let i = 0; i < depth; i++) x = scope(x, `layers.encoder_layer_${i}`, (x) => block(x, heads, mlp * dim, drop));
      return norm(x, 'ln');
    });
    const answer = reshape(slice(x, 1, 0, 1), [x.shape[0], dim]);
    return { logits: linear(answer, 'heads.head', { units: classes, initializer: normal(0.02) }) };
  },
  loss: ({ logits }, { label }) => softmaxCrossEntropy(logits, label),
  training: { learningRate: 1e-3, schedule: 'one-cycle', batch: 32, epochs: 10, clipNorm: 1 },
});
