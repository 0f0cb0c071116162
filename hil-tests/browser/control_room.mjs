// Drives the control-room page of a running gateway in headless Chromium.
//
//   node control_room.mjs --login URL --screenshots DIR [--chromium PATH] [--timeout-s 60]
//
// Claims, in order: the one-time link logs in; units are shown and one really moves; an
// unacknowledged alarm arrives; pressing Acknowledge shows it acknowledged with a name; the page
// passes axe-core's WCAG 2 A and AA rules in light and dark; all of that with zero violations of the
// content security policy, zero requests to another origin and zero page errors.
//
// It waits for conditions, never for time. Prints one JSON summary on stdout; exit 0 only if every
// claim holds, 1 if one fails, 2 if it was called wrongly.
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';

const USAGE = 'usage: node control_room.mjs --login URL --screenshots DIR [--chromium PATH] [--timeout-s N]';

// Software WebGL, and none of the calls home that a desktop browser makes.
const LAUNCH_ARGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--use-gl=angle',
  '--use-angle=swiftshader',
  '--enable-unsafe-swiftshader',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-dev-shm-usage',
];

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
const origin = new URL(option.login).origin;
const summary = {
  passed: false,
  claims: {},
  units: 0,
  moved: null,
  alarm: null,
  accessibility: { light: null, dark: null },
  requests: 0,
  foreign_requests: [],
  policy_violations: [],
  page_errors: [],
  screenshots: [],
  failure: null,
};

/** Everything that must stay empty is collected from before the first byte. */
async function watch(context, page) {
  await context.exposeBinding('reportViolation', (_source, violation) => summary.policy_violations.push(violation));
  await context.addInitScript(() => {
    addEventListener('securitypolicyviolation', (event) => {
      globalThis.reportViolation(`${event.effectiveDirective} blocked ${event.blockedURI} (${event.sourceFile}:${event.lineNumber})`);
    });
  });
  context.on('request', (request) => {
    const url = new URL(request.url());
    if (url.protocol === 'data:' || url.protocol === 'blob:') return;
    summary.requests += 1;
    if (url.origin !== origin) summary.foreign_requests.push(url.origin);
  });
  page.on('pageerror', (fault) => summary.page_errors.push(String(fault)));
  page.on('console', (message) => {
    const text = message.text();
    if (/content security policy/i.test(text)) summary.policy_violations.push(text);
    else if (message.type() === 'error') summary.page_errors.push(`console: ${text}`);
  });
  page.on('response', (response) => {
    if (response.status() >= 400) summary.page_errors.push(`${response.status()} ${new URL(response.url()).pathname}`);
  });
}

async function claim(name, check) {
  try {
    const value = await check();
    summary.claims[name] = true;
    return value;
  } catch (fault) {
    summary.claims[name] = false;
    throw new Error(`${name}: ${fault.message}`, { cause: fault });
  }
}

const settle = (page) => page.waitForFunction(() => globalThis.fieldpost?.inspect().map.settled, null, { timeout });

async function picture(page, name) {
  await settle(page);
  const path = join(option.screenshots, `${name}.png`);
  await page.screenshot({ path });
  summary.screenshots.push(path);
}

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

// axe-core runs through the debugger, outside the page's policy, and is not part of the page.
const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

async function accessible(page, scheme) {
  await page.evaluate(axeSource);
  const violations = await page.evaluate(async () => {
    const result = await globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] });
    return result.violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target.join(' ')).slice(0, 4).join(' | ')}`);
  });
  summary.accessibility[scheme] = violations;
  if (violations.length > 0) throw new Error(violations.join('\n'));
}

async function inScheme(page, scheme, then) {
  await page.emulateMedia({ colorScheme: scheme });
  await then();
}

async function inBothSchemes(page, name) {
  await inScheme(page, 'dark', () => picture(page, `${name}-dark`));
  await inScheme(page, 'light', () => picture(page, `${name}-light`));
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

async function run(page) {
  await claim('one_time_link_logs_in', async () => {
    await page.goto(option.login, { timeout });
    await page.locator('#units').waitFor({ timeout });
    await page.waitForFunction(() => globalThis.fieldpost?.inspect().connection === 'live', null, { timeout });
  });
  await claim('units_are_shown', async () => {
    await page.waitForFunction(() => globalThis.fieldpost.inspect().units.length > 0, null, { timeout });
    await settle(page);
  });
  summary.moved = await claim('a_unit_moves', () => unitsMove(page));
  if ((await page.locator('article[data-alarm][data-state="unacknowledged"]').count()) === 0) {
    await inBothSchemes(page, 'before-alarm');
  }
  await claim('an_alarm_waits', () =>
    page.locator('article[data-alarm][data-state="unacknowledged"]').first().waitFor({ timeout }),
  );
  await inBothSchemes(page, 'alarm');
  await claim('choosing_the_alarm_selects_its_unit', async () => {
    await page.locator('article[data-state="unacknowledged"] .show').first().click();
    await page.waitForFunction(() => globalThis.fieldpost.inspect().selected !== null, null, { timeout });
  });
  await inBothSchemes(page, 'alarm-selected');
  await claim('accessible_in_light', () => accessible(page, 'light'));
  await claim('accessible_in_dark', () => inScheme(page, 'dark', () => accessible(page, 'dark')));
  await page.emulateMedia({ colorScheme: 'light' });
  const id = await claim('acknowledge_is_shown', () => acknowledgeFirst(page));
  const answered = await page.evaluate(() => globalThis.fieldpost.inspect());
  summary.units = answered.units.length;
  summary.alarm = answered.alarms.find((alarm) => alarm.id === id) ?? null;
  await claim('acknowledgement_names_a_person', async () => {
    if (!summary.alarm?.acknowledged_by) throw new Error('nobody is named');
  });
  await inBothSchemes(page, 'acknowledged');
  await claim('no_policy_violation', async () => empty(summary.policy_violations));
  await claim('no_outside_request', async () => empty(summary.foreign_requests));
  await claim('no_page_error', async () => empty(summary.page_errors));
}

function empty(list) {
  if (list.length > 0) throw new Error(list.join('\n'));
}

mkdirSync(option.screenshots, { recursive: true });
const browser = await chromium.launch({ executablePath: option.chromium, args: LAUNCH_ARGS });
const context = await browser.newContext({
  viewport: { width: 1600, height: 900 },
  colorScheme: 'light',
  reducedMotion: 'reduce',
  locale: 'en-GB',
});
const page = await context.newPage();
try {
  await watch(context, page);
  await run(page);
  summary.passed = true;
} catch (fault) {
  summary.failure = fault.message;
  const path = join(option.screenshots, 'failure.png');
  // The picture is a help; a page that cannot even be drawn must not hide the first fault.
  await page.screenshot({ path }).then(() => summary.screenshots.push(path), () => undefined);
} finally {
  await browser.close();
}
console.log(JSON.stringify(summary, null, 2));
process.exitCode = summary.passed ? 0 : 1;
