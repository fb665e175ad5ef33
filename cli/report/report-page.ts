import { html } from './html.ts';
import { noteList, page } from './page.ts';
import type { RunRecord } from './run-record.ts';
import {
  calibrationSection,
  classFigures,
  configuration,
  curves,
  environment,
  overallSection,
  timingSection,
  wrongSection,
} from './sections.ts';
import { earlyEnd, resultLine, stateLine } from './summary.ts';
import { wrongImages } from './wrong-images.ts';

/** A report, and what it lacks because it is not where the run looks for it, a sentence each. */
export interface Report {
  readonly page: string;
  readonly missing: readonly string[];
}

/**
 * The report of a run as one page that opens anywhere.
 * @param threads of one operator, for Grad-CAM; by default one for each processor
 */
export async function reportPage(run: RunRecord, threads?: number): Promise<Report> {
  const { name, config, settings, test, epochs, stoppedEarly, notes } = run;
  const state = stateLine(run);
  const options = Object.entries(settings.options).map(([option, value]) => `${option}=${value}`);
  const top = html`${state && html`<p class="banner" role="note">${state}</p>`}
<p class="result">${resultLine(run)}</p>
${stoppedEarly ? html`<p class="quiet">${earlyEnd(settings, epochs.length)}</p>` : null}
<p class="quiet">${config.model} ${options.join(' ')}</p>
${noteList(notes)}`;
  const wrong = test && (await wrongImages(run, threads));
  const written = page(`${config.model}: ${name}`, top, [
    curves(run),
    ...overallSection(test),
    ...classFigures(test),
    ...calibrationSection(test),
    ...(wrong ? [wrongSection(wrong)] : []),
    timingSection(run),
    configuration(run),
    environment(),
  ]);
  return { page: written, missing: wrong?.missing ?? [] };
}
