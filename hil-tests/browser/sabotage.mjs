// Ways to break the page, each of which must turn a run red. They change what the browser is given.

/** Changes the application's text on its way to the browser. */
const inApp = (change) => async (page) => {
  await page.route('**/assets/app.js', async (route) => {
    const response = await route.fetch();
    const text = await response.text();
    const changed = change(text);
    if (changed === text) throw new Error('the sabotage found nothing to break');
    await route.fulfill({ response, body: changed });
  });
};

export const SABOTAGES = {
  /** A letter answers nothing any more. */
  deaf: inApp((text) => text.replace('key:`A`', 'key:`Ä`')),
  /** Text on its own ground. */
  faint: async (page) => {
    await page.route('**/assets/style.css', async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, body: `${await response.text()} :root{--muted:#8a939c;--panel:#fff}` });
    });
  },
  /** What begins like markup is markup as well, at the one place where the compiled page writes text. */
  markup: inApp((text) => text.replace(/(\w+)\.nodeValue=`\$\{(\w+)\}`/, (write, node, words) => `(${write},/^</.test(${words})&&${node}.parentElement?.insertAdjacentHTML("beforeend",${words}))`)),
  /** What is lost is no gap of a trail. */
  bridged: inApp((text) => text.replace(/\w+\.gaps\.push\(\{ends:/, '[].push({ends:')),
  /** What the gateway says is wrong with it is kept from the operator. */
  soothing: inApp((text) => text.replace(/\w+\.gateway\.degraded\.filter/, '[].filter')),
  /** Something of the page asks elsewhere. */
  leak: async (page) => {
    await page.addInitScript(() => addEventListener('load', () => void fetch('https://example.invalid/').catch(() => undefined)));
  },
};
