// What every browser test here shares: a headless Chromium, a watch over everything that must stay
// empty, axe-core, pictures, and claims that are counted.
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

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

/** WCAG 2.2 A and AA. */
const AXE_TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];

// axe-core runs through the debugger, outside the page's policy, and is not part of the page.
const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export const launch = (executablePath) => chromium.launch({ executablePath, args: LAUNCH_ARGS });

/** A run: its claims, what must stay empty, its pictures. */
export class Run {
  claims = {};
  requests = 0;
  foreign_requests = [];
  policy_violations = [];
  page_errors = [];
  screenshots = [];
  failure = null;
  /** Above zero while a claim takes the gateway or the session away. */
  expected_faults = 0;

  constructor(pictures, timeout_ms) {
    this.pictures = pictures;
    this.timeout = timeout_ms;
    mkdirSync(pictures, { recursive: true });
  }

  /** A browser of its own: cookies, storage, page. `origin` is the only one it may ask. */
  async open(browser, origin, options = {}) {
    const context = await browser.newContext({
      viewport: { width: 1600, height: 900 },
      colorScheme: 'light',
      reducedMotion: 'reduce',
      locale: 'en-GB',
      ...options,
    });
    const page = await context.newPage();
    await this.#watch(context, page, origin);
    return page;
  }

  /** Everything that must stay empty is collected from before the first byte. */
  async #watch(context, page, origin) {
    await context.exposeBinding('reportViolation', (_source, violation) => this.policy_violations.push(violation));
    await context.addInitScript(() => {
      addEventListener('securitypolicyviolation', (event) => {
        globalThis.reportViolation(`${event.effectiveDirective} blocked ${event.blockedURI} (${event.sourceFile}:${event.lineNumber})`);
      });
    });
    context.on('request', (request) => {
      const url = new URL(request.url());
      if (url.protocol === 'data:' || url.protocol === 'blob:') return;
      this.requests += 1;
      if (url.origin !== origin) this.foreign_requests.push(url.origin);
    });
    const error = (words) => this.expected_faults === 0 && this.page_errors.push(words);
    page.on('pageerror', (fault) => this.page_errors.push(String(fault.stack ?? fault)));
    page.on('console', (message) => {
      const text = message.text();
      if (/content security policy/i.test(text)) this.policy_violations.push(text);
      else if (message.type() === 'error') error(`console: ${text}`);
    });
    page.on('response', (response) => {
      if (response.status() >= 400) error(`${response.status()} ${new URL(response.url()).pathname}`);
    });
  }

  async claim(name, check) {
    try {
      const value = await check();
      this.claims[name] = true;
      return value;
    } catch (fault) {
      this.claims[name] = false;
      throw new Error(`${name}: ${fault.message}`, { cause: fault });
    }
  }

  /** While `then` runs, refused and failed requests are what the claim is about. */
  async expectingFaults(then) {
    this.expected_faults += 1;
    try {
      return await then();
    } finally {
      this.expected_faults -= 1;
    }
  }

  settle(page) {
    // A role without a map has nothing to settle.
    return page.waitForFunction(() => document.querySelector('.map') === null || globalThis.fieldpost?.inspect().map.settled, null, { timeout: this.timeout });
  }

  /** Waits until `inspect()` fulfils the predicate, which runs in the page. */
  until(page, predicate, argument = null) {
    // Written out here: the page's policy lets nothing be compiled there.
    const whole = new Function('given', `return globalThis.fieldpost !== undefined && (${predicate})(globalThis.fieldpost.inspect(), given)`);
    return page.waitForFunction(whole, argument, { timeout: this.timeout });
  }

  /** A picture of the room, its map drawn. */
  async picture(page, name) {
    await this.settle(page);
    await this.snapshot(page, name);
  }

  /** A picture of whatever is there. */
  async snapshot(page, name) {
    const path = join(this.pictures, `${name}.png`);
    await page.screenshot({ path });
    this.screenshots.push(path);
  }

  /** axe-core over the whole page; throws with every finding. */
  async accessible(page) {
    await page.evaluate(axeSource);
    const violations = await page.evaluate(async (tags) => {
      const result = await globalThis.axe.run(document, { runOnly: tags });
      return result.violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target.join(' ')).slice(0, 4).join(' | ')}`);
    }, AXE_TAGS);
    if (violations.length > 0) throw new Error(violations.join('\n'));
  }

  async nothingEscaped() {
    await this.claim('no_policy_violation', async () => empty(this.policy_violations));
    await this.claim('no_outside_request', async () => empty(this.foreign_requests));
    await this.claim('no_page_error', async () => empty(this.page_errors));
  }

  /** Prints the summary and sets the exit code. */
  finish(more = {}) {
    const passed = this.failure === null && Object.values(this.claims).every(Boolean);
    const { claims, requests, foreign_requests, policy_violations, page_errors, screenshots, failure } = this;
    console.log(JSON.stringify({ passed, claims, ...more, requests, foreign_requests, policy_violations, page_errors, screenshots, failure }, null, 2));
    process.exitCode = passed ? 0 : 1;
  }
}

function empty(list) {
  if (list.length > 0) throw new Error(list.join('\n'));
}
