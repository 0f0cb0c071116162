// A force that asks why, sends what it has to a system of its own, and whose sessions end with the shift: against a real gateway
// whose wall clock can be turned.
import { live, open } from '../at_work.mjs';
import { FORCE, Gateway } from '../gateway.mjs';
import { PASSWORD } from '../force.mjs';
import { enterByKeyboard } from './keyboard.mjs';
import { inThemes } from './themes.mjs';

const UNIT = `${FORCE}/pc-0001`;
const PRESSED = `${FORCE}/pc-0002`;
const WHY = 'Control room, night shift';
/** Minutes after which a session ends that nobody uses; the clock is turned by less at once. */
const IDLE_MIN = 30;
const STEP_MIN = IDLE_MIN - 1;
/** Minutes of a shift of twelve hours: nearly over, and over. What passes by itself meanwhile comes on top. */
const [NEARLY_MIN, OVER_MIN] = [710, 725];
const VIEW = { viewport: { width: 1280, height: 720 } };
const KEYS = { '[[force]]': 'reason = "required"' };
const SINK = `[[forward.file]]
name = "archive"
path = "events.ndjson"
release = { forces = ["*"], classes = ["*"], fields = ["position"], precision_m = 100, marking = "official-sensitive" }`;

const why = (page) => page.getByRole('dialog', { name: 'Why do you look?' });
const ended = (page) => page.getByRole('dialog', { name: 'Your session has ended' });

export async function strict(run, browser, sabotage, _gateway, binaries) {
  const gateway = await Gateway.start(binaries, { keys: KEYS, more: SINK });
  gateway.muster(4);
  for (const device of ['pc-0001', 'pc-0002']) gateway.order(`stay ${device}`);
  const page = await open(run, browser, gateway.origin, sabotage, VIEW);
  const first = await gateway.person('frost', 'operator', 'Nils Frost');
  await enterByKeyboard(run, page, { origin: gateway.origin, name: 'frost', first, chosen: PASSWORD });
  // Until there is a reason, what asks for more is refused.
  await run.claim('nothing_is_shown_before_a_reason_is_given', () => run.expectingFaults(() => nothingBefore(run, gateway, page)));
  await run.claim('a_reason_by_keyboard_opens_the_room', async () => {
    await page.keyboard.type(WHY);
    await page.keyboard.press('Enter');
    await live(run, page);
  });
  await disclosures(run, browser, sabotage, gateway);
  await run.claim('duties_ask_an_administrator_why_and_are_shown_then', () => run.expectingFaults(() => duties(run, browser, sabotage, gateway)));
  await run.claim('a_session_ends_with_the_shift_and_misses_no_alarm', () => run.expectingFaults(() => shiftEnds(run, gateway, page)));
  await run.claim('a_browser_left_for_half_an_hour_is_logged_out', () => run.expectingFaults(() => left(run, gateway, page)));
  await page.context().close();
  gateway.stop();
}

async function nothingBefore(run, gateway, page) {
  await why(page).waitFor({ timeout: run.timeout });
  await page.keyboard.press('Escape');
  await why(page).waitFor({ timeout: run.timeout });
  const answer = await page.context().request.get(`${gateway.origin}/api/v1/units`);
  if (answer.status() !== 428) throw new Error(`the list of units answered ${answer.status()}`);
  const seen = await page.evaluate(() => ({ rows: document.querySelectorAll('[data-unit]').length, reads: globalThis.fieldpost?.inspect().reads ?? 0 }));
  if (seen.rows > 0 || seen.reads > 0) throw new Error(JSON.stringify(seen));
  await run.accessible(page);
  await run.picture(page, 'reason-light');
}

/** A data-protection officer, who is asked why like everybody: what became of a unit's records, and why others looked. */
async function disclosures(run, browser, sabotage, gateway) {
  const page = await open(run, browser, gateway.origin, sabotage);
  await run.expectingFaults(async () => {
    await page.goto(await gateway.link('the-officer', 'data_protection'), { timeout: run.timeout });
    await why(page).waitFor({ timeout: run.timeout });
  });
  await page.keyboard.type('Complaint 14');
  await page.keyboard.press('Enter');
  await why(page).waitFor({ state: 'detached', timeout: run.timeout });
  await page.getByRole('button', { name: 'Access log', exact: true }).press('Enter');
  await run.claim('whom_a_unit_was_disclosed_to_is_answered', async () => {
    await page.getByLabel('Question').selectOption('disclosed');
    await page.getByLabel('Unit, as force/device').focus();
    await page.keyboard.type(UNIT);
    await page.keyboard.press('Enter');
    const row = page.getByRole('table', { name: 'Disclosures' }).locator('tbody tr').first();
    for (const words of ['archive', 'position; within 100 m', 'Official sensitive']) await row.getByText(words).waitFor({ timeout: run.timeout });
    await page.getByText(/in an unbroken chain/).waitFor({ timeout: run.timeout });
  });
  await inThemes(run, page, 'disclosures');
  await run.claim('the_reason_stands_beside_the_look', async () => {
    await page.getByLabel('Question').selectOption('unit');
    await page.getByLabel('Unit, as force/device').press('Enter');
    const row = page.getByRole('table', { name: 'Looks' }).locator('tbody tr', { hasText: 'frost' }).first();
    await row.getByText(WHY).waitFor({ timeout: run.timeout });
  });
  await page.context().close();
}

/** An administrator makes accounts without a reason, and is asked for one where there are names of officers. */
async function duties(run, browser, sabotage, gateway) {
  const page = await open(run, browser, gateway.origin, sabotage);
  await page.goto(await gateway.link('the-administrator', 'administrator'), { timeout: run.timeout });
  // Duties come first for those without a picture of units.
  await page.getByRole('heading', { name: 'Duties' }).waitFor({ timeout: run.timeout });
  await why(page).waitFor({ timeout: run.timeout });
  await page.keyboard.type('New roster');
  await page.keyboard.press('Enter');
  await page.getByText('Nothing is said of anybody for now.').waitFor({ timeout: run.timeout });
  if ((await page.getByRole('alert').filter({ hasText: 'Not shown' }).count()) > 0) throw new Error('the refusal is still there');
  await page.context().close();
}

/** Turned so that only the shift's limit can end the session: it is used within every half hour, and lives at 11 h 50. */
async function shiftEnds(run, gateway, page) {
  for (let at_min = 0; at_min < NEARLY_MIN;) {
    at_min = Math.min(at_min + STEP_MIN, NEARLY_MIN);
    gateway.turnClock(`+${at_min}m`);
    const answer = await page.context().request.get(`${gateway.origin}/api/v1/session`);
    if (answer.status() !== 200) throw new Error(`${at_min} minutes into the shift the session answered ${answer.status()}`);
  }
  if (await ended(page).isVisible()) throw new Error('the page says that its session has ended, and it has not');
  gateway.turnClock(`+${OVER_MIN}m`);
  await ended(page).waitFor({ timeout: run.timeout });
  gateway.order(`press pc-0002`);
  await ended(page).getByLabel('Password').fill(PASSWORD);
  await ended(page).getByRole('button', { name: 'Log in' }).click();
  // A new session is asked again.
  await why(page).waitFor({ timeout: run.timeout });
  await page.keyboard.type(WHY);
  await page.keyboard.press('Enter');
  await run.until(page, (seen, unit) => seen.alarms.some((alarm) => alarm.unit === unit && alarm.state === 'unacknowledged'), PRESSED);
}

async function left(run, gateway, page) {
  await page.goto('about:blank', { timeout: run.timeout });
  gateway.turnClock(`+${OVER_MIN + IDLE_MIN + 1}m`);
  await page.goto(gateway.origin, { timeout: run.timeout });
  await page.getByRole('heading', { name: 'Log in' }).waitFor({ timeout: run.timeout });
}
