import type { Command } from 'commander';
import type { Program } from '../compiler/ir/program.ts';
import { formatShape, formatType } from '../compiler/ir/types.ts';
import { example } from './example.ts';
import { addModelFlags, type ModelFlags, openProgram } from './flags.ts';
import { graphCost, type ScopeCost } from './graph-cost.ts';
import { bytes, grouped, short } from './quantity.ts';
import { textTable } from './text-table.ts';

/** `ddrc summary [MODEL]`: what a model consists of and what it costs, by scope. */
export function add(program: Command): void {
  const command = program
    .command('summary')
    .description("show a model's scopes with output shapes, parameters, multiply-adds and activation memory of one example")
    .argument('[model]', 'model file (default: models/ddrnet.ts of the package)')
    .option('--json', 'one JSON object in place of the table');
  addModelFlags(command)
    .addHelpText('after', example('ddrc summary models/ddrnet.ts --option csab=false --size 96'))
    .action(async (path: string | undefined, flags: ModelFlags & { readonly json?: boolean }) => {
      const model = await openProgram(path, flags);
      const [total, ...scopes] = graphCost(model);
      process.stdout.write(flags.json ? `${JSON.stringify(asJson(model, total, scopes))}\n` : asText(model, total, scopes));
    });
}

function asJson(model: Program, total: ScopeCost, scopes: readonly ScopeCost[]): object {
  const { scope: _, ...totals } = total;
  return {
    model: model.name,
    options: model.options,
    inputs: model.inputs.map(({ name, type }) => ({ name, ...type })),
    scopes,
    total: totals,
  };
}

function asText(model: Program, total: ScopeCost, scopes: readonly ScopeCost[]): string {
  const options = Object.entries(model.options).map(([name, value]) => `${name}=${value}`);
  const row = ({ shape, parameters, macs, activationBytes }: ScopeCost, label: string) => [
    label,
    shape ? formatShape(shape) : '',
    grouped(parameters),
    short(macs),
    bytes(activationBytes),
  ];
  const table = textTable(
    [
      ['scope', 'output', 'parameters', 'MACs', 'activations'],
      ...scopes.map((cost) => row(cost, labelOf(cost.scope))),
      row(total, 'total'),
    ],
    ['left', 'left', 'right', 'right', 'right'],
  ).split('\n');
  const rule = '-'.repeat(Math.max(...table.map((line) => line.length)));
  return `${[
    model.name,
    ...wrapped('  options  ', options),
    ...wrapped(
      '  inputs   ',
      model.inputs.map(({ name, type }) => `${name} ${formatType(type)}`),
    ),
    '',
    table[0],
    rule,
    ...table.slice(1, -1),
    rule,
    table.at(-1),
  ].join('\n')}\n`;
}

/** The last part of a scope path, indented by its depth. */
function labelOf(scope: string): string {
  const parts = scope.split('.');
  return `${'  '.repeat(parts.length - 1)}${parts.at(-1)}`;
}

/** Words in lines of at most 100 columns, the first behind `label`, the others below its end. */
function wrapped(label: string, words: readonly string[]): string[] {
  const lines: string[] = [];
  let line = label;
  for (const word of words) {
    if (line.length + word.length > 100 && line.trim() !== '') {
      lines.push(line.trimEnd());
      line = ' '.repeat(label.length);
    }
    line += `${word}  `;
  }
  return words.length > 0 ? [...lines, line.trimEnd()] : [];
}
