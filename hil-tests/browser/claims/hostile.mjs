// Callsigns, names, roles and notes that try to be markup, script or style stay text, everywhere.
import { StandIn } from '../stand_in.mjs';
import { atWork } from './keyboard.mjs';

export async function hostileNames(run, browser, sabotage) {
  const gateway = await StandIn.start('--units', '20', '--hostile');
  const page = await atWork(run, browser, gateway, sabotage);
  await run.claim('hostile_names_stay_text', async () => {
    for (const cause of ['button', 'ced', 'officer_down', '<b>new cause</b>']) await gateway.tell(`alarm ${cause}`);
    await run.until(page, (seen) => seen.alarms.length === 4);
    for (let step = 0; step < 4; step += 1) await page.keyboard.press('n');
    await page.keyboard.press('a');
    await run.until(page, (seen) => seen.alarms.some((alarm) => alarm.state === 'acknowledged'));
    await page.keyboard.press('t');
    await page.locator('dialog textarea').fill('<img src=x onerror=globalThis.pwned=1>');
    await page.getByRole('button', { name: 'Write' }).click();
    await page.locator('#timeline').getByText('Note: <img src=x').waitFor({ timeout: run.timeout });
    await run.picture(page, 'hostile-light');
    const found = await page.evaluate(() => ({
      pwned: 'pwned' in globalThis,
      // Nothing of the page uses these; a string that became markup would.
      intruders: document.querySelectorAll('main img, main script, main b, main style').length,
      shown: document.body.innerText.includes('<img src=x onerror'),
    }));
    if (found.pwned || found.intruders > 0 || !found.shown) throw new Error(JSON.stringify(found));
  });
  await page.context().close();
  gateway.stop();
}
