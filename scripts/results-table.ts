import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { VariantResult } from '../cli/experiment/results.ts';
import type { ExperimentSettings } from '../cli/experiment/settings.ts';

/** The place of the table in docs/results.md. */
export const kept = /(<!-- results -->\n).*(\n<!-- end -->)/s;

/** A line for each network of each experiment whose results are kept, those that were only timed left out. */
export function resultsTable(folder: string): string {
  const names = existsSync(folder) ? readdirSync(folder).sort() : [];
  const rows = names.flatMap((name) => {
    const file = join(folder, name, 'results.json');
    if (!existsSync(file)) return [];
    const { settings, results = [] } = JSON.parse(readFileSync(file, 'utf8')) as {
      settings: ExperimentSettings;
      results?: VariantResult[];
    };
    return results.map((result) => row(name, settings, result));
  });
  const head = [
    'experiment',
    'network',
    'px, epochs',
    'seeds',
    'test accuracy %',
    'over originals, first seed %',
    'without relatives %',
    'training accuracy %',
  ];
  return ['', line(head), line(head.map(() => '---')), ...rows.map(line), ''].join('\n');
}

function row(
  name: string,
  { protocol }: ExperimentSettings,
  { variant, seeds, runs, accuracy, unrelated, trainAccuracy, valAccuracy }: VariantResult,
): string[] {
  const train = 'train' in protocol ? protocol.train : {};
  const interval = seeds[0]?.intervals?.accuracy;
  const count = seeds.length > 0 ? seeds.length : runs.length;
  return [
    `[${name}](results/${name}/README.md)`,
    variant.name,
    `${train.size}, ${train.epochs}`,
    String(count),
    accuracy ? percent(accuracy.mean) : valAccuracy ? `(validation ${percent(valAccuracy.mean)})` : '',
    interval ? `${percent(interval.low)} to ${percent(interval.high)}` : '',
    unrelated ? percent(unrelated.mean) : '',
    trainAccuracy ? percent(trainAccuracy.mean) : '',
  ];
}

const percent = (share: number) => (100 * share).toFixed(2);
const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
