// A real gateway and a real fleet: the binaries as child processes, in a folder of their own.
//
//   fieldpost init -> people add -> run --kill -9--> run, on the same ports and the same data
//   fieldpost-sim run --obey: every device is the firmware over mutual TLS; `press pc-0001` holds its button
import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { Noise } from './noise.mjs';

const run = promisify(execFile);
/** The only force that the simulator's devices belong to. */
export const FORCE = 'sim';
/** Debian's libfaketime: gives a process a wall clock of its own, told by a file; the monotonic one is left alone. */
const FAKETIME = '/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1';
const ADDRESSES = { front_door: 'FRONT_DOOR', control_room: 'CONTROL_ROOM', metrics: 'METRICS' };

/** Those of this process: a claim that fails leaves none behind. */
const running = new Set();

export const stopAll = () => running.forEach((gateway) => gateway.stop());

export class Gateway {
  #binaries;
  /** Holds its folder, and its clock. */
  #base;
  #process = null;
  #fleet = null;
  /** Host and port of each listener; port 0 until it ran once. */
  #listen = { front_door: '127.0.0.1:0', control_room: '127.0.0.1:0', metrics: '127.0.0.1:0' };

  /**
   * A gateway that runs, with an empty spool. `binaries` is the folder of both; `roster` names units by device; `keys` are
   * put into the configuration under the heads that they are named by, `more` is added to its end.
   */
  static async start(binaries, { roster = {}, keys = {}, more = '' } = {}) {
    const one = new Gateway();
    running.add(one);
    one.#binaries = binaries;
    one.#base = mkdtempSync(join(tmpdir(), 'fieldpost-browser-'));
    one.folder = join(one.#base, 'gateway');
    one.turnClock('+0');
    await one.command('init', one.folder, '--name', 'localhost', '--force', FORCE);
    const units = Object.entries(roster).map(
      ([device, callsign]) => `[[unit]]\nforce = "${FORCE}"\ndevice = "${device}"\ncallsign = ${JSON.stringify(callsign)}\nkind = "officer"\n`,
    );
    writeFileSync(join(one.folder, 'roster.toml'), units.join('\n'));
    const { stdout: streets } = await run(join(binaries, 'fieldpost-sim'), ['streets'], { maxBuffer: 16 << 20 });
    writeFileSync(join(one.folder, 'streets.json'), streets);
    const text = await readFile(one.config, 'utf8');
    const named = text.replace('#roster =', 'roster =').replace('#streets =', 'streets =');
    const keyed = Object.entries(keys).reduce((whole, [head, lines]) => whole.replace(`\n${head}\n`, `\n${head}\n${lines}\n`), named);
    await writeFile(one.config, `${keyed}\n${more}`);
    await one.run();
    return one;
  }

  get config() {
    return join(this.folder, 'gateway.toml');
  }

  get origin() {
    return `http://${this.#listen.control_room}`;
  }

  /** Runs a subcommand and returns what it printed. */
  async command(...words) {
    const { stdout } = await run(join(this.#binaries, 'fieldpost'), words, { env: this.#environment() });
    return stdout.trim();
  }

  /** A subcommand on this gateway's configuration. */
  about(first, second, ...words) {
    return this.command(first, second, '-c', this.config, ...words);
  }

  /** Makes an account; its first password. */
  async person(name, role, full_name = name) {
    const said = await this.about('people', 'add', name, '--full-name', full_name, '--role', role, '--forces', FORCE);
    return said.split(/\s+/).at(-1);
  }

  /** A one-time link as somebody with these roles. */
  async link(operator, ...roles) {
    const grant = roles.flatMap((role) => ['--role', role]);
    const said = await this.command('login', '-c', this.config, '--operator', operator, ...grant);
    const token = /\/login\?token=\S+/.exec(said)?.[0];
    if (token === undefined) throw new Error(`no link: ${said}`);
    return `${this.origin}${token}`;
  }

  /** Runs it, again on the same ports after a kill. Returns when it serves. */
  async run() {
    const binary = join(this.#binaries, 'fieldpost');
    this.#process = spawn(binary, ['run', '-c', this.config], { env: this.#environment(), stdio: ['ignore', 'pipe', 'pipe'] });
    let log = '';
    // Read to the end: a gateway whose log nobody takes stops.
    this.#process.stderr.on('data', (text) => (log = `${log}${text}`.slice(-4_000)));
    for await (const line of createInterface({ input: this.#process.stdout })) {
      const [what, where] = line.split(' ');
      if (what in ADDRESSES) this.#listen[what] = where.replace('http://', '').replace('/metrics', '');
      if (what === 'ready') return;
    }
    throw new Error(`the gateway did not start:\n${log}`);
  }

  /** Its wall clock, and that of its commands, is so far from the true one: `+90m`, in one unit. Devices keep their own. */
  turnClock(offset) {
    const new_one = join(this.#base, 'clock.new');
    // Replaced in one step: the library may be reading it.
    writeFileSync(new_one, `${offset}\n`);
    renameSync(new_one, join(this.#base, 'clock'));
  }

  /** `kill -9`: nothing is said, nothing is tidied up. */
  async kill() {
    const gone = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.kill('SIGKILL');
    await gone;
  }

  /** So many devices, reporting every so many seconds; they come back by themselves after a kill. */
  muster(devices, interval_s = 2) {
    const options = ['--devices', String(devices), '--interval', String(interval_s), '--for', '60m', '--obey'];
    const target = ['--gateway', this.#listen.front_door, '--authority', join(this.folder, 'pki')];
    // An honest simulator says little; what it says is of help.
    this.#fleet = spawn(join(this.#binaries, 'fieldpost-sim'), ['run', ...options, ...target], { stdio: ['pipe', 'ignore', 'ignore'] });
  }

  /**
   * `press pc-0001`, `fall ..`, `rise ..`, `hide ..` (out of radio reach), `rattle ..` (more records at once than its store has room
   * for), `stay ..` (on duty and in radio reach): within a second it happens to the device.
   */
  order(words) {
    this.#fleet.stdin.write(`${words}\n`);
  }

  /** A device of its own that sends what nobody can read, until it is ended. */
  async noise(device) {
    const folder = join(this.#base, device);
    await this.about('pki', 'issue', '--force', FORCE, '--device', device, '--mode', 'test', '--out', folder);
    const [host, port] = this.#listen.front_door.split(':');
    return Noise.begin({ host, port: Number(port), folder, device });
  }

  /** What it counts under this name. */
  async counted(name) {
    const text = await (await fetch(`http://${this.#listen.metrics}/metrics`)).text();
    return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
  }

  stop() {
    running.delete(this);
    this.#fleet?.kill('SIGKILL');
    this.#process?.kill('SIGKILL');
    if (this.#base) rmSync(this.#base, { recursive: true, force: true });
  }

  #environment() {
    const listen = Object.entries(ADDRESSES).map(([what, name]) => [`FIELDPOST__${name}__LISTEN`, this.#listen[what]]);
    const clock = {
      LD_PRELOAD: FAKETIME,
      FAKETIME_TIMESTAMP_FILE: join(this.#base, 'clock'),
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    };
    return { ...process.env, ...Object.fromEntries(listen), ...clock };
  }
}
