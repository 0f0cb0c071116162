// A wire between a browser and a gateway that can be cut, mended and made thin: what a browser's own "offline" leaves open is closed.
import { connect, createServer } from 'node:net';
import { Transform } from 'node:stream';

export class Wire {
  #server;
  #sockets = new Set();
  #is_cut = false;
  /** What the gateway's words may take, bytes a second. */
  #rate = Infinity;

  /** To the gateway of this origin, on a free port. */
  static async to(origin) {
    const { hostname, port } = new URL(origin);
    const one = new Wire();
    one.#server = createServer((browser) => {
      if (one.#is_cut) return browser.destroy();
      const gateway = connect(Number(port), hostname);
      browser.pipe(gateway);
      gateway.pipe(one.#thin()).pipe(browser);
      for (const [here, there] of [[browser, gateway], [gateway, browser]]) {
        one.#sockets.add(here);
        here.on('error', () => there.destroy());
        here.on('close', () => {
          one.#sockets.delete(here);
          there.destroy();
        });
      }
    });
    await new Promise((resolve) => one.#server.listen(0, '127.0.0.1', resolve));
    one.origin = `http://127.0.0.1:${one.#server.address().port}`;
    return one;
  }

  cut() {
    this.#is_cut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  /** From now on so many bytes a second come through, of each connection. */
  thin(rate) {
    this.#rate = rate;
  }

  #thin() {
    return new Transform({
      transform: (bytes, _encoding, done) => {
        if (this.#rate === Infinity) done(null, bytes);
        else setTimeout(() => done(null, bytes), (bytes.length / this.#rate) * 1_000);
      },
    });
  }

  mend() {
    this.#is_cut = false;
  }

  stop() {
    this.cut();
    this.#server.close();
  }
}
