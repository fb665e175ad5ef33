/*
 * That the page can be used by everybody, and never stands still.
 */
import { describe, expect, it } from 'vitest';
import { accessViolations, watchMainThread } from './browser.ts';
import { colours } from './run.ts';
import { browser, choose, eventually, made, open, page, rows } from './site-page.ts';

// Other work on the machine adds to every task and takes nothing away, so the best of a few tries is nearest to the page's own.
it('neither a long list nor learning holds the page up', { retry: 2, timeout: 120_000 }, async () => {
  const longest = await watchMainThread(browser, page);
  await open();
  await choose(colours.flatMap((name) => made.pictures[name].slice(0, 20)));
  await page.evaluate(async () => {
    for (let y = 0; y < document.body.scrollHeight; y += 400) {
      scrollTo(0, y);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  });
  await page.click('#columns button:text("Probability")');
  // Each thumbnail is drawn by now.
  const blank = () =>
    page
      .locator('.thumbnail')
      .evaluateAll(
        (all) =>
          all.filter((canvas) => (canvas as HTMLCanvasElement).getContext('2d')!.getImageData(48, 48, 1, 1).data[3] === 0).length,
      );
  await eventually(blank).toBe(0);
  for (let i = 0; i < 4; i++)
    await rows()
      .nth(i)
      .locator('select')
      .selectOption(colours[i % 3]);
  await page.selectOption('#part', 'all');
  await page.click('#start');
  await eventually(() => page.textContent('#learned'), { timeout: 60_000 }).toMatch(/^learned after \d+ steps/);
  // Decoding, graphs and training run in a worker.
  expect(await longest()).toBeLessThanOrEqual(50);
});

describe('everybody can use it', () => {
  it.each([
    ['light', 'light', 1100],
    ['dark', 'dark', 1100],
    ['a phone', 'light', 390],
  ] as const)('%s: axe finds nothing', async (_, colorScheme, width) => {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 900 });
    await open();
    await choose([made.pictures.red[0], made.pictures.blue[0]]);
    await rows()
      .first()
      .getByRole('button', { name: /^details/ })
      .click();
    await eventually(() => page.textContent('.picture figcaption')).toMatch(/^Where/);
    expect(await accessViolations(page)).toEqual([]);
    // Nothing sticks out sideways.
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
    // On a phone too, what can be sorted can be seen.
    expect(await page.isVisible('#columns button:text("Probability")')).toBe(true);
    expect((await page.locator('#columns button').first().boundingBox())!.height).toBeGreaterThan(20);
  });

  it('by the keyboard alone', async () => {
    // Before the key is pressed, as the driver takes a while to listen.
    const choosing = page.waitForEvent('filechooser');
    await open();
    await page.keyboard.press('Tab');
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('choose-files');
    await page.keyboard.press('Enter');
    await (await choosing).setFiles(made.pictures.red[0]);
    await eventually(() => rows().count()).toBe(1);
    await rows()
      .first()
      .getByRole('button', { name: /^details/ })
      .focus();
    await page.keyboard.press('Enter');
    await eventually(() => page.locator('.bars meter').count()).toBe(3);
    // The right class is chosen where the details stay open, and the next key still goes to the choice.
    const best = await page.textContent('#rows > tr td:nth-child(3)');
    await rows().first().locator('select').focus();
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('ArrowDown');
    expect(await page.evaluate(() => (document.activeElement as HTMLSelectElement).value)).toBe(colours[1]);
    expect(await page.textContent('#rows > tr td:nth-child(3)')).toBe(best === colours[1] ? best : `${best} (wrong)`);
    expect(await page.locator('.bars meter').count()).toBe(3);
  });
});
