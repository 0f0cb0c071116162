// The force's own tile server under the units: asked by the gateway alone, and missed without harm.
import { atWork } from '../at_work.mjs';
import { Gateway } from '../gateway.mjs';
import { TileServer } from '../tile_server.mjs';

const TROUBLE = 'The map server does not answer';

export async function mapServer(run, browser, sabotage, _gateway, binaries) {
  const tiles = await TileServer.start();
  const gateway = await Gateway.start(binaries, { keys: { '[map]': `tiles = "${tiles.url}"` } });
  gateway.muster(8);
  const page = await atWork(run, browser, await gateway.link('moss', 'operator'), sabotage);
  // What the page asks elsewhere fails the whole run.
  await run.claim('the_forces_tile_server_is_asked_by_the_gateway_alone', async () => {
    if (tiles.asked.length === 0) throw new Error('it was not asked');
    const told = tiles.asked.flatMap((headers) => Object.keys(headers)).filter((name) => /cookie|referer|origin|forwarded/.test(name));
    if (told.length > 0) throw new Error(`it was told ${told}`);
    await run.picture(page, 'tile-server-light');
  });
  await run.claim('a_tile_server_in_trouble_is_said_and_costs_nothing_else', () =>
    run.expectingFaults(async () => {
      tiles.down(true);
      await page.locator('.map canvas').focus();
      // Closer than the server's tiles go nothing new is asked for, and units may stand as close as that: look further away.
      for (const key of ['-', '-', ...Array.from({ length: 8 }, () => 'ArrowRight')]) await page.keyboard.press(key);
      await page.getByText(TROUBLE).waitFor({ timeout: run.timeout });
      await run.until(page, (seen) => seen.connection === 'live' && seen.units.length > 0);
      await run.picture(page, 'tile-server-trouble-light');
      tiles.down(false);
      await page.getByText(TROUBLE).waitFor({ state: 'detached', timeout: run.timeout });
    }),
  );
  await page.context().close();
  gateway.stop();
  tiles.stop();
}
