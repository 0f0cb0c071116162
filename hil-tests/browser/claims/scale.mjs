// 10,000 devices over mutual TLS before the real gateway, and two browsers before its page: what the news cost, and that a browser
// behind a thin wire makes nobody else wait. Minutes long: `--only scale --timeout-s 900`.
import { atWork } from '../at_work.mjs';
import { Gateway } from '../gateway.mjs';
import { Wire } from '../wire.mjs';
import { bounded, costs, keyToChoice } from './load.mjs';

const UNITS = 10_000;
/** So many have a place on the map at once: some are out of radio reach, some have not come on duty. */
const PLACED_MIN = 9_000;
const INTERVAL_S = 20;
const SECONDS = 20;
/** A tenth of what the news of so many units take. */
const THIN_BYTES_PER_S = 20_000;
/** Presses of which the median counts. */
const PRESSES = 5;
/** What a slow browser may cost the alarm of another: the page's own drawing on a busy machine varies by as much. */
const DELAY_MS_MAX = 1_500;

export async function scale(run, browser, sabotage, _gateway, binaries) {
  const gateway = await Gateway.start(binaries);
  gateway.muster(UNITS, INTERVAL_S);
  const page = await atWork(run, browser, await gateway.link('moss', 'operator'), sabotage);
  await run.until(page, (seen, count) => seen.units.length >= count, PLACED_MIN);
  const figures = await run.claim('ten_thousand_real_devices_leave_the_page_usable', async () => {
    // Without a roster a unit is called by its device.
    const device = await page.evaluate(() => globalThis.fieldpost.inspect().units.at(-1).id.split('/')[1]);
    const seen = { ...(await costs(run, page, SECONDS)), key_to_choice_ms: await keyToChoice(run, page, device, device) };
    console.error(JSON.stringify(seen));
    bounded(seen);
    return { units: UNITS, ...seen };
  });
  await run.picture(page, 'scale-light');
  const alone_ms = await pressed(run, gateway, page, 1);
  const wire = await Wire.to(gateway.origin);
  const link = (await gateway.link('slow', 'operator')).replace(gateway.origin, wire.origin);
  const slow = await atWork(run, browser, link, sabotage);
  const delays = await run.claim('a_slow_browser_is_told_that_it_lagged_and_nobody_waits_for_it', () =>
    run.expectingFaults(async () => {
      const told = await toldToLag(slow);
      const began = performance.now();
      wire.thin(THIN_BYTES_PER_S);
      await until(run, async () => (await gateway.counted('fieldpost_live_pages_lagged_total')) > 0);
      const lagged_after_s = Math.round((performance.now() - began) / 1_000);
      const beside_ms = await pressed(run, gateway, page, PRESSES + 1);
      if (beside_ms > alone_ms + DELAY_MS_MAX) throw new Error(`an alarm took ${beside_ms} ms, and ${alone_ms} ms before`);
      wire.thin(Infinity);
      await told.anyTime;
      const unit = `sim/pc-${String(2 * PRESSES).padStart(4, '0')}`;
      await run.until(slow, (seen, wanted) => seen.connection === 'live' && seen.alarms.some((alarm) => alarm.unit === wanted), unit);
      return { thin_bytes_per_s: THIN_BYTES_PER_S, lagged_after_s, alarm_alone_ms: alone_ms, alarm_beside_a_slow_browser_ms: beside_ms };
    }),
  );
  await Promise.all([page, slow].map((each) => each.context().close()));
  wire.stop();
  gateway.stop();
  return { ...figures, ...delays };
}

/** Presses one button after the other; the median from the order to the screen, up to a second of it the simulator's. */
async function pressed(run, gateway, page, first) {
  const took = [];
  for (let number = first; number < first + PRESSES; number += 1) {
    const device = `pc-${String(number).padStart(4, '0')}`;
    gateway.order(`stay ${device}`);
    const began = performance.now();
    gateway.order(`press ${device}`);
    await run.until(page, (seen, unit) => seen.alarms.some((alarm) => alarm.unit === unit), `sim/${device}`);
    took.push(Math.round(performance.now() - began));
  }
  return took.sort((one, two) => one - two)[(PRESSES - 1) / 2];
}

/** Resolves once the page was told that it lagged: behind a thin wire that is long after the gateway said so. */
async function toldToLag(page) {
  const cdp = await page.context().newCDPSession(page);
  const anyTime = new Promise((resolve) => cdp.on('Network.eventSourceMessageReceived', ({ eventName }) => eventName === 'lagged' && resolve()));
  await cdp.send('Network.enable');
  return { anyTime };
}

/** Asks ten times a second until it is so. */
async function until(run, isSo) {
  const end = performance.now() + run.timeout;
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error('it did not come to that');
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
