/** Markup that is safe to put into a page. */
export class Html {
  constructor(readonly text: string) {}
}

/** What may stand in {@link html}: text is escaped, markup is not, lists are joined, null is left out. */
export type Content = Html | string | number | null | readonly Content[];

/** Markup in which every inserted text is only text, also within quoted attributes. */
export function html(parts: TemplateStringsArray, ...contents: readonly Content[]): Html {
  return new Html(parts.reduce((text, part, i) => text + markup(contents[i - 1]) + part));
}

function markup(content: Content): string {
  if (content === null) return '';
  if (content instanceof Html) return content.text;
  if (typeof content === 'object') return content.map(markup).join('');
  return String(content).replaceAll(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);
}
