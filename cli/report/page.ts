import { type Content, Html, html } from './html.ts';
import { style } from './style.ts';

/** A part of a page with its heading. */
export interface Section {
  readonly title: string;
  readonly content: Content;
}

/** A page that stands for itself: no script, and nothing is fetched; its policy says so, too. */
export function page(title: string, top: Content, sections: readonly Section[]): string {
  const parts = sections.map(({ title, content }) => html`<section><h2>${title}</h2>${content}</section>\n`);
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>${title}</title>
<link rel="icon" href="data:,">
<style>${new Html(style)}</style>
</head>
<body>
<header>
<h1>${title}</h1>
${top}
</header>
<main>
${parts}</main>
<footer><p>Research software: it makes no diagnosis.</p></footer>
</body>
</html>
`.text;
}

/** A table with a head; columns behind the first hold numbers and are set to the right. It can be scrolled sideways where it is too wide. */
export function table(
  caption: string,
  head: readonly Content[],
  rows: readonly (readonly Content[])[],
  kind: 'numbers' | 'texts' = 'numbers',
): Html {
  const columns = head.map((cell) => html`<th scope="col">${cell}</th>`);
  const lines = rows.map(
    ([first, ...rest]) => html`<tr><th scope="row">${first}</th>${rest.map((cell) => html`<td>${cell}</td>`)}</tr>\n`,
  );
  return wide(
    caption,
    html`<table class="${kind}${crowding(head.length)}"><caption>${caption}</caption><thead><tr>${columns}</tr></thead><tbody>${lines}</tbody></table>`,
  );
}

/** The most columns that paper has room for in ordinary type, and in small type. */
const [ordinary, small] = [8, 20];

/** Classes of a table that has many columns, which is set in smaller type on paper. */
export function crowding(columns: number): string {
  return `${columns > ordinary ? ' many' : ''}${columns > small ? ' crowded' : ''}`;
}

/** What may be wider than the page; the keyboard can scroll it, too. */
export function wide(label: string, content: Html): Html {
  return html`<div class="wide" role="region" tabindex="0" aria-label="${label}">${content}</div>`;
}

/** A sentence for each note. */
export function noteList(notes: readonly string[]): Html | null {
  return notes.length > 0 ? html`<ul class="notes">${notes.map((note) => html`<li>${note}</li>`)}</ul>` : null;
}
