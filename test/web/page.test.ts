/*
 * The page as its users meet it: `ddrc web`, a real Chromium, real files.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { checkout } from '../cli/ddrc.ts';
import { serveFolder, startBrowser } from './browser.ts';
import { base64 } from './library-page.ts';
import { colours, run } from './run.ts';
import {
  browser,
  cells,
  choose,
  context,
  downloaded,
  eventually,
  folder,
  lookAt,
  made,
  open,
  page,
  rows,
  served,
  watched,
} from './site-page.ts';

/** A line of `ddrc predict --json`. */
interface Predicted {
  readonly class: string;
  readonly probabilities: Readonly<Record<string, number>>;
}

const cellsFolder = join(checkout, '../shared/data/blood-cells');

it('classifies as ddrc predict does, and saves the table as CSV', async () => {
  await open();
  expect(await page.textContent('#problem')).toBe('');
  expect(await page.textContent('#engine')).toMatch(/^ONNX Runtime on the processor, \d threads?; pictures of 32 × 32 pixels$/);
  const files = colours.flatMap((name) => made.pictures[name].slice(0, 3));
  await choose(files);
  const [head, ...lines] = cells(await downloaded('#save-csv'));
  expect(head).toEqual(['file', 'class', 'probability', 'right class', 'problem', ...colours]);
  const predicted = JSON.parse(await run(folder, 'predict', 'run', ...files, '--json')) as Predicted[];
  expect(lines).toHaveLength(files.length);
  lines.forEach(([, name, best, , , ...probabilities], i) => {
    expect(name).toBe(predicted[i].class);
    expect(Number(best)).toBe(Math.max(...probabilities.map(Number)));
    colours.forEach((colour, k) => {
      // PNG has the same pixels everywhere; the graphs sum in another order.
      expect(Math.abs(Number(probabilities[k]) - predicted[i].probabilities[colour])).toBeLessThan(1e-4);
    });
  });
  expect(watched).toMatchObject({ problems: [], outside: [] });
});

it('sees real cells, which are JPEGs, with the pixels that Node sees', async (test) => {
  if (!existsSync(cellsFolder)) return test.skip('there are no real images beside the checkout');
  const all = readdirSync(cellsFolder, { recursive: true, encoding: 'utf8' }).filter((name) => /\.jpe?g$/.test(name));
  const step = Math.floor(all.length / 40);
  const golden = Array.from({ length: 40 }, (_, i) => join(cellsFolder, all.sort()[i * step]));
  await open();
  await choose(golden);
  const [, ...lines] = cells(await downloaded('#save-csv'));
  const predicted = JSON.parse(await run(folder, 'predict', 'run', ...golden, '--json')) as Predicted[];
  const off = lines.flatMap(([, name, , , , ...probabilities], i) => {
    expect(name).toBe(predicted[i].class);
    return colours.map((colour, k) => Math.abs(Number(probabilities[k]) - predicted[i].probabilities[colour]));
  });
  expect(off).toHaveLength(40 * colours.length);
  expect(Math.max(...off)).toBeLessThan(2e-3);
});

it('learns from corrected pictures, compares, takes back, and saves what ddrc can load', { timeout: 180_000 }, async () => {
  await open();
  await choose(colours.flatMap((name) => made.pictures[name].slice(0, 8)));
  // Names that are the wrong way round: what was right becomes wrong, and must be learned anew.
  const turned = { blue: 'green', green: 'red', red: 'blue' } as const;
  const count = await rows().count();
  for (let i = 0; i < count; i++)
    await rows()
      .nth(i)
      .locator('select')
      .selectOption(turned[colours[Math.floor(i / 8)]]);
  await page.selectOption('#part', 'all');
  await page.fill('#epochs', '12');
  await page.fill('#rate', '0.01');
  const before = cells(await downloaded('#save-csv'));
  await page.click('#start');
  await eventually(() => page.textContent('#learned'), { timeout: 90_000 }).toMatch(/^learned after \d+ steps.* now$/);
  const said = await page.textContent('#learned');
  /** Whether the browser would ask before it leaves the page. */
  const asks = () => page.evaluate(() => !dispatchEvent(new Event('beforeunload', { cancelable: true })));
  expect(await asks()).toBe(true);
  const [, was, is] = said!.match(/held back, ([\d.]+) % were right before and ([\d.]+) % are now/)!;
  expect(Number(is)).toBeGreaterThan(Number(was));
  const after = cells(await downloaded('#save-csv'));
  const right = (table: string[][]) => table.slice(1).filter(([, name, , label]) => name === label).length;
  expect(right(after)).toBeGreaterThan(right(before) + 8);

  writeFileSync(join(folder, 'tuned.onnx'), await downloaded('#save-model'));
  writeFileSync(join(folder, 'tuned.safetensors'), await downloaded('#save-weights'));
  expect(await asks()).toBe(false);
  const files = colours.flatMap((name) => made.pictures[name].slice(0, 8));
  const predicted = JSON.parse(await run(folder, 'predict', 'tuned.onnx', ...files, '--json')) as Predicted[];
  after.slice(1).forEach(([, , , , , ...probabilities], i) => {
    colours.forEach((colour, k) => {
      expect(Math.abs(Number(probabilities[k]) - predicted[i].probabilities[colour])).toBeLessThan(1e-4);
    });
  });
  const options = ['--option', 'channels=8', '--size', '32', '--classes', colours.join()];
  await run(folder, 'build', '--weights', 'tuned.safetensors', ...options, '--out', 'rebuilt');
  const rebuilt = JSON.parse(await run(folder, 'predict', 'rebuilt', files[0], '--json'));
  for (const colour of colours)
    expect(Math.abs(rebuilt[0].probabilities[colour] - predicted[0].probabilities[colour])).toBeLessThan(1e-5);

  await page.click('#undo');
  await eventually(() => page.textContent('#learned')).toBe('the weights are as before the last learning');
  const undone = cells(await downloaded('#save-csv'));
  undone.slice(1).forEach(([, name, best], i) => {
    expect(name).toBe(before[i + 1][1]);
    expect(Math.abs(Number(best) - Number(before[i + 1][2]))).toBeLessThan(1e-5);
  });
  expect(watched).toMatchObject({ problems: [], outside: [] });
});

it('stops a training at once, and what was learned by then stays', async () => {
  await open();
  await choose(colours.flatMap((name) => made.pictures[name].slice(0, 4)));
  for (let i = 0; i < 12; i++)
    await rows()
      .nth(i)
      .locator('select')
      .selectOption(colours[Math.floor(i / 4)]);
  await page.fill('#epochs', '1000');
  await page.click('#start');
  await eventually(() => page.textContent('#curve-text'), { timeout: 60_000 }).toMatch(/step ([5-9]|\d\d+) of 1000/);
  // What is asked of the model meanwhile waits; what would meet half-learned weights cannot be asked.
  for (const button of ['#start', '#save-weights', '#save-model']) expect(await page.isDisabled(button)).toBe(true);
  await page.setInputFiles('#files', made.pictures.red[20]);
  expect(await page.textContent('#status')).toBe('0 of 1 pictures classified; it goes on when the learning has ended');
  expect(await page.evaluate(() => document.activeElement?.id)).toBe('stop');
  await page.click('#stop');
  await eventually(() => page.textContent('#learned'), { timeout: 10_000 }).toMatch(/^stopped after \d+ steps.*(?<!again…)$/);
  expect(await page.isVisible('#undo')).toBe(true);
  expect(await rows().count()).toBe(13);

  // Two trainings are taken back one by one, the last one first.
  await page.fill('#epochs', '1');
  await page.click('#start');
  await eventually(() => page.textContent('#learned')).toMatch(/^learned after 1 steps/);
  for (const left of [true, false]) {
    await page.click('#undo');
    await eventually(() => page.textContent('#learned')).toBe('the weights are as before the last learning');
    await eventually(() => page.isEnabled('#save-model')).toBe(true);
    expect(await page.isVisible('#undo')).toBe(left);
  }
  expect(watched.problems).toEqual([]);
}, 120_000);

it('shows where a class comes from', async () => {
  await open();
  await choose(made.pictures.red.slice(0, 1));
  await rows()
    .first()
    .getByRole('button', { name: /^details/ })
    .click();
  await eventually(() => page.textContent('.picture figcaption')).toMatch(/^Where the model looks for \w+ \(Grad-CAM\)/);
  const drawn = () => page.locator('.picture canvas').evaluate((canvas: HTMLCanvasElement) => canvas.toDataURL());
  const first = await drawn();
  const second = page.locator('.bars button').nth(1);
  await second.click();
  await eventually(drawn).not.toBe(first);
  const alone = await drawn();
  // Whoever presses several at once gets the last one, and nothing of the others.
  await page.locator('.bars').evaluate((bars) => {
    const buttons = [...bars.querySelectorAll('button')];
    for (const i of [2, 0, 1]) buttons[i].click();
  });
  await eventually(() => page.textContent('.picture figcaption')).toContain((await second.textContent())!);
  await eventually(drawn).toBe(alone);
  expect(await page.locator('.bars meter').count()).toBe(3);
  await rows()
    .first()
    .getByRole('button', { name: /^details/ })
    .click();
  expect(await page.locator('.picture').count()).toBe(0);
});

it('says in a sentence what it cannot read, and goes on', async () => {
  await open();
  const broken = join(folder, 'broken.png');
  writeFileSync(broken, readFileSync(made.pictures.red[0]).subarray(0, 60));
  const empty = join(folder, 'empty.jpg');
  writeFileSync(empty, '');
  const markup = join(folder, '<img src=x onerror=alert(1)>.png');
  writeFileSync(markup, readFileSync(made.pictures.red[0]));
  await choose([broken, empty, markup, made.pictures.blue[0]]);
  const texts = await rows().allTextContents();
  expect(texts[0]).toContain('broken.png is no picture that this browser reads, or it is damaged');
  expect(texts[1]).toContain('empty.jpg is empty');
  expect(texts[2]).toContain('<img src=x onerror=alert(1)>.png');
  expect(await page.locator('img').count()).toBe(0);
  expect(texts[3]).toContain('blue');
  expect(await page.textContent('#summary')).toMatch(/^2 of 4 pictures read/);
  expect(watched.problems).toEqual([]);
});

it('sorts by a column, in both directions', async () => {
  await open();
  await choose([made.pictures.red[1], made.pictures.blue[2], made.pictures.green[0]]);
  const names = () => rows().locator('td.name').allTextContents();
  await page.click('#columns button:text("File")');
  expect(await names()).toEqual(['000.png', '001.png', '002.png']);
  expect(await page.getAttribute('#columns th:nth-child(2)', 'aria-sort')).toBe('ascending');
  await page.click('#columns button:text("File")');
  expect(await names()).toEqual(['002.png', '001.png', '000.png']);
  // One more, and the head does not say that they are sorted.
  await choose([made.pictures.red[5]]);
  expect(await page.locator('#columns [aria-sort]').count()).toBe(0);
  await page.click('#columns button:text("Right class")');
  await page.click('#columns button:text("Class")');
  expect(await page.locator('#columns [aria-sort]').count()).toBe(1);
  await page.click('#clear');
  expect(await page.locator('#columns [aria-sort]').count()).toBe(0);
});

it('takes folders that are dropped, with the classes that they name, and writes names that spreadsheets would run as text', async () => {
  await open();
  const bytes = base64(made.pictures.red[0]);
  await page.evaluate((bytes) => {
    const content = Uint8Array.from(atob(bytes), (character) => character.charCodeAt(0));
    const file = (name: string) => new File([content], name, { type: 'image/png' });
    /** As a browser gives what is dropped. */
    const entry = (path: string): FileSystemEntry =>
      ({
        isFile: true,
        isDirectory: false,
        name: path.split('/').at(-1),
        fullPath: `/${path}`,
        file: (done: (file: File) => void) => done(file(path.split('/').at(-1)!)),
      }) as unknown as FileSystemEntry;
    let read = false;
    const folder = {
      isFile: false,
      isDirectory: true,
      name: 'cells',
      fullPath: '/cells',
      createReader: () => ({
        readEntries: (done: (entries: FileSystemEntry[]) => void) => {
          done(
            read
              ? []
              : [
                  'cells/red/a.png',
                  'cells/GREEN/b.png',
                  'cells/red/notes.txt',
                  'cells/other/c.png',
                  'cells/d.tif',
                  'cells/._a.png',
                ].map(entry),
          );
          read = true;
        },
      }),
    };
    const entries = [folder, entry('=1+1, "x".png')];
    const event = new Event('drop', { cancelable: true });
    const items = entries.map((each) => ({ webkitGetAsEntry: () => each }));
    Object.assign(event, { dataTransfer: { items, files: [] } });
    document.dispatchEvent(event);
  }, bytes);
  await eventually(() => rows().count()).toBe(4);
  expect(await rows().locator('td.name').allTextContents()).toEqual([
    'cells/red/a.png',
    'cells/GREEN/b.png',
    'cells/other/c.png',
    '=1+1, "x".png',
  ]);
  const labels = await rows()
    .locator('select')
    .evaluateAll((all) => all.map((select) => (select as HTMLSelectElement).value));
  expect(labels).toEqual(['red', 'green', '', '']);
  expect(await page.textContent('#problem')).toBe(
    '1 file was passed over, as browsers do not show .tif: save them as PNG or JPEG',
  );
  const csv = await downloaded('#save-csv');
  // The mark by which Excel knows UTF-8.
  expect([...csv.subarray(0, 3)]).toEqual([0xef, 0xbb, 0xbf]);
  expect(csv.toString().split('\r\n')[4]).toMatch(/^"'=1\+1, ""x""\.png",/);
});

it('lets neither itself nor its worker ask another host', async () => {
  const other = await serveFolder(made.site);
  onTestFinished(() => other.close());
  await open();
  const ask = (url: string) => fetch(url, { mode: 'no-cors' }).then(({ type }) => type, String);
  expect(await page.evaluate(ask, other.url)).toBe('TypeError: Failed to fetch');
  expect(await page.workers()[0].evaluate(ask, other.url)).toBe('TypeError: Failed to fetch');
  expect(await page.workers()[0].evaluate(ask, served.url)).toBe('basic');
});

it('works below a path, on a host that sends no headers, and without a connection after the first visit', async () => {
  const plain = await serveFolder(made.site, { isolated: false, below: '/cells/app/' });
  try {
    // Caches of another site of this host, and of an earlier version of this one.
    const [other, earlier] = [`ddrc ${plain.url}more/ 1`, `ddrc ${plain.url} 1`];
    await page.goto(`${plain.url}model/manifest.json`);
    await page.evaluate((names) => Promise.all(names.map((name) => caches.open(name))), [other, earlier]);
    await open(plain.url);
    await page.evaluate(() => navigator.serviceWorker.ready);
    await eventually(() => page.evaluate(async () => (await caches.keys()).length)).toBe(2);
    const kept = await page.evaluate(() => caches.keys());
    expect(kept).toContain(other);
    expect(kept).not.toContain(earlier);
    await page.reload();
    // The service worker has put the headers there that wasm's threads need.
    expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
  } finally {
    await plain.close();
  }
  await context.setOffline(true);
  await open(plain.url);
  await choose(made.pictures.green.slice(0, 2));
  expect((await rows().allTextContents()).every((text) => text.includes('green'))).toBe(true);
}, 60_000);

it('says so where the model is not there', async () => {
  await page.route('**/manifest.json', (route) => route.fulfill({ status: 404 }));
  await open();
  expect(await page.textContent('#problem')).toContain('manifest.json cannot be loaded: the server answered 404');
});

it('says so where the site belongs to another kind of model', async () => {
  const manifest = JSON.parse(readFileSync(join(made.site, 'model/manifest.json'), 'utf8'));
  const { 'model.onnx': _, ...files } = manifest.files;
  for (const [foreign, said] of [
    [{ ...manifest, preprocessing: [] }, 'does not take one square picture as float32, so it cannot be used in a page'],
    [{ ...manifest, scores: null }, 'has no scores of classes'],
    [{ ...manifest, files }, 'has no scores of classes'],
    [{ name: 'my-app', version: 1 }, 'manifest.json is not a manifest of ddrc'],
  ] as const) {
    const own = await browser.newContext({ serviceWorkers: 'block' });
    await lookAt(await own.newPage());
    await page.route('**/manifest.json', (route) => route.fulfill({ json: foreign }));
    await open();
    expect(await page.textContent('#problem')).toContain(said);
    await own.close();
  }
});

it('says so where its worker cannot start, or is lost, and the rest goes on', async () => {
  await page.route('**/assets/worker*.js', (route) => route.abort());
  await open();
  expect(await page.textContent('#problem')).toContain('the worker of the page stopped');
  await page.unroute('**/assets/worker*.js');

  await open();
  await choose(made.pictures.red.slice(0, 2));
  // As a browser ends it that needs its memory: without a word.
  await page.workers()[0].evaluate(() => (globalThis as unknown as { close(): void }).close());
  await choose(made.pictures.blue.slice(0, 1));
  const texts = await rows().allTextContents();
  expect(texts[0]).toContain('red');
  expect(texts[2]).toContain('the worker of the page stopped: reload the page');
  expect(cells(await downloaded('#save-csv'))).toHaveLength(4);
});

it('works where the quota is full', async () => {
  const control = await context.newCDPSession(page);
  await control.send('Storage.overrideQuotaForOrigin', { origin: new URL(served.url).origin, quotaSize: 1000 });
  await open();
  await page.reload();
  await open();
  await choose(made.pictures.green.slice(0, 2));
  expect((await rows().allTextContents()).every((text) => text.includes('green'))).toBe(true);
});

it('takes pictures with the camera, one stream at a time', async () => {
  // A browser of its own: with these, Chromium opens no file chooser.
  const own = await startBrowser(['--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream']);
  onTestFinished(() => own.close());
  await lookAt(await own.newPage());
  await open();
  await page.evaluate(() => {
    const tracks: MediaStreamTrack[] = [];
    Object.assign(globalThis, { tracks });
    const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (wanted) => {
      const stream = await ask(wanted);
      tracks.push(...stream.getTracks());
      return stream;
    };
  });
  // As quick as no hand is.
  await page.evaluate(() => {
    for (const id of ['use-camera', 'use-camera', 'camera-take', 'camera-take']) document.getElementById(id)!.click();
  });
  await eventually(() => page.isEnabled('#camera-take')).toBe(true);
  expect(await page.isDisabled('#use-camera')).toBe(true);
  await page.click('#camera-take');
  await eventually(() => rows().count()).toBe(1);
  expect(await rows().textContent()).toContain('camera-1.png');
  await page.click('#camera-close');
  const states = () =>
    page.evaluate(() => (globalThis as unknown as { tracks: MediaStreamTrack[] }).tracks.map(({ readyState }) => readyState));
  expect(await states()).toEqual(['ended']);
  await page.click('#use-camera');
  await eventually(() => page.isEnabled('#camera-take')).toBe(true);
  expect(watched.problems).toEqual([]);
});

it('drops what still waits when all is cleared, and asks before it forgets classes that a person gave', async () => {
  await open();
  await page.setInputFiles('#files', [...made.pictures.red]);
  await eventually(() => rows().count(), { interval: 5 }).toBeGreaterThan(0);
  await page.click('#clear');
  await eventually(() => page.textContent('#status')).toBe('ready');
  expect(await rows().count()).toBe(0);
  expect(await page.isVisible('#results')).toBe(false);
  await choose(made.pictures.blue.slice(0, 1));
  expect(await page.textContent('#summary')).toMatch(/^1 of 1 pictures read/);
  await rows().first().locator('select').selectOption('red');
  for (const [answer, left] of [
    ['dismiss', 1],
    ['accept', 0],
  ] as const) {
    page.once('dialog', (dialog) => {
      expect(dialog.message()).toBe('Forget all pictures, and the classes of 1 of them?');
      void dialog[answer]();
    });
    await page.click('#clear');
    expect(await rows().count()).toBe(left);
  }
});
