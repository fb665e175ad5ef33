import { evaluationGraph, gradientGraph, stepGraph } from '../compiler/artifacts/training.ts';
import type { Compiled } from '../compiler/compile.ts';
import type { Choice } from '../compiler/emit/lower.ts';
import { print } from '../compiler/ir/printer.ts';
import type { Program } from '../compiler/ir/program.ts';
import type { Dim } from '../compiler/ir/types.ts';
import { simplify } from '../compiler/passes/simplify.ts';
import { textTable } from './text-table.ts';

/** The graphs that `--print-ir` can show. */
export const printable = ['model', 'step', 'grad', 'eval'] as const;

/** The simplified graph of one of a build's files as text, one node a line; of `model`, the forward pass with its parameters as inputs. */
export function graphText(program: Program, which: (typeof printable)[number], batch: Dim): string {
  const { optimizer, clipNorm } = program.training;
  if (which === 'step') return print(simplify(stepGraph(program, { batch, optimizer, clipNorm }).graph));
  if (which === 'grad') return print(simplify(gradientGraph(program, batch).graph));
  if (which === 'eval') return print(simplify(evaluationGraph(program, batch).graph));
  const { graph, outputs } = program.build({ mode: 'inference', batch, loss: false });
  for (const [name, value] of outputs) graph.outputs.set(name, value);
  return print(simplify(graph));
}

/** Which form each operator of each file was written in, how often and where, and below it why not in another one. */
export function lowerings({ choices }: Compiled): string {
  const lines = [['file', 'operator', 'lowering', 'nodes', 'where']];
  for (const [file, list] of choices) {
    const groups = new Map<string, Choice[]>();
    for (const choice of list) {
      const key = JSON.stringify([choice.op, choice.lowering, choice.others]);
      groups.set(key, [...(groups.get(key) ?? []), choice]);
    }
    for (const [, group] of [...groups].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const [{ op, lowering, others }] = group;
      const scopes = [...new Set(group.map(({ scope }) => scope || '(top)'))];
      const where = scopes.length > 3 ? `${scopes.slice(0, 3).join(', ')}, …` : scopes.join(', ');
      lines.push([file, op, lowering, String(group.length), where]);
      for (const { lowering: other, reason } of others) lines.push(['', '', `not ${other}`, '', reason]);
    }
  }
  return `${textTable(lines, ['left', 'left', 'left', 'right', 'left'])}\n`;
}
