// Drives the control-room page of a running gateway in headless Chromium.
//
//   node control_room.mjs --login URL --screenshots DIR [--chromium PATH] [--timeout-s 60]
//
// Claims, in order: the one-time link logs in; units are shown and one really moves; an
// unacknowledged alarm arrives; pressing Acknowledge shows it acknowledged with a name; the page
// passes axe-core's WCAG 2 A and AA rules in light and dark; the wearer's device confirms; the past
// hour is replayed; all of that with zero violations of the
// content security policy, zero requests to another origin and zero page errors.
//
// It waits for conditions, never for time. Prints one JSON summary on stdout; exit 0 only if every
// claim holds, 1 if one fails, 2 if it was called wrongly.
import { parseArgs } from 'node:util';
import { launch, Run } from './chromium.mjs';

const USAGE = 'usage: node control_room.mjs --login URL --screenshots DIR [--chromium PATH] [--timeout-s N]';

/** Metres a unit must have travelled to count as moving: more than rounding, less than a stride. */
const MOVED_M_MIN = 0.5;

function readArguments() {
  try {
    const { values } = parseArgs({
      options: {
        login: { type: 'string' },
        screenshots: { type: 'string' },
        chromium: { type: 'string', default: '/usr/bin/chromium' },
        'timeout-s': { type: 'string', default: '60' },
      },
    });
    if (values.login && values.screenshots && Number(values['timeout-s']) > 0) return values;
  } catch (fault) {
    console.error(fault.message);
  }
  console.error(USAGE);
  process.exit(2);
}

const option = readArguments();
const timeout = Number(option['timeout-s']) * 1_000;
const run = new Run(option.screenshots, timeout);
const figures = { units: 0, moved: null, alarm: null };

/** The first unit whose drawn position differs from the one in `before`, with the way it made. */
function movedUnit({ before, moved_m_min }) {
  for (const unit of globalThis.fieldpost.inspect().units) {
    const old = before[unit.id];
    if (old === undefined) continue;
    const scale = Math.cos((unit.lat * Math.PI) / 180);
    const metres = Math.hypot((unit.lon - old.lon) * scale, unit.lat - old.lat) * 111_195;
    if (metres > moved_m_min) return { unit: unit.id, metres: Math.round(metres * 10) / 10 };
  }
  return null;
}

async function unitsMove(page) {
  const places = await page.evaluate(() =>
    Object.fromEntries(globalThis.fieldpost.inspect().units.map((unit) => [unit.id, { lon: unit.lon, lat: unit.lat }])),
  );
  const handle = await page.waitForFunction(movedUnit, { before: places, moved_m_min: MOVED_M_MIN }, { timeout });
  return handle.jsonValue();
}

async function inScheme(page, scheme, then) {
  await page.emulateMedia({ colorScheme: scheme });
  await then();
}

async function inBothSchemes(page, name) {
  await inScheme(page, 'dark', () => run.picture(page, `${name}-dark`));
  await inScheme(page, 'light', () => run.picture(page, `${name}-light`));
}

async function acknowledgeFirst(page) {
  const card = page.locator('[data-alarm][data-state="unacknowledged"]:has(button.acknowledge)').first();
  const id = await card.getAttribute('data-alarm');
  await card.getByRole('button', { name: /acknowledge/i }).click();
  await page
    .locator(`article[data-alarm=${JSON.stringify(id)}][data-state="acknowledged"]`)
    .waitFor({ state: 'visible', timeout });
  return id;
}

async function watchTheRoom(page) {
  const claim = (name, check) => run.claim(name, check);
  await claim('one_time_link_logs_in', async () => {
    await page.goto(option.login, { timeout });
    await page.locator('#units').waitFor({ timeout });
    await run.until(page, (seen) => seen.connection === 'live');
  });
  await claim('units_are_shown', () => run.until(page, (seen) => seen.units.length > 0));
  await run.settle(page);
  figures.moved = await claim('a_unit_moves', () => unitsMove(page));
  if ((await page.locator('article[data-alarm][data-state="unacknowledged"]').count()) === 0) {
    await inBothSchemes(page, 'before-alarm');
  }
  await claim('an_alarm_waits', () =>
    page.locator('article[data-alarm][data-state="unacknowledged"]').first().waitFor({ timeout }),
  );
  await inBothSchemes(page, 'alarm');
  await claim('choosing_the_alarm_selects_its_unit', async () => {
    await page.locator('article[data-state="unacknowledged"] .show').first().click();
    await run.until(page, (seen) => seen.selected !== null);
  });
  await inBothSchemes(page, 'alarm-selected');
  await claim('accessible_in_light', () => run.accessible(page));
  await claim('accessible_in_dark', () => inScheme(page, 'dark', () => run.accessible(page)));
  await page.emulateMedia({ colorScheme: 'light' });
  const id = await claim('acknowledge_is_shown', () => acknowledgeFirst(page));
  const answered = await page.evaluate(() => globalThis.fieldpost.inspect());
  figures.units = answered.units.length;
  figures.alarm = answered.alarms.find((alarm) => alarm.id === id) ?? null;
  await claim('acknowledgement_names_a_person', async () => {
    if (!figures.alarm?.acknowledged_by) throw new Error('nobody is named');
  });
  await claim('the_wearers_device_confirms', () =>
    run.until(page, (seen, alarm) => seen.alarms.find((each) => each.id === alarm)?.receipt === 'delivered', id),
  );
  await inBothSchemes(page, 'acknowledged');
  await claim('the_past_is_replayed', async () => {
    await page.keyboard.press('r');
    await run.until(page, (seen) => seen.replay.active && seen.replay.loaded === 1);
    await page.getByRole('slider', { name: 'Moment of the past' }).focus();
    await page.keyboard.press('End');
    await run.until(page, (seen) => seen.replay.units > 0 && seen.units.length > 0);
    await inBothSchemes(page, 'replay');
    await page.keyboard.press('l');
    await run.until(page, (seen) => !seen.replay.active);
  });
  await run.nothingEscaped();
}

const browser = await launch(option.chromium);
const page = await run.open(browser, new URL(option.login).origin);
try {
  await watchTheRoom(page);
} catch (fault) {
  run.failure = fault.message;
  // The picture is a help; a page that cannot even be drawn must not hide the first fault.
  await page.screenshot({ path: `${option.screenshots}/failure.png` }).catch(() => undefined);
} finally {
  await browser.close();
}
run.finish(figures);
