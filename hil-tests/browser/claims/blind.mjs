// What the page says when it does not show everything, against the real gateway: a force system that refuses, the spool that fills up
// behind it (with what nobody can read, as that is quick), and the alarm that still comes. **Every word goes again when it is no longer so.**
import { atWork } from '../at_work.mjs';
import { ForceSystem } from '../force_system.mjs';
import { Gateway } from '../gateway.mjs';

const MIB = 1 << 20;
/** The smallest spool there is, and nothing is kept that a force system has. */
const SMALL = { '[spool]': `segment_bytes = ${2 * MIB}\nbytes_max = ${8 * MIB}\nreserve_bytes = ${MIB}\nretain_hours = 0` };
const UNITS = 24;
/** So many at once: of each commit one device gets a share. */
const NOISY = ['noise-1', 'noise-2', 'noise-3', 'noise-4'];

export async function blind(run, browser, sabotage, _gateway, binaries) {
  const system = await ForceSystem.start();
  const gateway = await Gateway.start(binaries, { keys: SMALL, more: system.output });
  gateway.muster(UNITS);
  for (const device of ['pc-0001', 'pc-0002']) gateway.order(`stay ${device}`);
  const page = await atWork(run, browser, await gateway.link('moss', 'operator'), sabotage);
  const said = (words) => page.locator('.banners').getByText(words);
  await run.claim('a_force_system_that_refuses_is_said_in_words', async () => {
    system.refuse(true);
    await said('Gateway degraded.').waitFor({ timeout: run.timeout });
    await said('a force system does not accept records').waitFor({ timeout: run.timeout });
    await run.picture(page, 'degraded-light');
  });
  await run.claim('a_full_spool_says_what_you_are_not_seeing_and_alarms_still_come', async () => {
    const noise = [];
    for (const device of NOISY) noise.push(await gateway.noise(device));
    await said('You are not seeing everything.').waitFor({ timeout: run.timeout });
    await said('New positions: the spool is full').waitFor({ timeout: run.timeout });
    gateway.order('press pc-0001');
    await run.until(page, (seen) => seen.alarms.some((alarm) => alarm.unit === 'sim/pc-0001'));
    await run.picture(page, 'blind-light');
    for (const each of noise) each.end();
  });
  await run.claim('the_words_go_when_everything_is_seen_again', async () => {
    system.refuse(false);
    await said('You are not seeing everything.').waitFor({ state: 'detached', timeout: run.timeout });
    await said('Gateway degraded.').waitFor({ state: 'detached', timeout: run.timeout });
    const { lon } = await page.evaluate(() => globalThis.fieldpost.inspect().units.find(({ id }) => id === 'sim/pc-0002'));
    await run.until(page, (seen, old) => seen.units.find(({ id }) => id === 'sim/pc-0002').lon !== old, lon);
  });
  await page.context().close();
  gateway.stop();
  system.stop();
}
