import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import sirv from 'sirv';
import { DdrcError } from '../diagnostics/error.ts';
import { example } from './example.ts';
import { wholeNumber } from './flags.ts';
import { onInterrupt } from './interrupt.ts';
import { isSite, siteFiles, siteHeaders, writeSite } from './site.ts';

/**
 * The service worker of a site that is served: none. It would keep this site at the port, where the next thing that is served there is another one; a worker
 * that an earlier ddrc put there goes away.
 */
const noServiceWorker = `self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', (event) => {
  const leave = async () => {
    const ours = 'ddrc ' + self.registration.scope + ' ';
    for (const name of await caches.keys()) if (name.startsWith(ours)) await caches.delete(name);
    await self.registration.unregister();
  };
  event.waitUntil(leave());
});
`;

/** `ddrc serve RUN|SITE`: a site on this machine, for this machine. */
export function add(program: Command): void {
  program
    .command('serve')
    .description('serve the site of a trained model on this machine, for this machine only')
    .argument('<folder>', 'run folder of ddrc train, or a site that ddrc web wrote')
    .option('--port <n>', 'port of 127.0.0.1; 0 takes a free one', wholeNumber(0, 65_535), 8080)
    .addHelpText('after', example('ddrc serve runs/ddrnet-1'))
    .action(serve);
}

async function serve(folder: string, { port }: { readonly port: number }): Promise<void> {
  const given = isSite(folder);
  const site = given ? resolve(folder) : mkdtempSync(join(tmpdir(), 'ddrc-site-'));
  const clear = () => given || rmSync(site, { recursive: true, force: true });
  let listening = false;
  const giveBack = onInterrupt((exitCode) => {
    clear();
    // Ctrl-C is how serving ends, once it has begun.
    process.exit(listening && exitCode === 130 ? 0 : exitCode);
  });
  try {
    if (!given) writeSite(site, await siteFiles(folder));
    await listen(site, port, () => {
      listening = true;
    });
  } catch (error) {
    clear();
    throw error;
  } finally {
    giveBack();
  }
}

/** Serves a folder until the process is stopped; `onListening` is called when it can be asked. */
function listen(site: string, port: number, onListening: () => void): Promise<void> {
  const headers = siteHeaders(readFileSync(join(site, 'index.html'), 'utf8'));
  // Files are looked for at each request: a site may be written anew while it is served.
  const files = sirv(site, { dev: true, etag: true });
  const server = createServer((request, response) => {
    response.setHeaders(new Map(Object.entries(headers)));
    // Files are small enough to be sent whole.
    delete request.headers.range;
    if (request.url?.split('?')[0] === '/sw.js') {
      response.setHeader('Content-Type', 'text/javascript');
      response.end(noServiceWorker);
      return;
    }
    files(request, response, () => {
      response.statusCode = 404;
      response.end('there is no such file\n');
    });
  });
  return new Promise((resolve, reject) => {
    server.on('error', (cause: NodeJS.ErrnoException) => {
      const taken = cause.code === 'EADDRINUSE';
      reject(
        new DdrcError({
          code: 'USAGE',
          message: taken ? `port ${port} is taken` : `port ${port} cannot be opened (${cause.code})`,
          where: '--port',
          hint: 'give another --port, or 0 for a free one',
          cause,
        }),
      );
    });
    server.on('close', resolve);
    server.listen(port, '127.0.0.1', () => {
      onListening();
      const address = server.address();
      const at = typeof address === 'object' && address ? address.port : port;
      process.stdout.write(`http://127.0.0.1:${at}/  Ctrl-C ends it\n`);
    });
  });
}
