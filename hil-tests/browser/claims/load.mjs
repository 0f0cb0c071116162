// 10,000 moving units: what a second of news costs the page's main thread, and a unit update in bytes.
import { StandIn } from '../stand_in.mjs';
import { atWork } from '../at_work.mjs';

const UNITS = 10_000;
/** Seconds of news over which the cost is taken. */
const SECONDS = 8;
/** Script on the main thread, ms of each second. */
const SCRIPT_MS_MAX = 400;
/** All that the main thread does, ms of each second. Here it draws in software; a console has a graphics card. */
const MAIN_MS_MAX = 850;
/** From a key to what it does, while the news goes on. */
const ANSWER_MS_MAX = 4_000;

export async function load(run, browser, sabotage) {
  const gateway = await StandIn.start('--units', String(UNITS));
  const page = await atWork(run, browser, gateway.link, sabotage);
  const figures = await run.claim('ten_thousand_units_leave_the_page_usable', async () => {
    const figures = { ...(await costs(run, page, SECONDS)), key_to_choice_ms: await keyToChoice(run, page, 'RV 2222', 'rv-2222') };
    console.error(JSON.stringify(figures));
    bounded(figures);
    return { units: UNITS, ...figures };
  });
  await run.picture(page, 'ten-thousand-light');
  await page.context().close();
  gateway.stop();
  return figures;
}

/** What so many seconds of news cost a page. */
export async function costs(run, page, seconds) {
  const cdp = await page.context().newCDPSession(page);
  const news = { bytes: 0, units: 0 };
  cdp.on('Network.eventSourceMessageReceived', ({ eventName, data }) => {
    if (eventName !== 'units') return;
    news.bytes += Buffer.byteLength(data);
    news.units += (data.match(/"last_report_ms"/g) ?? []).length;
  });
  await cdp.send('Network.enable');
  await cdp.send('Performance.enable');
  const [before, began] = [await metrics(cdp), { ...news }];
  // Nothing asks the page meanwhile: `inspect()` of so many units at every frame costs more than the news.
  await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
  const [after, told] = [await metrics(cdp), { units: news.units - began.units, bytes: news.bytes - began.bytes }];
  const took_s = after.Timestamp - before.Timestamp;
  const perSecond = (name) => Math.round(((after[name] - before[name]) / took_s) * 1_000);
  const figures = {
    updates_per_second: Math.round(told.units / took_s),
    bytes_per_unit_update: Math.round(told.bytes / Math.max(1, told.units)),
    main_thread_script_ms_per_s: perSecond('ScriptDuration'),
    main_thread_all_ms_per_s: perSecond('TaskDuration'),
    layout_and_style_ms_per_s: perSecond('LayoutDuration') + perSecond('RecalcStyleDuration'),
    rows_drawn: await page.evaluate(() => document.querySelectorAll('[data-unit]').length),
    heap_mb: Math.round(after.JSHeapUsedSize / 1e6),
  };
  await cdp.detach();
  return figures;
}

/** Throws if a page with ten thousand units is not usable. */
export function bounded({ updates_per_second, main_thread_script_ms_per_s, main_thread_all_ms_per_s, rows_drawn, key_to_choice_ms }) {
  if (updates_per_second < 100) throw new Error(`only ${updates_per_second} updates a second came: nothing was measured`);
  if (main_thread_script_ms_per_s > SCRIPT_MS_MAX) throw new Error(`${main_thread_script_ms_per_s} ms of script a second`);
  if (main_thread_all_ms_per_s > MAIN_MS_MAX) throw new Error(`the main thread was busy for ${main_thread_all_ms_per_s} ms a second`);
  if (rows_drawn === 0 || rows_drawn > 60) throw new Error(`${rows_drawn} rows are drawn`);
  if (!(key_to_choice_ms <= ANSWER_MS_MAX)) throw new Error(`a key took ${key_to_choice_ms} ms`);
}

const metrics = async (cdp) => Object.fromEntries((await cdp.send('Performance.getMetrics')).metrics.map(({ name, value }) => [name, value]));

/** Milliseconds from a search for `words` to the chosen unit of that device, by the page's own clock. */
export async function keyToChoice(run, page, words, device) {
  await page.keyboard.press('/');
  await page.locator('#unit-search').fill(words);
  const began = await page.evaluate(() => performance.now());
  await page.keyboard.press('Enter');
  await run.until(page, (seen, wanted) => seen.selected?.endsWith(`/${wanted}`), device);
  const took_ms = Math.round((await page.evaluate(() => performance.now())) - began);
  await page.locator('#unit-search').fill('');
  return took_ms;
}
