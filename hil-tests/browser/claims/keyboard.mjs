// A whole shift without a mouse, against the real gateway: from the login page to the log-out, with a real button pressed
// on a device over mutual TLS and its wearer's confirmation back on the screen.
import { open, live } from '../at_work.mjs';
import { PASSWORD, UNITS } from '../force.mjs';

const stateOf = (run, page, state) => run.until(page, (seen, want) => seen.alarms.find((each) => each.id === seen.chosen)?.state === want, state);
const gone = (run, page) => page.getByRole('dialog').waitFor({ state: 'detached', timeout: run.timeout });

/** `n` until an alarm of this unit is chosen; a queue is never longer than the force. */
async function nextUntil(page, unit) {
  for (let pressed = 0; pressed < UNITS; pressed += 1) {
    await page.keyboard.press('n');
    const seen = await page.evaluate(() => globalThis.fieldpost.inspect());
    if (seen.alarms.find(({ id }) => id === seen.chosen)?.unit === unit) return;
  }
  throw new Error(`no alarm of ${unit} in the queue`);
}

/** From the login page into the room: a first password, another chosen. All typed. */
export async function logInByKeyboard(run, page, who) {
  await enterByKeyboard(run, page, who);
  await live(run, page);
}

/** The same, and what is behind it may still be closed. */
export async function enterByKeyboard(run, page, { origin, name, first, chosen }) {
  const { keyboard } = page;
  await page.goto(`${origin}/login`, { timeout: run.timeout });
  // The name has the focus, as soon as the browser has drawn the page.
  await page.locator('input[name="name"]:focus').waitFor({ timeout: run.timeout });
  await keyboard.type(name);
  await keyboard.press('Tab');
  await keyboard.type(first);
  await keyboard.press('Enter');
  await page.getByRole('dialog', { name: 'Choose a password' }).waitFor({ timeout: run.timeout });
  await keyboard.type(first);
  await keyboard.press('Tab');
  await keyboard.type(chosen);
  await keyboard.press('Enter');
}

export async function byKeyboard(run, browser, sabotage, gateway) {
  const page = await open(run, browser, gateway.origin, sabotage);
  const { keyboard } = page;
  const chosen = () => page.locator('article[aria-current="true"]');

  await run.claim('a_shift_begins_at_the_login_page_by_keyboard', async () => {
    const first = await gateway.person('kaur', 'supervisor', 'Priya Kaur');
    await logInByKeyboard(run, page, { origin: gateway.origin, name: 'kaur', first, chosen: PASSWORD });
    await page.locator('#units .count', { hasText: new RegExp(`^\\s*${UNITS}\\s*$`) }).waitFor({ timeout: run.timeout });
  });
  await run.claim('slash_finds_a_unit_and_enter_chooses_it', async () => {
    await keyboard.press('/');
    await keyboard.type('PC 2203');
    await keyboard.press('Enter');
    await run.until(page, (seen) => seen.selected === 'sim/pc-0003' && seen.map.zoom > 15);
    await keyboard.press('ArrowDown');
    await page.locator('[data-unit]:focus').waitFor({ timeout: run.timeout });
  });
  // It lies still for three seconds, has five to say that all is well, and is known to be down after that.
  gateway.order('fall pc-0004');
  await run.claim('z_shows_the_area_and_comes_back', async () => {
    await keyboard.press('z');
    await run.until(page, (seen) => seen.map.zoom < 15);
    await keyboard.press('z');
    await run.until(page, (seen) => seen.map.zoom > 15);
    await keyboard.press('Escape');
    await run.until(page, (seen) => seen.selected === null);
  });

  gateway.order('press pc-0003');
  // Others may draw a weapon meanwhile, as they do: claims name their alarm.
  await run.until(page, (seen) => ['sim/pc-0003', 'sim/pc-0004'].every((unit) => seen.alarms.some((alarm) => alarm.unit === unit)));
  await run.claim('a_never_answers_what_was_not_chosen', async () => {
    await keyboard.press('a');
    await run.until(page, (seen) => seen.chosen !== null);
    const seen = await page.evaluate(() => globalThis.fieldpost.inspect());
    if (seen.alarms.some((alarm) => alarm.state !== 'unacknowledged')) throw new Error('it answered');
    if (seen.alarms.find((alarm) => alarm.id === seen.chosen)?.unit !== 'sim/pc-0003') throw new Error('the gravest was not first');
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
  await run.claim('an_emergency_comes_back_confirmed_by_the_device', async () => {
    await keyboard.press('a');
    await stateOf(run, page, 'acknowledged');
    await run.until(page, (seen) => seen.alarms.find((each) => each.id === seen.chosen)?.wearer?.confirmed_ms > 0);
    await chosen().getByText(/told \d\d:\d\d:\d\d, confirmed \d\d:\d\d:\d\d/).waitFor({ timeout: run.timeout });
    await run.picture(page, 'acknowledged-light');
  });
  await run.claim('muted_tones_stay_silent', async () => {
    if ((await tones()).P2 !== muted.P2) throw new Error('a muted P2 sounded');
    await keyboard.press('m');
    await run.until(page, (seen, old) => seen.tones.P2 > old, muted.P2);
  });
  await run.claim('a_note_is_written_and_told', async () => {
    await keyboard.press('t');
    await page.locator('dialog textarea').waitFor({ timeout: run.timeout });
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
    await run.until(page, (seen) => !seen.alarms.some((alarm) => alarm.unit === 'sim/pc-0003'));
  });
  await run.claim('s_shelves_what_is_no_p1_with_a_reason', async () => {
    await nextUntil(page, 'sim/pc-0004');
    await keyboard.press('s');
    await page.locator('dialog textarea').focus({ timeout: run.timeout });
    if ((await page.locator('dialog textarea').inputValue()) !== '') throw new Error('an earlier note is still in the form');
    await keyboard.type('Sergeant is with them');
    await keyboard.press('Tab');
    await keyboard.press('Tab');
    await keyboard.press('Enter');
    await stateOf(run, page, 'shelved');
    await chosen().getByText('Sergeant is with them').waitFor({ timeout: run.timeout });
    gateway.order('rise pc-0004');
  });
  await run.claim('r_replays_and_l_is_live_again', async () => {
    await keyboard.press('r');
    await run.until(page, (seen) => seen.replay.active && seen.replay.loaded === 1);
    await keyboard.press('l');
    await run.until(page, (seen) => !seen.replay.active);
  });
  await run.claim('g_shows_how_alarms_are_answered', async () => {
    await keyboard.press('g');
    await page.getByText('Load by EEMUA 191').waitFor({ timeout: run.timeout });
    await run.picture(page, 'performance-light');
    await keyboard.press('g');
  });
  await run.claim('question_mark_explains_every_key', async () => {
    await keyboard.press('?');
    await page.getByRole('dialog', { name: 'Keys' }).waitFor({ timeout: run.timeout });
    await run.picture(page, 'help-light');
    await keyboard.press('Escape');
    await gone(run, page);
  });
  await run.claim('k_locks_and_a_password_unlocks', async () => {
    await keyboard.press('k');
    await page.locator('dialog input[type="password"]').focus({ timeout: run.timeout });
    await keyboard.type(PASSWORD);
    await keyboard.press('Enter');
    await gone(run, page);
  });
  await run.claim('no_mouse_was_used', async () => {
    if ((await page.evaluate(() => globalThis.pointers)) !== 0) throw new Error('a pointer went down');
  });
  await page.context().close();
}
