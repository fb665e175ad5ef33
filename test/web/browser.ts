import { existsSync, readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import sirv from 'sirv';

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
 * @param isolated whether with the headers that let wasm have threads, as `ddrc serve` sends them; a plain static host sends none
 */
export async function serveFolder(folder: string, { isolated = true, below = '/' } = {}): Promise<ServedSite> {
  const files = sirv(folder, {
    setHeaders(response) {
      if (!isolated) return;
      response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
      response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
      response.setHeader('Cross-Origin-Resource-Policy', 'same-origin');
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

/** What a page did that it should not: errors, what it wrote to the console, requests to elsewhere, tasks that held it up. */
export interface Watched {
  readonly problems: string[];
  readonly outside: string[];
  /** Milliseconds of tasks of the main thread that took longer than 50. */
  longTasks(): Promise<number[]>;
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
  await page.addInitScript(() => {
    const tasks: number[] = [];
    Object.assign(globalThis, { longTasks: tasks });
    const observer = new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration)));
    observer.observe({ type: 'longtask', buffered: true } as PerformanceObserverInit);
  });
  return {
    problems,
    outside,
    longTasks: () => page.evaluate(() => (globalThis as unknown as { longTasks: number[] }).longTasks),
  };
}

/** The text of axe-core, which a page's policy would not let it load. */
export function axeSource(): string {
  return readFileSync(join(import.meta.dirname, '../../node_modules/axe-core/axe.min.js'), 'utf8');
}
