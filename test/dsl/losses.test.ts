import { describe, expect, it } from 'vitest';
import { meanSquaredError, sigmoidCrossEntropy, softmaxCrossEntropy } from '../../dsl/index.ts';
import { refusal, valueAndGradient, writer } from './graph-of.ts';

const scores = [
  [1, -2, 0.5],
  [0.25, 3, -1],
];
const labels = [2, 0];
const classWeights = [1, 2, 5];
type CrossEntropy = typeof softmaxCrossEntropy;

/** What the language's loss of `scores` and `labels` is, and its gradient by the scores. */
function run(loss: CrossEntropy, options: Parameters<CrossEntropy>[2]) {
  const graph = writer();
  const logits = graph.input('logits', [2, 3]);
  const label = graph.input('label', [2], 'int64');
  return valueAndGradient(graph, loss(logits, label, options), logits, [
    [logits, scores.flat()],
    [label, labels],
  ]);
}

function expectNear(found: readonly number[], wanted: readonly number[]): void {
  expect(found).toHaveLength(wanted.length);
  // Both sides are double precision. Options are constants of the graph in double precision too.
  found.forEach((value, i) => {
    expect(Math.abs(value - wanted[i]), `value ${i}`).toBeLessThan(1e-12);
  });
}

const softmax = (row: readonly number[]) => {
  const total = row.reduce((sum, x) => sum + Math.exp(x), 0);
  return row.map((x) => Math.exp(x) / total);
};
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const target = (example: number, k: number, smoothing: number) =>
  (labels[example] === k ? 1 - smoothing : 0) + smoothing / scores[example].length;

describe.each([
  ['by default', {}],
  ['smoothed', { smoothing: 0.3 }],
  ['smoothed over all classes', { smoothing: 1 }],
  ['with class weights', { classWeights }],
  ['with both', { smoothing: 0.3, classWeights }],
])('%s', (_, options: { smoothing?: number; classWeights?: number[] }) => {
  const { smoothing = 0, classWeights: weights = [1, 1, 1] } = options;

  it('softmaxCrossEntropy: −Σ w·t·ln p over the labels’ weights, gradient p·Σ(w·t) − w·t over them', () => {
    const total = labels.reduce((sum, k) => sum + weights[k], 0);
    const terms = scores.map((_, i) => weights.map((weight, k) => weight * target(i, k, smoothing)));
    const { value, gradient } = run(softmaxCrossEntropy, options);
    const losses = scores.flatMap((row, i) => softmax(row).map((p, k) => -terms[i][k] * Math.log(p)));
    expectNear([value], [losses.reduce((a, b) => a + b) / total]);
    const slopes = scores.flatMap((row, i) => {
      const mass = terms[i].reduce((a, b) => a + b);
      return softmax(row).map((p, k) => (p * mass - terms[i][k]) / total);
    });
    expectNear(gradient, slopes);
  });

  it('sigmoidCrossEntropy: mean of −(t·ln σ + (1 − t)·ln(1 − σ)), gradient σ − t over the elements, by the labels’ weights', () => {
    const shares = labels.map((label) => weights[label] / labels.reduce((sum, k) => sum + weights[k], 0));
    const { value, gradient } = run(sigmoidCrossEntropy, options);
    const losses = scores.flatMap((row, i) =>
      row.map((x, k) => {
        const t = target(i, k, smoothing);
        return (-shares[i] / 3) * (t * Math.log(sigmoid(x)) + (1 - t) * Math.log(sigmoid(-x)));
      }),
    );
    expectNear([value], [losses.reduce((a, b) => a + b)]);
    expectNear(
      gradient,
      scores.flatMap((row, i) => row.map((x, k) => (shares[i] * (sigmoid(x) - target(i, k, smoothing))) / 3)),
    );
  });
});

it.each([
  ['softmaxCrossEntropy', softmaxCrossEntropy],
  ['sigmoidCrossEntropy', sigmoidCrossEntropy as CrossEntropy],
])('%s of a batch whose labels weigh nothing is 0, and so is its gradient', (_, loss) => {
  for (const smoothing of [0, 0.3]) {
    const { value, gradient } = run(loss, { smoothing, classWeights: [0, 3, 0] });
    // Other classes of a smoothed target still weigh something, over 1e30.
    for (const number of [value, ...gradient]) expect(Math.abs(number)).toBeLessThan(1e-28);
    const { value: counts } = run(loss, { smoothing, classWeights: [0, 3, 2] });
    expect(counts).toBeGreaterThan(0.1);
  }
});

it('meanSquaredError: Σ(p − t)²/n, gradient 2(p − t)/n, of integers as of numbers', () => {
  for (const dtype of ['float32', 'int64'] as const) {
    const graph = writer();
    const prediction = graph.input('prediction', [2, 2]);
    const wanted = graph.input('wanted', [2, 2], dtype);
    const { value, gradient } = valueAndGradient(graph, meanSquaredError(prediction, wanted), prediction, [
      [prediction, [1.5, -2, 0, 4]],
      [wanted, [1, 1, 0, -4]],
    ]);
    expect(value).toBe((0.25 + 9 + 0 + 64) / 4);
    expect(gradient).toEqual([0.25, -1.5, 0, 4]);
  }
});

describe('what broadcasting would take silently is refused', () => {
  const shapes = (prediction: readonly (number | string)[], wanted: readonly (number | string)[]) => {
    const graph = writer();
    return refusal(() => meanSquaredError(graph.input('p', prediction), graph.input('t', wanted)));
  };
  const entropy = (
    logits: readonly (number | string)[],
    label: readonly (number | string)[],
    options: Parameters<CrossEntropy>[2] = {},
    loss: CrossEntropy = softmaxCrossEntropy,
  ) => {
    const graph = writer();
    return refusal(() => loss(graph.input('logits', logits), graph.input('label', label, 'int64'), options));
  };

  it('by meanSquaredError: two shapes', () => {
    expect(shapes(['N', 1], ['N'])).toContain('meanSquaredError: [N,1] and [N] have different shapes');
    expect(shapes(['N', 3], [1, 3])).toContain('meanSquaredError: [N,3] and [1,3] have different shapes');
    expect(shapes(['N', 3], ['N', 3])).toBe('nothing was thrown');
  });

  it.each([
    ['softmaxCrossEntropy', softmaxCrossEntropy],
    ['sigmoidCrossEntropy', sigmoidCrossEntropy],
  ])('by %s: logits, labels, class weights and a smoothing that do not fit', (name, loss) => {
    expect(entropy(['N', 4, 7], ['N'], {}, loss)).toContain(`SHAPE_RANK  ${name}: takes logits [N,K], got [N,4,7]`);
    expect(entropy(['N', 'K'], ['N'], {}, loss)).toContain(`${name}: [N,K] needs a number in place of K`);
    const sentence = (labels: string) => `${name}: labels ${labels} are not one class index for each example of [N,4]`;
    expect(entropy(['N', 4], ['N', 1], {}, loss)).toContain(sentence('[N,1]'));
    expect(entropy(['N', 4], [1], {}, loss)).toContain(sentence('[1]'));
    expect(entropy(['N', 4], ['N'], { classWeights: [2] }, loss)).toContain(`${name}: 1 class weights for 4 classes`);
    expect(entropy(['N', 4], ['N'], { smoothing: 1.1 }, loss)).toContain(`${name}: smoothing 1.1 is not from 0 to 1`);
    expect(entropy(['N', 4], ['N'], { smoothing: Number.NaN }, loss)).toContain(`${name}: smoothing NaN is not from 0 to 1`);
    expect(entropy(['N', 4], ['N'], { smoothing: 0.1, classWeights: [1, 2, 3, 4] }, loss)).toBe('nothing was thrown');
  });

  it('and a label that is no tensor has the operator’s sentence', () => {
    const logits = writer().input('logits', ['N', 4]);
    const said = refusal(() => softmaxCrossEntropy(logits, undefined as never));
    expect(said).toContain('softmaxCrossEntropy: input 1 is not a tensor (undefined)');
  });
});
