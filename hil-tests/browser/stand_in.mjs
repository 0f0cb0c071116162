// The stand-in gateway (gateway/ui/dev/mock.mjs) as a child process that obeys words.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const PROGRAM = fileURLToPath(new URL('../../gateway/ui/dev/mock.mjs', import.meta.url));

export class StandIn {
  #child;
  #lines;

  /** Starts one on a free port. `options` are the program's own. */
  static async start(...options) {
    const one = new StandIn();
    const settings = ['--port', '0', '--alarm-after', '0', ...options];
    one.#child = spawn(process.execPath, [PROGRAM, ...settings], { stdio: ['pipe', 'pipe', 'inherit'] });
    one.#lines = createInterface({ input: one.#child.stdout })[Symbol.asyncIterator]();
    const link = /http\S+/.exec((await one.#lines.next()).value ?? '')?.[0];
    if (link === undefined) throw new Error('the stand-in gateway did not start');
    one.link = link;
    one.origin = new URL(link).origin;
    return one;
  }

  /** Says one command and waits until it is done. */
  async tell(command) {
    this.#child.stdin.write(`${command}\n`);
    await this.#lines.next();
  }

  stop() {
    this.#child.kill();
  }
}
