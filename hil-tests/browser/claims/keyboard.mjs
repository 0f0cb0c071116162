// A whole shift without a mouse.
import { StandIn } from '../stand_in.mjs';

/** Sets up a page on a stand-in; the mouse is counted, so that a claim can say it was not used. */
export async function atWork(run, browser, gateway, sabotage, operator = 'demo', options = {}) {
  const page = await run.open(browser, gateway.origin, options);
  await sabotage?.(page);
  await page.addInitScript(() => {
    globalThis.pointers = 0;
    addEventListener('pointerdown', () => (globalThis.pointers += 1), true);
  });
  await page.goto(gateway.linkFor(operator), { timeout: run.timeout });
  await run.until(page, (seen) => seen.connection === 'live' && seen.units.length > 0 && seen.reads > 0);
  await run.settle(page);
  return page;
}

const stateOf = (run, page, state) => run.until(page, (seen, want) => seen.alarms.find((each) => each.id === seen.chosen)?.state === want, state);

export async function byKeyboard(run, browser, sabotage) {
  const gateway = await StandIn.start('--units', '40');
  const page = await atWork(run, browser, gateway, sabotage);
  const { keyboard } = page;
  const chosen = () => page.locator('article[aria-current="true"]');

  await run.claim('slash_finds_a_unit_and_enter_chooses_it', async () => {
    await keyboard.press('/');
    await keyboard.type('RV 0003');
    await keyboard.press('Enter');
    await run.until(page, (seen) => seen.selected?.endsWith('rv-0003') && seen.map.zoom > 15);
    await keyboard.press('ArrowDown');
    await page.locator('[data-unit]:focus').waitFor({ timeout: run.timeout });
  });
  await run.claim('z_shows_the_area_and_comes_back', async () => {
    await keyboard.press('z');
    await run.until(page, (seen) => seen.map.zoom < 15);
    await keyboard.press('z');
    await run.until(page, (seen) => seen.map.zoom > 15);
    await keyboard.press('Escape');
    await run.until(page, (seen) => seen.selected === null);
  });
  await run.picture(page, 'calm-light');

  await gateway.tell('alarm check_in');
  await gateway.tell('alarm');
  await run.until(page, (seen) => seen.alarms.length === 2);
  await run.claim('a_never_answers_what_was_not_chosen', async () => {
    await keyboard.press('a');
    await run.until(page, (seen) => seen.chosen !== null);
    const seen = await page.evaluate(() => globalThis.fieldpost.inspect());
    if (seen.alarms.some((alarm) => alarm.state !== 'unacknowledged')) throw new Error('it answered');
    if (seen.alarms.find((alarm) => alarm.id === seen.chosen)?.grade !== 'P1') throw new Error('the gravest was not first');
  });
  await run.claim('the_banner_and_f_fly_to_the_unit', async () => {
    await keyboard.press('f');
    await run.until(page, (seen) => seen.map.zoom > 15);
  });
  const tones = () => page.evaluate(() => globalThis.fieldpost.inspect().tones);
  await keyboard.press('m');
  const muted = await tones();
  await run.claim('p1_sounds_although_muted', () => run.until(page, (seen, old) => seen.tones.P1 > old, muted.P1));
  await run.picture(page, 'alarm-light');
  await run.claim('an_emergency_comes_back_confirmed', async () => {
    await keyboard.press('a');
    await stateOf(run, page, 'acknowledged');
    await run.until(page, (seen) => seen.alarms.find((each) => each.id === seen.chosen)?.wearer?.confirmed_ms > 0);
    await chosen().getByText(/told \d\d:\d\d:\d\d, confirmed \d\d:\d\d:\d\d/).waitFor({ timeout: run.timeout });
  });
  await run.claim('muted_tones_stay_silent', async () => {
    if ((await tones()).P3 !== muted.P3) throw new Error('a muted P3 sounded');
    await keyboard.press('m');
    await run.until(page, (seen, old) => seen.tones.P3 > old, muted.P3);
  });
  await run.claim('a_note_is_written_and_told', async () => {
    await keyboard.press('t');
    await page.locator('dialog textarea').waitFor({ timeout: run.timeout });
    await keyboard.press('Tab');
    await page.locator('dialog textarea').focus();
    await keyboard.type('Welfare check under way');
    await keyboard.press('Tab');
    await keyboard.press('Tab');
    await keyboard.press('Enter');
    await page.locator('#timeline').getByText('Note: Welfare check under way').waitFor({ timeout: run.timeout });
  });
  await run.claim('c_closes_with_an_outcome', async () => {
    await keyboard.press('c');
    await page.locator('dialog input[value="genuine"]').focus({ timeout: run.timeout });
    await keyboard.press('Space');
    await keyboard.press('Enter');
    await run.until(page, (seen) => seen.alarms.length === 1);
  });
  await run.claim('s_shelves_what_is_no_p1_with_a_reason', async () => {
    await keyboard.press('n');
    await run.until(page, (seen) => seen.chosen !== null && seen.alarms[0]?.id === seen.chosen);
    await keyboard.press('s');
    await page.locator('dialog textarea').focus({ timeout: run.timeout });
    await keyboard.type('Sergeant is with them');
    await keyboard.press('Tab');
    await keyboard.press('Tab');
    await keyboard.press('Enter');
    await stateOf(run, page, 'shelved');
    await chosen().getByText('Sergeant is with them').waitFor({ timeout: run.timeout });
  });
  await run.claim('question_mark_explains_every_key', async () => {
    await keyboard.press('?');
    await page.getByRole('dialog', { name: 'Keys' }).waitFor({ timeout: run.timeout });
    await run.picture(page, 'help-light');
    await keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached', timeout: run.timeout });
  });
  await run.claim('k_locks_and_a_password_unlocks', async () => {
    await keyboard.press('k');
    await page.locator('dialog input[type="password"]').focus({ timeout: run.timeout });
    await keyboard.type('correct horse');
    await keyboard.press('Enter');
    await page.getByRole('dialog').waitFor({ state: 'detached', timeout: run.timeout });
  });
  await run.claim('no_mouse_was_used', async () => {
    if ((await page.evaluate(() => globalThis.pointers)) !== 0) throw new Error('a pointer went down');
  });
  await page.context().close();
  gateway.stop();
}
