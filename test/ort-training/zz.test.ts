import { it, vi } from 'vitest';
import { adam, bound, rate } from './compare-steps.ts';
import { openPair, peak } from './pair.ts';
vi.mock('ddrc', () => import('../../dsl/index.ts'));
const { programs } = await import('./programs.ts');
it.each(Object.keys(programs))('%s', async (name) => {
  const pair = await openPair(programs[name], { optimizer: adam, clipNorm: 0, rates: [rate] });
  let before = await pair.stock.state();
  const lines = [];
  for (let step = 0; step < 10; step++) {
    const ours = await pair.stockStep(step, rate);
    const theirs = await pair.ortStep(before, step);
    const g = ours.outputs.gradients.data as Float32Array;
    const { parameters, moment2 } = ours.state;
    const bd = bound(g);
    const exact = 5e-3 * rate + 2e-7 * peak(parameters);
    const decided = Math.max(1e-4, 10 * bd);
    let worst = 0, at = 0, worst2 = 0, at2 = 0, loose = 0;
    parameters.forEach((value, i) => {
      const e = Math.abs(value - theirs.state.parameters[i]);
      const sum = Math.sqrt(moment2[i] / (1 - adam.beta2));
      if (sum >= decided && e / exact > worst) { worst = e / exact; at = i; }
      const rms = Math.sqrt(moment2[i] / (1 - adam.beta2 ** (step + 1)));
      const allowed = exact + 2 * rate * Math.min(1, bd / rms);
      if (allowed > 2 * exact) loose++;
      if (e / allowed > worst2) { worst2 = e / allowed; at2 = i; }
    });
    const table = pair.compiled.manifest.parameters;
    const nameOf = (i: number) => table.findLast(({ offset }) => offset <= i)!.name;
    lines.push([step, worst.toFixed(3), nameOf(at), 'g', g[at].toExponential(2), 'bound', bd.toExponential(2), 'peak', peak(g).toExponential(2), 'new', worst2.toFixed(3), nameOf(at2), 'loose', (loose / g.length).toFixed(3)].join(' '));
    before = ours.state;
  }
  console.log(name + '\n' + lines.join('\n'));
  await pair.close();
}, 200000);
