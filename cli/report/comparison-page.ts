import type { EpochLine } from '../../runtime/trainer.ts';
import { lineChart } from './charts.ts';
import type { Comparison } from './comparison.ts';
import { figureRows } from './comparison-rows.ts';
import { html } from './html.ts';
import { noteList, page, table } from './page.ts';
import type { RunRecord } from './run-record.ts';
import { environment } from './sections.ts';

/** Runs side by side as one page: figures, settings that differ, curves laid over each other. */
export function comparisonPage(records: readonly RunRecord[], comparison: Comparison): string {
  const { runs, settings, notes } = comparison;
  const names = runs.map(({ run }) => run);
  const chart = (title: string, of: (line: EpochLine) => number | undefined) => {
    const series = records.map(({ epochs }, i) => ({
      name: names[i],
      points: epochs.flatMap((line) => (typeof of(line) === 'number' ? [{ x: line.epoch, y: of(line)! }] : [])),
    }));
    return series.some(({ points }) => points.length > 0) ? lineChart({ title, x: 'epoch', series }) : null;
  };
  const charts = [
    chart('Training loss', (line) => line.train.loss),
    chart('Validation loss', (line) => line.val?.loss),
    chart('Training accuracy', (line) => line.train.accuracy),
    chart('Validation accuracy', (line) => line.val?.accuracy),
    chart('Learning rate', (line) => line.learningRate),
  ];
  const rows = Object.entries(settings).map(([name, values]) => [name, ...values]);
  const different =
    rows.length > 0
      ? table('Settings that are not the same in all runs', ['setting', ...names], rows, 'texts')
      : html`<p>None.</p>`;
  return page(`${names.length} runs`, noteList(notes), [
    { title: 'Figures', content: table('Training and validation are of the best epoch', ['figure', ...names], figureRows(runs)) },
    { title: 'Settings that differ', content: different },
    { title: 'Curves', content: html`<div class="charts">${charts}</div>` },
    environment(),
  ]);
}
