// The pages of supervisor, administrator and data-protection officer, against the real gateway: each sees what is theirs, works
// it by keyboard, and the gateway does what the page says.
import { live, open } from '../at_work.mjs';
import { FORCE } from '../gateway.mjs';
import { HOSTILE } from '../force.mjs';
import { staysText } from './hostile.mjs';
import { inThemes } from './themes.mjs';

const UNIT = `${FORCE}/pc-0013`;

export async function pages(run, browser, sabotage, gateway) {
  await duties(run, browser, sabotage, gateway);
  await people(run, browser, sabotage, gateway);
  await access(run, browser, sabotage, gateway);
}

/** Comes by a link with one role and opens a page by keyboard. */
async function come(run, browser, sabotage, { gateway, role, words, is_live = false }) {
  const page = await open(run, browser, gateway.origin, sabotage);
  await page.goto(await gateway.link(`the-${role.replace('_', '-')}`, role), { timeout: run.timeout });
  if (is_live) await live(run, page);
  await page.getByRole('button', { name: words, exact: true }).press('Enter');
  await page.getByRole('heading', { name: words }).waitFor({ timeout: run.timeout });
  return page;
}

const done = async (run, page) => {
  if ((await page.evaluate(() => globalThis.pointers)) !== 0) throw new Error('a pointer went down');
  await page.context().close();
};

async function duties(run, browser, sabotage, gateway) {
  const page = await come(run, browser, sabotage, { gateway, role: 'supervisor', words: 'Duties', is_live: true });
  await run.claim('a_supervisor_says_who_wears_a_device_and_the_room_knows', async () => {
    for (const [label, text] of [['Device, as force/device', UNIT], ['Officer', 'PS Adeyemi'], ['Callsign', 'OSCAR 1'], ['Vehicle', 'RV 12'], ['Role', 'Sergeant']]) {
      await page.locator('.box').getByLabel(label, { exact: true }).focus();
      await page.keyboard.type(text);
    }
    await page.keyboard.press('Enter');
    await page.locator(`[data-duty="${UNIT}"]`, { hasText: 'PS Adeyemi' }).waitFor({ timeout: run.timeout });
    await page.locator(`[data-unit="${UNIT}"]`, { hasText: 'OSCAR 1' }).waitFor({ timeout: run.timeout });
  });
  await inThemes(run, page, 'duties');
  await page.keyboard.press('Escape');
  await page.keyboard.press('Escape');
  // For the access log, below.
  await page.keyboard.press('r');
  await run.until(page, (seen) => seen.replay.active && seen.replay.loaded === 1);
  await done(run, page);
}

async function people(run, browser, sabotage, gateway) {
  const page = await come(run, browser, sabotage, { gateway, role: 'administrator', words: 'People' });
  const row = page.locator('[data-person="hart"]');
  let first = null;
  await run.claim('an_administrator_adds_a_person_who_can_log_in', async () => {
    await page.getByRole('button', { name: 'Add a person' }).press('Enter');
    await page.getByLabel('Name, as they log in').focus();
    await page.keyboard.type('hart');
    await page.keyboard.press('Tab');
    await page.keyboard.type(HOSTILE.full_name);
    await page.keyboard.press('Enter');
    await row.waitFor({ timeout: run.timeout });
    first = await page.locator('.said code').innerText();
    await staysText(page, [HOSTILE.full_name]);
    const answer = await enter(gateway, page, first);
    if (answer !== 204) throw new Error(`the login answered ${answer}`);
  });
  await run.claim('other_roles_and_disabling_hold_at_once', async () => {
    await row.getByRole('button', { name: 'Roles of hart' }).press('Enter');
    await page.getByRole('checkbox', { name: 'Supervisor' }).press('Space');
    await page.getByRole('button', { name: 'Give these' }).press('Enter');
    await row.getByText('Operator, Supervisor').waitFor({ timeout: run.timeout });
    await row.getByRole('button', { name: 'Disable hart' }).press('Enter');
    await row.getByText('Disabled').waitFor({ timeout: run.timeout });
    const answer = await enter(gateway, page, first);
    if (answer !== 401) throw new Error(`a disabled account was answered ${answer}`);
    await row.getByRole('button', { name: 'Enable hart' }).press('Enter');
    await row.getByRole('button', { name: 'Disable hart' }).waitFor({ timeout: run.timeout });
  });
  await run.claim('who_makes_accounts_sees_no_unit_and_no_alarm', async () => {
    if ((await page.locator('#units, #alarms, .map').count()) > 0) throw new Error('there is more than accounts');
  });
  await inThemes(run, page, 'people');
  await page.getByRole('button', { name: 'Add a person' }).press('Enter');
  await run.claim('accessible_person_form', () => run.accessible(page));
  await done(run, page);
}

async function access(run, browser, sabotage, gateway) {
  const page = await come(run, browser, sabotage, { gateway, role: 'data_protection', words: 'Access log' });
  await run.claim('who_saw_a_unit_and_what_exactly_is_answered', async () => {
    await page.getByLabel('Unit, as force/device').focus();
    await page.keyboard.type(UNIT);
    await page.keyboard.press('Enter');
    await page.locator('td', { hasText: 'the-supervisor' }).first().waitFor({ timeout: run.timeout });
    await page.getByText(/in an unbroken chain/).waitFor({ timeout: run.timeout });
    await page.locator('summary').first().press('Enter');
    await page.locator('details li').first().waitFor({ timeout: run.timeout });
  });
  await inThemes(run, page, 'access-log');
  await run.claim('a_replay_is_on_record_with_the_hour_that_was_replayed', async () => {
    await page.getByLabel('Question').selectOption('operator');
    await page.getByLabel('Operator', { exact: true }).focus();
    await page.keyboard.type('the-supervisor');
    await page.keyboard.press('Enter');
    const look = page.locator('td', { hasText: /Replay read\s*Of the past: .+ to / }).first();
    await look.waitFor({ timeout: run.timeout });
    await look.scrollIntoViewIfNeeded();
    await run.picture(page, 'access-log-past-contrast');
  });
  await run.claim('what_an_operator_saw_is_answered_and_is_on_record_itself', async () => {
    await page.getByLabel('Operator', { exact: true }).fill('');
    await page.keyboard.type('the-data-protection');
    await page.keyboard.press('Enter');
    await page.locator('td', { hasText: 'Audit read' }).first().waitFor({ timeout: run.timeout });
  });
  await run.claim('the_record_is_verified_and_exported', async () => {
    await page.getByRole('button', { name: 'Verify the whole record' }).press('Enter');
    await page.getByText('Keep this elsewhere').waitFor({ timeout: run.timeout });
    const download = page.waitForEvent('download', { timeout: run.timeout });
    await page.getByRole('link', { name: 'Export this time' }).press('Enter');
    const fault = await (await download).failure();
    if (fault !== null) throw new Error(fault);
  });
  await done(run, page);
}

/** What a login of hart is answered: by another browser's cookies, so that this one stays who it is. */
async function enter(gateway, page, password) {
  const request = await page.context().browser().newContext();
  const answer = await request.request.post(`${gateway.origin}/api/v1/login`, { headers: { 'X-Fieldpost': '1' }, data: { name: 'hart', password } });
  await request.close();
  return answer.status();
}
