// An operator's browser, logged in and looking at a live room. The mouse is counted, so that a claim can say it was not used.

/** Opens a page that has not been anywhere yet. */
export async function open(run, browser, origin, sabotage, options = {}) {
  const page = await run.open(browser, origin, options);
  await sabotage?.(page);
  await page.addInitScript(() => {
    globalThis.pointers = 0;
    addEventListener('pointerdown', () => (globalThis.pointers += 1), true);
  });
  return page;
}

/** Waits until the room is live and read, and the map drawn. */
export async function live(run, page) {
  await run.until(page, (seen) => seen.connection === 'live' && seen.units.length > 0 && seen.reads > 0);
  await run.settle(page);
}

/** A page that came by a one-time link. */
export async function atWork(run, browser, link, sabotage, options = {}) {
  const page = await open(run, browser, new URL(link).origin, sabotage, options);
  await page.goto(link, { timeout: run.timeout });
  await live(run, page);
  return page;
}
