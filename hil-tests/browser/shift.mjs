// A shift at the control-room page: keyboard, two operators, lost sessions and hostile names against a real gateway with
// a real fleet; floods, every look and 10,000 units against the stand-in.
//
//   node shift.mjs --binaries DIR --screenshots DIR [--chromium PATH] [--timeout-s 60] [--only NAME] [--sabotage NAME]
//
// Waits for conditions, never for time. Prints one JSON summary; exit 0 only if every claim holds.
// `--sabotage` breaks the page on purpose (sabotage.mjs); the run must then fail.
import { parseArgs } from 'node:util';
import { launch, Run } from './chromium.mjs';
import { blind } from './claims/blind.mjs';
import { gaps } from './claims/gaps.mjs';
import { byKeyboard } from './claims/keyboard.mjs';
import { hostileNames } from './claims/hostile.mjs';
import { load } from './claims/load.mjs';
import { login } from './claims/login.mjs';
import { mapServer } from './claims/map.mjs';
import { pages } from './claims/pages.mjs';
import { race } from './claims/race.mjs';
import { replays } from './claims/replay.mjs';
import { scale } from './claims/scale.mjs';
import { sessions } from './claims/sessions.mjs';
import { strict } from './claims/strict.mjs';
import { themes } from './claims/themes.mjs';
import { theForce } from './force.mjs';
import { stopAll } from './gateway.mjs';
import { SABOTAGES } from './sabotage.mjs';

const { values: option } = parseArgs({
  options: {
    binaries: { type: 'string' },
    screenshots: { type: 'string' },
    chromium: { type: 'string', default: '/usr/bin/chromium' },
    'timeout-s': { type: 'string', default: '60' },
    only: { type: 'string', default: '' },
    sabotage: { type: 'string', default: '' },
  },
});
if (!option.binaries || !option.screenshots || (option.sabotage !== '' && !(option.sabotage in SABOTAGES))) {
  console.error(`usage: node shift.mjs --binaries DIR --screenshots DIR [--only NAME] [--sabotage ${Object.keys(SABOTAGES).join('|')}]`);
  process.exit(2);
}

const REAL = { login, keyboard: byKeyboard, race, hostile: hostileNames, gaps, pages, sessions };
/** Each with a gateway of its own. */
const ALONE = { strict, map: mapServer, blind };
const STOOD_IN = { replay: replays, themes, load };
/** Minutes long, and only if it is named. */
const LONG = { scale };
const run = new Run(option.screenshots, Number(option['timeout-s']) * 1_000);
const browser = await launch(option.chromium);
const figures = {};
try {
  const daily = { ...REAL, ...ALONE, ...STOOD_IN };
  const chosen = option.only === '' ? daily : { [option.only]: { ...daily, ...LONG }[option.only] };
  for (const [name, part] of Object.entries(chosen)) {
    const began_ms = performance.now();
    const gateway = name in REAL ? await theForce(option.binaries) : undefined;
    Object.assign(figures, await part(run, browser, SABOTAGES[option.sabotage], gateway, option.binaries));
    figures[`${name}_s`] = Math.round((performance.now() - began_ms) / 100) / 10;
  }
  await run.nothingEscaped();
} catch (fault) {
  run.failure = fault.message;
  for (const context of browser.contexts()) {
    // The picture is a help; a page that cannot even be drawn must not hide the first fault.
    await context.pages()[0]?.screenshot({ path: `${option.screenshots}/failure.png` }).catch(() => undefined);
  }
} finally {
  await browser.close();
  stopAll();
}
run.finish({ figures });
// A stand-in that a failed claim left behind must not keep this process.
process.exit(process.exitCode);
