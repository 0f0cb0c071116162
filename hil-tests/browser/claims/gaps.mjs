// Gaps and backlog on the map and on the axis, against the real gateway: a device out of reach keeps what it records, one whose store
// overflows meanwhile says what it lost. **No line is drawn over what is lost; what came late is dashed.**
import { atWork } from '../at_work.mjs';

/** Out of reach, and what it lost is declared. */
const LOSSY = { device: 'pc-0016', callsign: 'PC 2216' };
/** Out of reach, and all of it comes later. */
const LATE = { device: 'pc-0017', callsign: 'PC 2217' };

export async function gaps(run, browser, sabotage, gateway) {
  const page = await atWork(run, browser, await gateway.link('lind', 'operator'), sabotage, { colorScheme: 'dark' });
  const row = ({ device }) => page.locator(`[data-unit="sim/${device}"]`);
  const choose = async ({ callsign, device }) => {
    await page.keyboard.press('/');
    await page.locator('#unit-search').fill(callsign);
    await page.keyboard.press('Enter');
    await run.until(page, (seen, unit) => seen.selected === unit, `sim/${device}`);
  };
  await run.until(page, (seen, units) => units.every((wanted) => seen.units.some(({ id }) => id === wanted)), [LOSSY, LATE].map(({ device }) => `sim/${device}`));
  for (const { device } of [LOSSY, LATE]) gateway.order(`hide ${device}`);
  await choose(LOSSY);
  await run.claim('a_device_out_of_reach_is_said_to_be', async () => {
    await row(LOSSY).getByText('Not connected').waitFor({ timeout: run.timeout });
    await row(LOSSY).locator('.age', { hasText: /[4-9] s|\d\d s|min/ }).waitFor({ timeout: run.timeout });
  });
  gateway.order(`rattle ${LOSSY.device}`);
  await run.claim('what_a_device_lost_is_drawn_as_a_gap', async () => {
    await row(LOSSY).locator('.age', { hasText: /\d\d s|min/ }).waitFor({ timeout: run.timeout });
    gateway.order(`stay ${LOSSY.device}`);
    await row(LOSSY).getByText('Gap', { exact: true }).waitFor({ timeout: run.timeout });
    // It was chosen before: the trail follows what becomes known.
    await run.until(page, (seen) => seen.trail.gaps >= 1);
    await page.locator('#timeline rect.gap').first().waitFor({ timeout: run.timeout });
    await run.picture(page, 'gap-real-dark');
  });
  await run.claim('what_came_late_is_drawn_as_backlog_and_closes_its_gap', async () => {
    await choose(LATE);
    gateway.order(`stay ${LATE.device}`);
    await run.until(page, (seen) => seen.trail.backlog >= 1 && seen.trail.gaps === 0);
    await page.locator('#timeline rect.backlog').first().waitFor({ timeout: run.timeout });
  });
  await page.context().close();
}
