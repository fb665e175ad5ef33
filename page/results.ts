import type { Classification, WebModel } from 'ddrc/web';
import { drawAttention, drawPicture } from './attention.ts';
import { byId, make, percent, sentence } from './dom.ts';
import { Thumbnails } from './thumbnails.ts';

/** A picture that was chosen, and what became of it. */
export interface Result {
  readonly file: File;
  /** Its name, or its path in a folder. */
  readonly name: string;
  /** What the model makes of it; null where it could not be read. */
  classification: Classification | null;
  problem: string | null;
  /** The class that a person or the name of its folder gave it; null where nobody did. */
  label: string | null;
}

/** What a result has in the table. */
interface Entry {
  readonly row: HTMLTableRowElement;
  readonly thumbnail: HTMLCanvasElement;
  details: HTMLTableRowElement | null;
}

type Column = 'name' | 'class' | 'probability' | 'label';

const columns: readonly { readonly key: Column | null; readonly title: string }[] = [
  { key: null, title: 'Picture' },
  { key: 'name', title: 'File' },
  { key: 'class', title: 'Class' },
  { key: 'probability', title: 'Probability' },
  { key: 'label', title: 'Right class' },
  { key: null, title: 'Look' },
];

/** The table of results: sortable, a row for each picture, details on demand. */
export class ResultTable {
  readonly results: Result[] = [];
  private readonly thumbnails = new Thumbnails();
  private readonly rows = new Map<Result, Entry>();
  private order: { column: Column; descending: boolean } | null = null;

  constructor(
    private readonly model: WebModel,
    private readonly changed: () => void,
  ) {
    const head = byId('columns');
    for (const { key, title } of columns) {
      const cell = make('th', { scope: 'col' });
      if (key === null) cell.append(title);
      else cell.append(make('button', { type: 'button', onclick: () => this.sort(key) }, title));
      head.append(cell);
    }
  }

  add(result: Result): void {
    this.results.push(result);
    byId('results').hidden = false;
    this.draw(result);
    this.summarise();
  }

  /** Shows a result anew, after it was classified again or labelled. */
  update(result: Result): void {
    this.draw(result);
    this.summarise();
  }

  clear(): void {
    this.results.length = 0;
    this.rows.clear();
    this.thumbnails.clear();
    byId('rows').replaceChildren();
    byId('results').hidden = true;
    this.changed();
  }

  /** A line for each picture: file, class, probability, right class, then the probability of each class. */
  csv(): string {
    const { classes } = this.model.info;
    const lines = this.results.map(({ name, classification, problem, label }) => [
      name,
      classification?.class ?? '',
      classification ? String(classification.probabilities[0].probability) : '',
      label ?? '',
      problem ?? '',
      ...classes.map((each) => String(classification?.probabilities.find((entry) => entry.class === each)?.probability ?? '')),
    ]);
    return [['file', 'class', 'probability', 'right class', 'problem', ...classes], ...lines].map(asCsvLine).join('');
  }

  private draw(result: Result): void {
    const { classification, problem } = result;
    const row = make('tr');
    if (classification) row.dataset.milliseconds = String(classification.milliseconds);
    const before = this.rows.get(result);
    const thumbnail = before?.thumbnail ?? this.thumbnails.of(result.file);
    row.append(make('td', {}, thumbnail), make('td', { className: 'name' }, result.name));
    if (!classification) {
      row.append(make('td', { className: 'failed', colSpan: 4 }, problem ?? ''));
    } else {
      const [best] = classification.probabilities;
      const wrong = result.label !== null && result.label !== best.class;
      row.append(
        make('td', {}, wrong ? `${best.class} (wrong)` : best.class),
        make('td', {}, percent(best.probability)),
        make('td', {}, this.labelChoice(result)),
        make('td', {}, this.detailsButton(result)),
      );
    }
    if (before) {
      before.row.replaceWith(row);
      before.details?.remove();
    } else byId('rows').append(row);
    this.rows.set(result, { row, thumbnail, details: null });
  }

  private labelChoice(result: Result): HTMLSelectElement {
    const select = make('select', { ariaLabel: `right class of ${result.name}` });
    select.append(make('option', { value: '' }, 'not said'));
    for (const name of this.model.info.classes)
      select.append(make('option', { value: name, selected: name === result.label }, name));
    select.onchange = () => {
      result.label = select.value === '' ? null : select.value;
      this.update(result);
      this.changed();
    };
    return select;
  }

  private detailsButton(result: Result): HTMLButtonElement {
    const button = make('button', { type: 'button', ariaExpanded: 'false', ariaLabel: `details of ${result.name}` }, 'Details');
    button.onclick = () => {
      const entry = this.rows.get(result)!;
      button.ariaExpanded = String(!entry.details);
      if (entry.details) {
        entry.details.remove();
        entry.details = null;
        return;
      }
      entry.details = make('tr', {}, make('td', { className: 'more', colSpan: columns.length }, this.details(result)));
      entry.row.after(entry.details);
    };
    return button;
  }

  /** The picture with the attention over it, and a bar for each class. */
  private details(result: Result): HTMLElement {
    const { classification, file } = result;
    const canvas = make('canvas', { width: 224, height: 224 });
    const caption = make('figcaption');
    const figure = make('figure', { className: 'picture' }, canvas, caption);
    const show = async (name: string) => {
      try {
        await drawPicture(canvas, file);
        if (!this.model.info.canExplain) return;
        caption.textContent = 'looking…';
        drawAttention(canvas, await this.model.explain(file, name));
        caption.textContent = `Where the model looks for ${name} (Grad-CAM): yellow is much, blue little.`;
      } catch (error) {
        caption.textContent = sentence(error);
      }
    };
    void show(classification!.class);
    const bars = make('div', { className: 'bars' });
    for (const { class: name, probability } of classification!.probabilities) {
      const look = make(
        'button',
        { type: 'button', onclick: () => void show(name), title: `where the model looks for ${name}` },
        name,
      );
      bars.append(look, make('meter', { value: probability, ariaLabel: name }), percent(probability));
    }
    return make('div', { className: 'details' }, figure, bars);
  }

  private sort(column: Column): void {
    const descending = this.order?.column === column ? !this.order.descending : column === 'probability';
    this.order = { column, descending };
    const key = ({ name, classification, label }: Result) =>
      ({
        name,
        class: classification?.class ?? '',
        probability: classification?.probabilities[0].probability ?? -1,
        label: label ?? '',
      })[column];
    const collator = new Intl.Collator(undefined, { numeric: true });
    const compare = (a: Result, b: Result) => {
      const [x, y] = [key(a), key(b)];
      return typeof x === 'number' && typeof y === 'number' ? x - y : collator.compare(String(x), String(y));
    };
    this.results.sort((a, b) => (descending ? compare(b, a) : compare(a, b)));
    const rows = this.results.map((result) => this.rows.get(result)!);
    byId('rows').append(...rows.flatMap(({ row, details }) => (details ? [row, details] : [row])));
    [...byId('columns').children].forEach((cell, i) => {
      if (columns[i].key === column) cell.setAttribute('aria-sort', descending ? 'descending' : 'ascending');
      else cell.removeAttribute('aria-sort');
    });
  }

  private summarise(): void {
    const read = this.results.filter(({ classification }) => classification);
    const labelled = read.filter(({ label }) => label !== null);
    const right = labelled.filter(({ label, classification }) => label === classification!.class);
    const counts = this.model.info.classes.map((name) => {
      const count = read.filter(({ classification }) => classification!.class === name).length;
      return `${name} ${count}`;
    });
    const parts = [`${read.length} of ${this.results.length} pictures read`, counts.join(', ')];
    if (labelled.length > 0) parts.push(`${right.length} of ${labelled.length} with a known class right`);
    byId('summary').textContent = parts.join(' · ');
  }
}

/** Cells of a line of CSV (RFC 4180); what a spreadsheet would take for a formula is marked as text. */
function asCsvLine(cells: readonly string[]): string {
  const asCell = (text: string) => {
    const safe = /^[=+@\t\r-]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return `${cells.map(asCell).join(',')}\r\n`;
}
