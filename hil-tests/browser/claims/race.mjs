// Two operators answer one alarm at the same moment, in two browsers: the gateway makes one of them its owner.
import { atWork } from '../at_work.mjs';

/** From the first screen that names the owner to the last, in ms. */
const APART_MS_MAX = 1_000;
/** Little to draw. */
const VIEWPORT = { width: 1000, height: 500 };
const UNIT = 'pc-0006';
const CALLSIGN = 'PC 2206';

export async function race(run, browser, sabotage, gateway) {
  const names = ['ortiz', 'nowak'];
  const pages = [];
  for (const name of names) pages.push(await atWork(run, browser, await gateway.link(name, 'operator'), sabotage, { viewport: VIEWPORT }));
  const figures = await run.claim('a_race_of_two_operators_has_one_owner_on_both_screens', () =>
    // Whoever is second is told 409.
    run.expectingFaults(() => raced(run, gateway, pages, names)),
  );
  for (const page of pages) await page.context().close();
  return figures;
}

async function raced(run, gateway, pages, names) {
  gateway.order(`press ${UNIT}`);
  const cards = pages.map((page) => page.locator('article[data-state="unacknowledged"]').filter({ hasText: CALLSIGN }).filter({ hasText: 'Emergency button' }));
  for (const card of cards) await card.locator('.acknowledge').waitFor({ timeout: run.timeout });
  const id = await cards[0].getAttribute('data-alarm');
  // Both answers are on their way before the first of them is let through.
  let waiting = 0;
  let open;
  const both = new Promise((resolve) => (open = resolve));
  for (const page of pages) {
    await page.route('**/alarms/acknowledge', async (route) => {
      if ((waiting += 1) === 2) open();
      await both;
      await route.continue();
    });
  }
  const [one, two] = await Promise.all(pages.map((page) => page.evaluate(answerAndWatch, id)));
  if (one.owner !== two.owner || !names.includes(one.owner)) throw new Error(`owners ${one.owner}, ${two.owner}`);
  for (const page of pages) await page.locator(`article[data-alarm="${id}"]`).getByText(`Acknowledged by ${one.owner}`).waitFor({ timeout: run.timeout });
  const apart_ms = Math.abs(one.shown_at_ms - two.shown_at_ms);
  if (apart_ms > APART_MS_MAX) throw new Error(`the second screen agreed ${apart_ms} ms after the first`);
  return { race_screens_apart_ms: apart_ms, race_answer_to_last_screen_ms: Math.max(one.shown_at_ms, two.shown_at_ms) - one.answered_at_ms };
}

/** Runs in the page: answers, and says when its screen first names the owner, on the clock that both browsers share. */
function answerAndWatch(id) {
  const shown = new Promise((resolve) => {
    const look = setInterval(() => {
      const alarm = globalThis.fieldpost.inspect().alarms.find((each) => each.id === id);
      if (alarm?.state !== 'acknowledged') return;
      clearInterval(look);
      resolve({ owner: alarm.acknowledged_by, shown_at_ms: Date.now(), answered_at_ms: alarm.acknowledged_at_ms });
    }, 5);
  });
  document.querySelector(`article[data-alarm="${id}"] .acknowledge`).click();
  return shown;
}
