// Two operators, lost sessions, lost connections.
import { StandIn } from '../stand_in.mjs';
import { atWork } from './keyboard.mjs';

export async function sessions(run, browser, sabotage) {
  const gateway = await StandIn.start('--units', '24');
  const [one, two] = [await atWork(run, browser, gateway, sabotage, 'kaur'), await atWork(run, browser, gateway, sabotage, 'nowak')];
  await run.claim('a_race_of_two_operators_has_one_owner', () => run.expectingFaults(() => race(run, gateway, one, two)));
  await two.context().close();
  await run.claim('a_lost_session_misses_no_alarm', () => run.expectingFaults(() => lostSession(run, gateway, one)));
  await run.claim('silence_is_said_and_ends_by_itself', () => run.expectingFaults(() => silence(run, gateway, one)));
  await one.context().close();
  gateway.stop();
}

async function race(run, gateway, one, two) {
  await gateway.tell('alarm');
  for (const page of [one, two]) await page.locator('article[data-state="unacknowledged"] .acknowledge').waitFor({ timeout: run.timeout });
  // Both answers are on their way before the first of them is let through.
  let waiting = 0;
  let open;
  const both = new Promise((resolve) => (open = resolve));
  for (const page of [one, two]) {
    await page.route('**/alarms/acknowledge', async (route) => {
      if ((waiting += 1) === 2) open();
      await both;
      await route.continue();
    });
  }
  await Promise.all([one, two].map((page) => page.evaluate(() => document.querySelector('article .acknowledge').click())));
  for (const page of [one, two]) await run.until(page, (seen) => seen.alarms[0]?.state === 'acknowledged');
  const owners = await Promise.all([one, two].map((page) => page.evaluate(() => globalThis.fieldpost.inspect().alarms[0].acknowledged_by)));
  if (owners[0] !== owners[1] || !['kaur', 'nowak'].includes(owners[0])) throw new Error(`owners ${owners}`);
  for (const page of [one, two]) await page.locator('article').getByText(`Acknowledged by ${owners[0]}`).waitFor({ timeout: run.timeout });
}

async function lostSession(run, gateway, page) {
  await gateway.tell('end');
  await run.until(page, (seen) => seen.connection === 'ended');
  const dialog = page.getByRole('dialog', { name: 'Your session has ended' });
  await dialog.waitFor({ timeout: run.timeout });
  await run.picture(page, 'session-ended-light');
  await gateway.tell('alarm officer_down');
  await dialog.getByLabel('Password').fill('wrong');
  await dialog.getByRole('button', { name: 'Log in' }).click();
  await dialog.getByText('Name or password is wrong.').waitFor({ timeout: run.timeout });
  await dialog.getByLabel('Password').fill('correct horse');
  await dialog.getByRole('button', { name: 'Log in' }).click();
  await run.until(page, (seen) => seen.connection === 'live' && seen.alarms.some((alarm) => alarm.state === 'unacknowledged'));
  await dialog.waitFor({ state: 'detached', timeout: run.timeout });
}

async function silence(run, gateway, page) {
  await gateway.tell('mute');
  await page.getByText('Connection lost.').waitFor({ timeout: run.timeout });
  await run.picture(page, 'connection-lost-light');
  await gateway.tell('alarm');
  await gateway.tell('mute');
  await run.until(page, (seen) => seen.connection === 'live' && seen.alarms.length === 3);
}
