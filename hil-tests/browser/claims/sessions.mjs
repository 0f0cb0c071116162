// Sessions that end, against the real gateway: ended by an administrator, forged, stale, and gone with a killed gateway.
// **Whatever happened meanwhile is on the screen after the return.**
import { atWork, live, open } from '../at_work.mjs';
import { PASSWORD } from '../force.mjs';
import { StandIn } from '../stand_in.mjs';
import { logInByKeyboard } from './keyboard.mjs';
import { Wire } from '../wire.mjs';

/** Less to draw in software. */
const VIEW = { viewport: { width: 1280, height: 720 } };

const waits = (run, page, unit) =>
  run.until(page, (seen, wanted) => seen.alarms.some((alarm) => alarm.unit === wanted && alarm.state === 'unacknowledged'), unit);
const ended = (page) => page.getByRole('dialog', { name: 'Your session has ended' });

export async function sessions(run, browser, sabotage, gateway) {
  const page = await open(run, browser, gateway.origin, sabotage, VIEW);
  const first = await gateway.person('osei', 'operator', 'Kofi Osei');
  await logInByKeyboard(run, page, { origin: gateway.origin, name: 'osei', first, chosen: PASSWORD });
  await run.claim('a_session_that_was_ended_misses_no_alarm', () => run.expectingFaults(() => endedByOthers(run, gateway, page)));
  await run.claim('a_forged_cookie_opens_nothing', () => run.expectingFaults(() => forged(run, gateway, page)));
  await run.claim('a_stale_cookie_opens_nothing', () => run.expectingFaults(() => stale(run, gateway, page)));
  await run.claim('a_cut_connection_goes_on_without_reading_everything_again', () => run.expectingFaults(() => cut(run, browser, sabotage, gateway)));
  await run.claim('a_killed_gateway_comes_back_without_a_missed_alarm', () => run.expectingFaults(() => killed(run, gateway, page)));
  await page.context().close();
  await run.claim('silence_is_said_and_ends_by_itself', () => run.expectingFaults(() => silence(run, browser, sabotage)));
}

async function endedByOthers(run, gateway, page) {
  const next = (await gateway.about('people', 'passwd', 'osei')).split(/\s+/).at(-1);
  await ended(page).waitFor({ timeout: run.timeout });
  await run.picture(page, 'session-ended-light');
  gateway.order('press pc-0007');
  await logIn(run, page, 'wrong');
  await ended(page).getByText('Name or password is wrong.').waitFor({ timeout: run.timeout });
  await logIn(run, page, next);
  const choose = page.getByRole('dialog', { name: 'Choose a password' });
  await choose.waitFor({ timeout: run.timeout });
  await choose.getByLabel('Password', { exact: true }).fill(next);
  await choose.getByLabel('New password').fill(PASSWORD);
  await choose.getByRole('button', { name: 'Choose' }).click();
  await waits(run, page, 'sim/pc-0007');
}

async function forged(run, gateway, page) {
  const context = page.context();
  const [cookie] = await context.cookies();
  const other = cookie.value.at(-2) === 'A' ? 'B' : 'A';
  await context.addCookies([{ ...cookie, value: `${cookie.value.slice(0, -2)}${other}${cookie.value.at(-1)}` }]);
  await isShownTheLoginPage(run, gateway, page);
  await context.addCookies([cookie]);
  await page.goto(gateway.origin, { timeout: run.timeout });
  await live(run, page);
}

async function stale(run, gateway, page) {
  const context = page.context();
  const [cookie] = await context.cookies();
  await page.getByRole('button', { name: 'Log out' }).click();
  await ended(page).waitFor({ timeout: run.timeout });
  // What the browser forgot, a thief has kept.
  await context.addCookies([cookie]);
  await isShownTheLoginPage(run, gateway, page);
  await page.getByLabel('Name').fill('osei');
  await page.getByLabel('Password').fill(PASSWORD);
  await page.keyboard.press('Enter');
  await live(run, page);
}

/** The network is gone, and an alarm falls into that time. */
async function cut(run, browser, sabotage, gateway) {
  const wire = await Wire.to(gateway.origin);
  const link = (await gateway.link('lind', 'operator')).replace(gateway.origin, wire.origin);
  const page = await atWork(run, browser, link, sabotage, VIEW);
  const { reads } = await page.evaluate(() => globalThis.fieldpost.inspect());
  wire.cut();
  await page.getByText('Connection lost.').waitFor({ timeout: run.timeout });
  await run.picture(page, 'connection-lost-light');
  gateway.order('press pc-0009');
  wire.mend();
  await waits(run, page, 'sim/pc-0009');
  await run.until(page, (seen) => seen.connection === 'live');
  const after = await page.evaluate(() => globalThis.fieldpost.inspect());
  if (after.reads !== reads) throw new Error(`everything was read again: ${after.reads} reads, ${reads} before`);
  await page.context().close();
  wire.stop();
}

async function killed(run, gateway, page) {
  await gateway.kill();
  await page.getByText('Connection lost.').waitFor({ timeout: run.timeout });
  // The device keeps the alarm until somebody stores it.
  gateway.order('press pc-0008');
  await gateway.run();
  await ended(page).waitFor({ timeout: run.timeout });
  await logIn(run, page, PASSWORD);
  await waits(run, page, 'sim/pc-0008');
  // What waited before the kill waits after it.
  await waits(run, page, 'sim/pc-0007');
}

async function logIn(run, page, password) {
  await ended(page).getByLabel('Password').fill(password);
  await ended(page).getByRole('button', { name: 'Log in' }).click();
}

async function isShownTheLoginPage(run, gateway, page) {
  const answer = await page.context().request.get(`${gateway.origin}/api/v1/units`);
  if (answer.status() !== 401) throw new Error(`the list of units answered ${answer.status()}`);
  await page.goto(gateway.origin, { timeout: run.timeout });
  await page.getByRole('heading', { name: 'Log in' }).waitFor({ timeout: run.timeout });
}

/** A gateway that is there and says nothing cannot be had on demand: the stand-in. */
async function silence(run, browser, sabotage) {
  const gateway = await StandIn.start('--units', '24');
  const page = await atWork(run, browser, gateway.link, sabotage, VIEW);
  await gateway.tell('mute');
  await page.getByText('Connection lost.').waitFor({ timeout: run.timeout });
  await gateway.tell('alarm');
  await gateway.tell('mute');
  await run.until(page, (seen) => seen.connection === 'live' && seen.alarms.length === 1);
  await page.context().close();
  gateway.stop();
}
