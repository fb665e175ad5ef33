import type { Classification, WebModel } from 'ddrc/web';
import { drawPicture } from './attention.ts';
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
  /** The cells of class and probability; null where the picture could not be read. */
  readonly cells: { readonly class: HTMLElement; readonly probability: HTMLElement } | null;
  details: HTMLTableRowElement | null;
}

const cell = (set: Partial<HTMLTableCellElement>, ...children: readonly (Node | string)[]) =>
  make('td', { role: 'cell', ...set }, ...children);

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
  private order: { readonly column: Column; readonly descending: boolean } | null = null;

  constructor(
    private readonly model: WebModel,
    private readonly changed: () => void,
  ) {
    const [head, body] = [byId('columns'), byId('rows')];
    // A table that is laid out as grids is no table to some screen readers.
    head.closest('table')!.role = 'table';
    head.parentElement!.role = body.role = 'rowgroup';
    head.role = 'row';
    for (const { key, title } of columns) {
      const content = key === null ? title : make('button', { type: 'button', onclick: () => this.sort(key) }, title);
      head.append(make('th', { scope: 'col', role: 'columnheader' }, content));
    }
  }

  add(result: Result): void {
    this.results.push(result);
    byId('results').hidden = false;
    const entry = this.entryOf(result, this.thumbnails.of(result.file));
    this.rows.set(result, entry);
    byId('rows').append(entry.row);
    this.setOrder(null);
    this.summarise();
  }

  /** Shows a result anew, after it was classified again. */
  update(result: Result): void {
    const entry = this.rows.get(result)!;
    if (result.classification && entry.cells) {
      this.fill(result);
      entry.details?.cells[0].replaceChildren(this.details(result));
    } else {
      const fresh = this.entryOf(result, entry.row.querySelector('canvas'));
      entry.row.replaceWith(fresh.row);
      entry.details?.remove();
      this.rows.set(result, fresh);
    }
    if (this.order?.column !== 'name' && this.order?.column !== 'label') this.setOrder(null);
    this.summarise();
  }

  clear(): void {
    this.results.length = 0;
    this.rows.clear();
    this.thumbnails.clear();
    byId('rows').replaceChildren();
    byId('results').hidden = true;
    this.setOrder(null);
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
    // The mark by which spreadsheets know UTF-8.
    return `\uFEFF${[['file', 'class', 'probability', 'right class', 'problem', ...classes], ...lines].map(asCsvLine).join('')}`;
  }

  private entryOf(result: Result, thumbnail: HTMLCanvasElement | null): Entry {
    const { classification, problem } = result;
    const row = make('tr', { role: 'row' }, cell({}, thumbnail ?? ''), cell({ className: 'name' }, result.name));
    if (!classification) {
      row.append(cell({ className: 'failed', colSpan: 4 }, problem ?? ''));
      return { row, cells: null, details: null };
    }
    const cells = { class: cell({}), probability: cell({}) };
    row.append(cells.class, cells.probability, cell({}, this.labelChoice(result)), cell({}, this.detailsButton(result)));
    const entry = { row, cells, details: null };
    this.rows.set(result, entry);
    this.fill(result);
    return entry;
  }

  /** Writes class and probability into their cells. */
  private fill(result: Result): void {
    const { row, cells } = this.rows.get(result)!;
    const { probabilities, milliseconds } = result.classification!;
    const [best] = probabilities;
    const wrong = result.label !== null && result.label !== best.class;
    row.dataset.milliseconds = String(milliseconds);
    cells!.class.textContent = wrong ? `${best.class} (wrong)` : best.class;
    cells!.probability.textContent = percent(best.probability);
  }

  private labelChoice(result: Result): HTMLSelectElement {
    const select = make('select', { ariaLabel: `right class of ${result.name}` });
    select.append(make('option', { value: '' }, 'not said'));
    for (const name of this.model.info.classes)
      select.append(make('option', { value: name, selected: name === result.label }, name));
    select.onchange = () => {
      result.label = select.value === '' ? null : select.value;
      this.fill(result);
      if (this.order?.column === 'label') this.setOrder(null);
      this.summarise();
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
      entry.details = make('tr', { role: 'row' }, cell({ className: 'more', colSpan: columns.length }, this.details(result)));
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
    // Of several that are asked for, the last one is shown.
    let asked = 0;
    const show = async (name: string) => {
      const own = ++asked;
      try {
        if (!this.model.info.canExplain) return;
        caption.textContent = 'looking…';
        const map = await this.model.explain(file, name);
        if (own !== asked) return;
        await drawPicture(canvas, file, map);
        caption.textContent = `Where the model looks for ${name} (Grad-CAM): yellow is much, blue little.`;
      } catch (error) {
        if (own === asked) caption.textContent = sentence(error);
      }
    };
    void drawPicture(canvas, file).catch(() => {});
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
    this.setOrder({ column, descending });
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
  }

  /** Says in the head how the rows are sorted; null: not, as when another one came or what they were sorted by has changed. */
  private setOrder(order: { readonly column: Column; readonly descending: boolean } | null): void {
    this.order = order;
    [...byId('columns').children].forEach((head, i) => {
      if (order && columns[i].key === order.column) head.setAttribute('aria-sort', order.descending ? 'descending' : 'ascending');
      else head.removeAttribute('aria-sort');
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
    const safe = /^\s*[=+@-]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return `${cells.map(asCell).join(',')}\r\n`;
}
