import { evaluationGraph, gradientGraph, stepGraph } from '../compiler/artifacts/training.ts';
import type { Compiled } from '../compiler/compile.ts';
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

/** Which form each operator of each file was written in, and how often. */
export function lowerings({ choices }: Compiled): string {
  const rows = [['file', 'operator', 'lowering', 'nodes', 'where']];
  for (const [file, list] of choices) {
    const groups = new Map<string, string[]>();
    for (const { op, lowering, scope } of list) {
      const key = JSON.stringify([op, lowering]);
      groups.set(key, [...(groups.get(key) ?? []), scope || '(top)']);
    }
    for (const [key, scopes] of [...groups].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const [op, lowering] = JSON.parse(key);
      const names = [...new Set(scopes)];
      const where = names.length > 3 ? `${names.slice(0, 3).join(', ')}, …` : names.join(', ');
      rows.push([file, op, lowering, String(scopes.length), where]);
    }
  }
  return `${textTable(rows, ['left', 'left', 'left', 'right', 'left'])}\n`;
}
