/*
 * Keeps the files of the site, so that it works without a connection after the first visit. `site` stands above: `ddrc web` puts it there.
 */
// The origin may hold other sites, of ddrc too; their caches are not ours. No URL has a space in it.
const ours = `ddrc ${self.registration.scope} `;
const cacheName = ours + site.version;

self.addEventListener('install', (event) => {
  const scope = self.registration.scope;
  const keep = async () => {
    const cache = await caches.open(cacheName);
    // The server is asked, and not the browser's own cache, which may have files of an older version.
    await cache.addAll(['', ...site.kept].map((path) => new Request(new URL(path, scope), { cache: 'no-cache' })));
    await self.skipWaiting();
  };
  event.waitUntil(keep());
});

self.addEventListener('activate', (event) => {
  const tidy = async () => {
    const names = await caches.keys();
    await Promise.all(names.filter((name) => name.startsWith(ours) && name !== cacheName).map((name) => caches.delete(name)));
    await self.clients.claim();
  };
  event.waitUntil(tidy());
});

self.addEventListener('fetch', (event) => {
  const { request } = event;
  if (request.method !== 'GET' || !request.url.startsWith(self.registration.scope)) return;
  event.respondWith(answer(request));
});

/** The kept file, or the server's, which is kept from then on. */
async function answer(request) {
  // A full disk or quota must not stand between the page and its file.
  const cache = await caches.open(cacheName).catch(() => null);
  const kept = await cache?.match(request, { ignoreSearch: true }).catch(() => undefined);
  if (kept) return isolated(kept);
  const response = await fetch(request.mode === 'navigate' ? request : new Request(request, { cache: 'no-cache' }));
  if (response.ok) await cache?.put(request, response.clone()).catch(() => {});
  return isolated(response);
}

/** The response with the headers of the site, for hosts that do not send them: wasm's threads need that the page is isolated from others. */
function isolated(response) {
  if (response.status === 0) return response;
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(site.headers)) headers.set(name, value);
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
