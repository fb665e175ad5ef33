import { it, vi } from 'vitest';
import { random } from '../../numeric/random.ts';
import { adam, bound, rate } from './compare-steps.ts';
import { difference, openPair, peak } from './pair.ts';
vi.mock('ddrc', () => import('../../dsl/index.ts'));
const { programs } = await import('./programs.ts');
it.each([['DDRNet without global and local features', 2], ['a narrow ResNet-18', 1]] as const)('%s', async (name, at) => {
  const pair = await openPair(programs[name], { optimizer: adam, clipNorm: 0, rates: [rate] });
  let before = await pair.stock.state();
  for (let step = 0; step < at; step++) { await pair.stockStep(step, rate); before = await pair.stock.state(); }
  const copy = (s: typeof before) => Object.fromEntries(Object.entries(s).map(([n, d]) => [n, d.slice()]));
  const ours = await pair.stockStep(at, rate);
  const theirs = await pair.ortStep(copy(before), at);
  const exact = 5e-3 * rate + 2e-7 * peak(ours.state.parameters);
  const bd = bound(ours.outputs.gradients.data as Float32Array);
  const table = pair.compiled.manifest.parameters;
  const show = (p: Float32Array, label: string) => {
    const offs = Array.from(p, (v, i) => Math.abs(v - ours.state.parameters[i]) / exact);
    const big = offs.flatMap((o, i) => (o > 1 && Math.sqrt(ours.state.moment2[i] / 1e-3) > Math.max(1e-4, 10 * bd) ? [i] : []));
    const names = new Map<string, number>();
    for (const i of big) { const n = table.findLast(({ offset }) => offset <= i)!.name; names.set(n, (names.get(n) ?? 0) + 1); }
    console.log(name, label, 'worst', Math.max(0, ...big.map((i) => offs[i])).toFixed(2), JSON.stringify([...names]), 'worst of all', peak(offs).toFixed(1));
  };
  show(theirs.state.parameters, 'ort');
  for (const size of [3e-8, 1e-7, 1e-6]) for (let k = 0; k < 4; k++) {
    const next = random('nudge', k);
    const nudged = copy(before);
    nudged.parameters = before.parameters.map((v) => v * (1 + size * 2 * (2 * next() - 1)));
    await pair.stock.load(copy(nudged));
    const other = await pair.stockStep(at, rate);
    show(other.state.parameters.map((v, i) => v - nudged.parameters[i] + before.parameters[i]), `nudged ${size} ${k} grad diff ${difference(other.outputs.gradients.data as Float32Array, ours.outputs.gradients.data as Float32Array).toExponential(2)} bound ${bd.toExponential(2)}`);
  }
  await pair.close();
}, 200000);
