// The login page, which has no script: every look that a system can ask for, as it comes and after a refusal.
import { open } from '../at_work.mjs';

const LOOKS = {
  light: { colorScheme: 'light' },
  dark: { colorScheme: 'dark' },
  contrast: { colorScheme: 'dark', contrast: 'more' },
  forced: { colorScheme: 'dark', forcedColors: 'active' },
};

export async function login(run, browser, sabotage, gateway) {
  const page = await open(run, browser, gateway.origin, sabotage);
  const inEveryLook = async (state) => {
    for (const [look, media] of Object.entries(LOOKS)) {
      await page.emulateMedia({ contrast: null, forcedColors: null, ...media });
      await run.claim(`accessible_login_${state}_${look}`, () => run.accessible(page));
      if (state === 'refused') await run.snapshot(page, `login-${look}`);
    }
  };
  await page.goto(`${gateway.origin}/login`, { timeout: run.timeout });
  await inEveryLook('new');
  await run.claim('a_wrong_password_is_refused_in_words', () =>
    run.expectingFaults(async () => {
      await page.getByLabel('Name').fill('administrator');
      await page.getByLabel('Password').fill('wrong');
      await page.keyboard.press('Enter');
      await page.getByRole('alert').getByText('You were not let in').waitFor({ timeout: run.timeout });
    }),
  );
  await inEveryLook('refused');
  await page.context().close();
}
