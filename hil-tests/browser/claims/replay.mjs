// The past on a slider, gaps, and a live alarm that breaks through.
import { StandIn } from '../stand_in.mjs';
import { atWork } from '../at_work.mjs';

export async function replays(run, browser, sabotage) {
  const gateway = await StandIn.start('--units', '40');
  const page = await atWork(run, browser, gateway.link, sabotage, { colorScheme: 'dark' });
  const choose = async (callsign) => {
    await page.keyboard.press('/');
    await page.locator('#unit-search').fill(callsign);
    await page.keyboard.press('Enter');
    await page.keyboard.press('Escape');
  };
  await run.claim('lost_records_are_drawn_as_a_gap', async () => {
    await choose('PC 0003');
    await run.until(page, (seen) => seen.trail.gaps === 1 && seen.trail.lines >= 2);
    await page.locator('#timeline rect.gap').waitFor({ timeout: run.timeout });
    await run.picture(page, 'gap-dark');
  });
  await run.claim('the_backlog_is_drawn_as_history', async () => {
    await choose('PC 0004');
    await run.until(page, (seen) => seen.trail.backlog >= 1);
    await page.locator('#timeline rect.backlog').waitFor({ timeout: run.timeout });
  });
  await run.claim('a_replay_is_marked_and_moves_by_key', async () => {
    await page.keyboard.press('r');
    await run.until(page, (seen) => seen.replay.active && seen.replay.loaded === 1 && seen.replay.units === 40);
    const slider = page.getByRole('slider', { name: 'Moment of the past' });
    await slider.focus();
    const places = () => page.evaluate(() => Object.fromEntries(globalThis.fieldpost.inspect().units.map(({ id, lon }) => [id, lon])));
    const before = await places();
    for (let press = 0; press < 6; press += 1) await page.keyboard.press('PageUp');
    await run.until(page, (seen, old) => seen.units.filter(({ id, lon }) => lon !== old[id]).length > 20, before);
    await page.getByText('this is the past').waitFor({ timeout: run.timeout });
  });
  await run.claim('a_live_alarm_breaks_through_a_replay', async () => {
    await gateway.tell('alarm');
    await page.getByText('LIVE ALARM').waitFor({ timeout: run.timeout });
    await page.locator('article[data-state="unacknowledged"]').waitFor({ timeout: run.timeout });
    await run.until(page, (seen) => seen.tones.P1 > 0 && seen.replay.active);
    await run.picture(page, 'replay-dark');
    await page.getByRole('button', { name: /LIVE ALARM/ }).click();
    await run.until(page, (seen) => !seen.replay.active && seen.chosen === seen.alarms[0]?.id);
  });
  await page.context().close();
  gateway.stop();
}
