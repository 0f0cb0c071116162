// A force system that is sent events by the webhook output: it takes them, or it refuses all of them on demand.
import { createServer } from 'node:http';

export class ForceSystem {
  #server;
  #refuses = false;

  static async start() {
    const one = new ForceSystem();
    one.#server = createServer((request, response) => {
      request.resume();
      request.on('end', () => response.writeHead(one.#refuses ? 503 : 200).end());
    });
    await new Promise((resolve) => one.#server.listen(0, '127.0.0.1', resolve));
    return one;
  }

  /** What the gateway's configuration says of it. */
  get output() {
    const release = 'release = { forces = ["*"], classes = ["*"], fields = ["*"], marking = "official-sensitive" }';
    return `[[forward.webhook]]\nurl = "http://127.0.0.1:${this.#server.address().port}/events"\nretry_delay_ms_max = 1000\n${release}\n`;
  }

  refuse(refuses) {
    this.#refuses = refuses;
  }

  stop() {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}
