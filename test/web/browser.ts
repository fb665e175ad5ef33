import { existsSync, readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import sirv from 'sirv';
import { siteHeaders } from '../../cli/site.ts';

/** Where Chromium lies on the systems that have it; `CHROMIUM` names another one. */
const places = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** The browser's program; null where there is none. */
export const chromiumPath = places.find((path) => path && existsSync(path)) ?? null;

/** Why tests in a browser cannot run here; null where they can. */
export const noBrowser = chromiumPath ? null : 'no Chromium is installed (Debian: apt-get install chromium)';

/** Starts Chromium without a window. */
export function startBrowser(args: readonly string[] = []): Promise<Browser> {
  // Without its sandbox, as a container's root may not make one.
  return chromium.launch({ executablePath: chromiumPath!, args: ['--no-sandbox', '--disable-dev-shm-usage', ...args] });
}

export interface ServedSite {
  readonly url: string;
  close(): Promise<void>;
}

/**
 * Serves a folder at 127.0.0.1 below a path.
 * @param isolated whether with the headers that `ddrc serve` sends; a plain static host sends none
 */
export async function serveFolder(folder: string, { isolated = true, below = '/' } = {}): Promise<ServedSite> {
  const headers = isolated ? Object.entries(siteHeaders(readFileSync(join(folder, 'index.html'), 'utf8'))) : [];
  const files = sirv(folder, {
    setHeaders(response) {
      for (const [name, value] of headers) response.setHeader(name, value);
    },
  });
  const server: Server = createServer((request, response) => {
    const missing = () => {
      response.statusCode = 404;
      response.end();
    };
    if (!request.url?.startsWith(below)) return missing();
    request.url = request.url.slice(below.length - 1);
    files(request, response, missing);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  return {
    url: `http://127.0.0.1:${port}${below}`,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

/** What a page did that it should not: errors, what it wrote to the console, requests to elsewhere. */
export interface Watched {
  readonly problems: string[];
  readonly outside: string[];
}

/** Watches a page; to be called before it goes anywhere. */
export async function watch(page: Page): Promise<Watched> {
  const problems: string[] = [];
  const outside: string[] = [];
  page.on('pageerror', ({ message }) => problems.push(message));
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') problems.push(message.text());
  });
  page.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith('http://127.0.0.1:') && !url.startsWith('blob:http://127.0.0.1:')) outside.push(url);
  });
  return { problems, outside };
}

/** An event of Chromium's trace; times are microseconds. */
interface TraceEvent {
  readonly ph: string;
  readonly name: string;
  readonly pid: number;
  readonly tid: number;
  readonly ts: number;
  readonly dur?: number;
  /** Of `dur`, what the thread had a processor. */
  readonly tdur?: number;
  readonly args: { readonly name?: string; readonly chrome_mojo_event_info?: { readonly mojo_interface_tag: string } };
}

/**
 * Records a page's main thread until the function that it gives is called, which tells the longest task, in ms. Only the time on a processor counts, as
 * the machine may have other things to do, and no task in which the test asks the page for something.
 */
export async function watchMainThread(browser: Browser, page: Page): Promise<() => Promise<number>> {
  await browser.startTracing(page, { categories: ['toplevel'] });
  return async () => {
    const { traceEvents } = JSON.parse((await browser.stopTracing()).toString()) as { traceEvents: TraceEvent[] };
    const thread = ({ pid, tid }: TraceEvent) => `${pid} ${tid}`;
    const main = new Set(
      traceEvents.filter(({ name, args }) => name === 'thread_name' && args.name === 'CrRendererMain').map(thread),
    );
    const own = traceEvents.filter((event) => event.ph === 'X' && event.tdur !== undefined && main.has(thread(event)));
    const asked = own.filter(({ args }) => args.chrome_mojo_event_info?.mojo_interface_tag === 'blink.mojom.DevToolsSession');
    const holds = (task: TraceEvent, { ts }: TraceEvent) => task.ts <= ts && ts <= task.ts + task.dur!;
    const tasks = own.filter((task) => !asked.some((event) => thread(event) === thread(task) && holds(task, event)));
    if (tasks.length === 0) throw new Error('the trace has no task of the main thread');
    return tasks.reduce((longest, { tdur }) => Math.max(longest, tdur!), 0) / 1000;
  };
}

/** The text of axe-core, which a page's policy would not let it load. */
function axeSource(): string {
  return readFileSync(join(import.meta.dirname, '../../node_modules/axe-core/axe.min.js'), 'utf8');
}

/** What axe-core finds wrong with a page, a line for each rule that is broken. */
export async function accessViolations(page: Page): Promise<string[]> {
  await page.evaluate(axeSource());
  const { violations } = await page.evaluate(async () => {
    const { axe } = globalThis as unknown as {
      axe: { run(): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> };
    };
    return axe.run();
  });
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
}
