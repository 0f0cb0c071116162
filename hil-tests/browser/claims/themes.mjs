// axe-core over every main state of an operator's page in every theme; the other pages are in pages.mjs.
import { StandIn } from '../stand_in.mjs';
import { atWork } from '../at_work.mjs';

const THEMES = ['light', 'dark', 'contrast'];
/** States whose looks differ most: a picture of each would be minutes. */
const PICTURED = ['calm', 'alarm', 'performance', 'replay'];

/** The main states: how to get there from a calm room, and how to get back. */
const STATES = {
  calm: async () => undefined,
  alarm: async ({ page, run, gateway }) => {
    await gateway.tell('alarm');
    await gateway.tell('alarm check_in');
    await gateway.tell('flood');
    await gateway.tell('nobody');
    await gateway.tell('blind');
    await page.getByText('Nobody is watching.').waitFor({ timeout: run.timeout });
    await page.getByText('You are not seeing everything.').waitFor({ timeout: run.timeout });
    await page.keyboard.press('n');
    await run.until(page, (seen) => seen.chosen !== null && seen.alarms.length === 14);
  },
  answered: async ({ page, run }) => {
    await page.keyboard.press('a');
    await run.until(page, (seen) => seen.alarms.find((each) => each.id === seen.chosen)?.wearer?.confirmed_ms > 0);
  },
  form: async ({ page, run }) => {
    await page.keyboard.press('c');
    await page.getByRole('dialog').waitFor({ timeout: run.timeout });
  },
  settings: async ({ page, run }) => {
    await page.keyboard.press('Escape');
    await page.getByRole('button', { name: 'Settings' }).click();
    await page.getByRole('dialog').waitFor({ timeout: run.timeout });
  },
  help: async ({ page, run }) => {
    await page.keyboard.press('Escape');
    await page.keyboard.press('?');
    await page.getByRole('dialog', { name: 'Keys' }).waitFor({ timeout: run.timeout });
  },
  performance: async ({ page, run }) => {
    await page.keyboard.press('Escape');
    await page.keyboard.press('g');
    await page.getByText('Load by EEMUA 191').waitFor({ timeout: run.timeout });
  },
  replay: async ({ page, run }) => {
    await page.getByRole('button', { name: 'Map', exact: true }).click();
    await page.keyboard.press('r');
    await run.until(page, (seen) => seen.replay.loaded === 1);
  },
  locked: async ({ page, run }) => {
    await page.keyboard.press('l');
    await page.keyboard.press('k');
    await page.getByRole('dialog', { name: 'This console is locked' }).waitFor({ timeout: run.timeout });
  },
};

export async function themes(run, browser, sabotage) {
  const gateway = await StandIn.start('--units', '40', '--degraded');
  const page = await atWork(run, browser, gateway.link, sabotage);
  for (const [name, go] of Object.entries(STATES)) {
    await go({ page, run, gateway });
    await inThemes(run, page, name, { pictured: PICTURED.includes(name) });
  }
  await page.context().close();
  gateway.stop();
}

/** axe-core in each theme, as the settings change it without opening them: a state may have a dialog of its own. */
export async function inThemes(run, page, name, { pictured = true } = {}) {
  for (const theme of THEMES) {
    await page.evaluate((wanted) => {
      document.documentElement.dataset.theme = wanted;
      dispatchEvent(new Event('themechange'));
    }, theme);
    await run.claim(`accessible_${name}_${theme}`, () => run.accessible(page));
    if (pictured) await run.picture(page, `theme-${name}-${theme}`);
  }
}
