/*
 * Optimizers on one flat vector of all parameters p with its gradient g and learning rate η; t counts steps from 1. η, μ and β₁ are fed with each step,
 * so that a schedule may cycle them.
 *
 *   SGD       b ← μ·b + g;  p ← p − η·b,  Nesterov: p ← p − η·(g + μ·b)
 *   Adam      m ← β₁·m + (1−β₁)·g;  v ← β₂·v + (1−β₂)·g²;  p ← p − η · m/(1−β₁ᵗ) / (√(v/(1−β₂ᵗ)) + ε)
 *   AdamW     p ← p − η·λ·p first, then as Adam (Loshchilov and Hutter 2019)
 *   RMSprop   s ← α·s + (1−α)·g²;  b ← μ·b + g/(√s + ε);  p ← p − η·b
 *
 * Weight decay λ elsewhere: g ← g + λ·p. Clipping by global norm c: g ← g · min(1, c / (‖g‖ + 1e-6)), before the decay.
 */
import type { Graph, Value } from '../ir/graph.ts';
import { scalar } from '../ir/ndarray.ts';
import type { OptimizerSpec } from '../ir/program.ts';

/** A scalar that is fed with every step. */
export interface Hyperparameter {
  readonly name: 'learning_rate' | 'momentum' | 'beta1' | 'step' | 'ema_rate';
  readonly dtype: 'float32' | 'int64';
}

export interface Update {
  readonly hyperparameters: readonly Hyperparameter[];
  /** State of the optimizer beside the parameters, each as long as these: its name, its value before and after. */
  readonly slots: readonly { readonly name: string; readonly before: Value; readonly after: Value }[];
  readonly parameters: Value;
}

/** Names of an optimizer's state vectors, in the order of the graph's inputs. */
export function slotNames(spec: OptimizerSpec): readonly string[] {
  if (spec.kind === 'adam' || spec.kind === 'adamw') return ['moment1', 'moment2'];
  const velocity = spec.momentum !== 0 ? ['velocity'] : [];
  return spec.kind === 'sgd' ? velocity : ['mean_square', ...velocity];
}

/**
 * Appends the update of `parameters` [P] by `gradient` [P] to `graph`.
 * @param decaying 1 for the elements that decay, 0 for the others; null: all do
 */
export function appendOptimizer(
  graph: Graph,
  spec: OptimizerSpec,
  clipNorm: number,
  parameters: Value,
  gradient: Value,
  decaying: Value | null = null,
): Update {
  const write = new Formula(graph);
  const rate = graph.input('learning_rate', { dtype: 'float32', shape: [] }, 'hyperparameter');
  const before = new Map(slotNames(spec).map((name) => [name, graph.input(name, parameters.type, 'state')]));
  const hyperparameters: Hyperparameter[] = [{ name: 'learning_rate', dtype: 'float32' }];
  let g = gradient;
  let p = parameters;
  if (clipNorm > 0) {
    const norm = write.sqrt(graph.op('reduceSum', [write.mul(g, g)], { axes: [0], keepdims: false }));
    g = write.mul(
      g,
      graph.op('minimum', [write.number(1), write.div(write.number(clipNorm), write.add(norm, write.number(1e-6)))]),
    );
  }
  if (spec.weightDecay !== 0) {
    const own = decaying ? write.mul(p, decaying) : p;
    if (spec.kind === 'adamw') p = write.sub(p, write.mul(write.mul(rate, write.number(spec.weightDecay)), own));
    else g = write.add(g, write.mul(own, write.number(spec.weightDecay)));
  }
  const after = new Map<string, Value>();
  let direction: Value;
  if (spec.kind === 'adam' || spec.kind === 'adamw') {
    hyperparameters.push({ name: 'beta1', dtype: 'float32' }, { name: 'step', dtype: 'int64' });
    const beta1 = graph.input('beta1', { dtype: 'float32', shape: [] }, 'hyperparameter');
    const done = graph.input('step', { dtype: 'int64', shape: [] }, 'hyperparameter');
    const t = write.add(graph.op('cast', [done], { to: 'float32' }), write.number(1));
    const one = write.number(1);
    const m = write.add(write.mul(beta1, before.get('moment1')!), write.mul(write.sub(one, beta1), g));
    const v = write.add(
      write.mul(write.number(spec.beta2), before.get('moment2')!),
      write.mul(write.number(1 - spec.beta2), write.mul(g, g)),
    );
    after.set('moment1', m).set('moment2', v);
    const correction1 = write.oneMinusPower(graph.op('log', [beta1]), t);
    const correction2 = write.oneMinusPower(write.number(Math.log(spec.beta2)), t);
    const denominator = write.add(write.sqrt(write.div(v, correction2)), write.number(spec.epsilon));
    direction = write.div(write.div(m, correction1), denominator);
  } else {
    direction = g;
    if (spec.kind === 'rmsprop') {
      const s = write.add(
        write.mul(write.number(spec.alpha), before.get('mean_square')!),
        write.mul(write.number(1 - spec.alpha), write.mul(g, g)),
      );
      after.set('mean_square', s);
      direction = write.div(g, write.add(write.sqrt(s), write.number(spec.epsilon)));
    }
    if (spec.momentum !== 0) {
      hyperparameters.push({ name: 'momentum', dtype: 'float32' });
      const momentum = graph.input('momentum', { dtype: 'float32', shape: [] }, 'hyperparameter');
      const b = write.add(write.mul(momentum, before.get('velocity')!), direction);
      after.set('velocity', b);
      direction = spec.kind === 'sgd' && spec.nesterov ? write.add(direction, write.mul(momentum, b)) : b;
    }
  }
  return {
    hyperparameters,
    slots: [...before].map(([name, value]) => ({ name, before: value, after: after.get(name)! })),
    parameters: write.sub(p, write.mul(rate, direction)),
  };
}

/** Arithmetic on values of one graph. */
class Formula {
  constructor(private readonly graph: Graph) {}
  number = (value: number): Value => this.graph.constant(scalar(value));
  add = (a: Value, b: Value): Value => this.graph.op('add', [a, b]);
  sub = (a: Value, b: Value): Value => this.graph.op('sub', [a, b]);
  mul = (a: Value, b: Value): Value => this.graph.op('mul', [a, b]);
  div = (a: Value, b: Value): Value => this.graph.op('div', [a, b]);
  sqrt = (a: Value): Value => this.graph.op('sqrt', [a]);

  /**
   * 1 − bᵗ from ln b: −expm1(t·ln b) = −2h/(1 − h) with h = tanh(t·ln b / 2), which keeps its digits in float32 where 1 − 0.999ᵗ cancels.
   */
  oneMinusPower(logBase: Value, t: Value): Value {
    const h = this.graph.op('tanh', [this.mul(this.mul(logBase, t), this.number(0.5))]);
    return this.div(this.mul(h, this.number(-2)), this.sub(this.number(1), h));
  }
}
