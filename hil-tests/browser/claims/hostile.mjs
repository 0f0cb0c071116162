// Callsigns, names, roles and notes that try to be markup, script or style stay text: by the roster, the shift list and the
// accounts of a real gateway.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { atWork } from '../at_work.mjs';
import { FORCE } from '../gateway.mjs';
import { HOSTILE, HOSTILE_DEVICE } from '../force.mjs';

export async function hostileNames(run, browser, sabotage, gateway) {
  await run.claim('a_device_name_cannot_be_markup', async () => {
    const refused = await gateway
      .about('pki', 'issue', '--force', FORCE, '--device', HOSTILE.callsign, '--out', join(gateway.folder, 'no'))
      .then(() => null, (fault) => fault.stderr);
    if (!/A-Z a-z 0-9/.test(refused ?? '')) throw new Error(`it was not refused by its letters: ${refused}`);
  });
  await gateway.person('ann', 'operator', HOSTILE.full_name);
  const hour_ms = 3_600_000;
  const list = join(gateway.folder, 'shift.toml');
  const { officer, callsign, vehicle, role } = HOSTILE;
  const said = { force: FORCE, device: HOSTILE_DEVICE, officer, callsign, vehicle, role };
  const lines = Object.entries(said).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
  writeFileSync(list, ['[[assignment]]', ...lines, `from = "${Date.now() - hour_ms}"`, `until = "${Date.now() + hour_ms}"`].join('\n'));
  await gateway.about('people', 'assign', list);
  const page = await atWork(run, browser, await gateway.link('ann'), sabotage);
  await run.claim('hostile_names_stay_text', async () => {
    gateway.order(`press ${HOSTILE_DEVICE}`);
    const unit = `${FORCE}/${HOSTILE_DEVICE}`;
    await run.until(page, (seen, wanted) => seen.alarms.some((alarm) => alarm.unit === wanted), unit);
    await page.locator('article', { hasText: HOSTILE.callsign }).locator('.show').click();
    await page.keyboard.press('a');
    await run.until(page, (seen, wanted) => seen.alarms.find((alarm) => alarm.unit === wanted)?.state === 'acknowledged', unit);
    await page.keyboard.press('t');
    await page.locator('dialog textarea').fill(HOSTILE.callsign);
    await page.getByRole('button', { name: 'Write' }).click();
    await page.locator('#timeline').getByText(`Note: ${HOSTILE.callsign}`).waitFor({ timeout: run.timeout });
    await run.picture(page, 'hostile-light');
    await staysText(page, [HOSTILE.callsign, HOSTILE.officer]);
  });
  await page.context().close();
}

/** Nothing of the page has such elements; a string that became markup would. */
export async function staysText(page, shown) {
  const found = await page.evaluate((texts) => ({
    pwned: 'pwned' in globalThis,
    intruders: document.querySelectorAll('main img, main script, main b, main style, dialog b, dialog img').length,
    missing: texts.filter((text) => !document.body.innerText.includes(text)),
  }), shown);
  if (found.pwned || found.intruders > 0 || found.missing.length > 0) throw new Error(JSON.stringify(found));
}
