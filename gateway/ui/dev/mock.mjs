// DEVELOPMENT AID, NEVER SHIPPED: a stand-in for the gateway's page API with an invented town, so
// that the page can be worked on without Rust, and driven by the browser tests. It speaks the same
// routes, headers and events; it has no spool, no devices and no security. All its data is
// `exercise` or `test`.
//
//   npm run build && node dev/mock.mjs            prints a one-time link
//
// Options: --port 8480 (0: a free one)  --units 60  --alarm-after 15 (seconds; 0 = never)  --seed 7
//          --streets FILE (another town, as GeoJSON)  --degraded
//          --actual (mixes in units marked actual, to see how both look together)
//          --hostile (callsigns and names that try to be markup)
// Commands on stdin, one a line: alarm [cause], flood, cancel (the wearer cancels the newest), cut
// (drop every stream), mute (stop talking), down (answer nobody), end (end every session), full
// (spool full), nobody, blind; mute, down, full, nobody and blind toggle. The first line printed
// is the link; after a command it prints `done`.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { alarmDesk, report } from './alarms.mjs';
import { pastHour } from './history.mjs';
import { town } from './town.mjs';

const { values: option } = parseArgs({
  options: {
    port: { type: 'string', default: '8480' },
    units: { type: 'string', default: '60' },
    'alarm-after': { type: 'string', default: '15' },
    seed: { type: 'string', default: '7' },
    streets: { type: 'string', default: '' },
    degraded: { type: 'boolean', default: false },
    actual: { type: 'boolean', default: false },
    hostile: { type: 'boolean', default: false },
  },
});

// The policy that the gateway sends (docs: README.md, "Content security policy").
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
  "worker-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
const TYPES = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript',
  mjs: 'text/javascript',
  css: 'text/css',
  json: 'application/json',
  svg: 'image/svg+xml',
  woff2: 'font/woff2',
  txt: 'text/plain; charset=utf-8',
};

const HOUR_MS = 3_600_000;
/** More units than this have no past here: it would take too long to invent. */
const PAST_UNITS_MAX = 300;

const now = () => Date.now();
const given = option.streets === '' ? undefined : JSON.parse(await readFile(option.streets, 'utf8'));
const count = Number(option.units);
const has_past = count <= PAST_UNITS_MAX;
const world = town({
  seed: Number(option.seed),
  count,
  actual: option.actual,
  given,
  start_ms: has_past ? now() - HOUR_MS : now(),
  hostile: option.hostile,
});
const past = has_past ? pastHour(world, now() - HOUR_MS, now()) : null;
world.silence(now());

const streams = new Set();
const state = { cursor: 1000, records: 0, spool: 'ok', muted: false, down: false, nobody: false, blind: false };
/** Session cookie -> operator. */
let sessions = new Map();
const locked = new Set();

const event = (name, data) => `event: ${name}\nid: ${state.cursor}\ndata: ${JSON.stringify(data)}\n\n`;
function broadcast(name, data) {
  if (state.muted) return;
  const text = event(name, data);
  for (const stream of streams) stream.write(text);
}
const alarms = alarmDesk(broadcast);

const raise = (cause, changes) => {
  const officers = world.units.filter((unit) => unit.kind === 'officer' && unit.alarm === null);
  const unit = officers[alarms.past().length % officers.length] ?? world.units[0];
  const alarm = alarms.raise(unit, cause, changes);
  broadcast('units', [unit]);
  return alarm;
};

const gatewayState = () => ({
  spool: state.spool,
  devices_connected: world.units.filter((unit) => unit.connected).length,
  records_total: state.records,
  degraded: option.degraded
    ? ['Sink "nats" refuses records since 21:04: the force system is 312 records behind. This page is not affected.']
    : [],
  blind: state.blind ? ['Positions of force north: its link is down since 02:04. Alarms of that force still pass.'] : [],
});
const watch = () => ({ consoles: streams.size, unlocked: state.nobody ? 0 : streams.size - locked.size, nobody: state.nobody });

setInterval(() => {
  const changed = world.step(now());
  state.records += changed.length;
  state.cursor += changed.length;
  if (changed.length > 0) broadcast('units', changed);
  past?.keep(now());
}, 250).unref();
setInterval(() => {
  broadcast('gateway', gatewayState());
  broadcast('watch', watch());
}, 2_000).unref();
setInterval(() => alarms.escalate(), 1_000).unref();
if (Number(option['alarm-after']) > 0) setTimeout(() => raise('button'), Number(option['alarm-after']) * 1_000).unref();

function send(response, status, body, headers = {}) {
  const json = typeof body !== 'string' && !Buffer.isBuffer(body);
  response.writeHead(status, {
    'Content-Type': json ? TYPES.json : 'text/plain; charset=utf-8',
    'Content-Security-Policy': POLICY,
    'X-Content-Type-Options': 'nosniff',
    'Cache-Control': 'no-store',
    ...headers,
  });
  response.end(json ? JSON.stringify(body) : body);
}

async function readBody(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString() || '{}');
}

function openSession(response, operator, status, headers = {}) {
  const id = crypto.randomUUID();
  sessions.set(id, operator);
  send(response, status, '', { 'Set-Cookie': `session=${id}; HttpOnly; SameSite=Strict; Path=/`, ...headers });
}

function openStream(url, request, response) {
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
  // It keeps nothing of what it said.
  if (url.searchParams.has('cursor')) response.write(event('lagged', {}));
  for (const alarm of alarms.list()) response.write(event('alarm', alarm));
  response.write(event('gateway', gatewayState()));
  streams.add(response);
  request.on('close', () => streams.delete(response));
}

async function sendFile(path, response) {
  const name = path === '/' ? '/index.html' : path;
  if (name.includes('..')) return send(response, 404, 'not found');
  try {
    const body = await readFile(new URL(`../dist${name}`, import.meta.url));
    send(response, 200, body, { 'Content-Type': TYPES[name.split('.').pop()] ?? 'application/octet-stream' });
  } catch {
    send(response, 404, 'not found');
  }
}

const session = (operator) => ({
  operator,
  name: operator,
  roles: ['operator', 'supervisor'],
  forces: ['*'],
  may: ['look', 'acknowledge', 'shelve', 'close', 'lower', ...(has_past ? ['history'] : []), 'performance', 'audit_read'],
  reason: 'off',
  locked: locked.has(operator),
  server_time_ms: now(),
  gateway_version: '0.1.0 (mock)',
});

const looks = (unit) => ({
  purpose: 'For: lawfulness, self-monitoring, integrity and security, criminal proceedings (DPA 2018 s.62(4)).',
  looks: [
    { n: 41, operator: 'kaur', from: '10.4.1.7', what: 'stream', at_ms: now() - 900_000, until_ms: now() - 60_000, subjects: [unit], fields: ['position', 'state'], precision: 'full', shown: [{ at_ms: now() - 800_000, event: 'units', row: { duty: 'available', position: { lat: 52.2, lon: -1.44 } } }] },
    { n: 44, operator: 'demo', from: '10.4.1.9', what: 'track', at_ms: now() - 120_000, subjects: [unit, 'sim/rv-0001', 'sim/rv-0002', 'sim/rv-0003'], fields: ['position'], precision: 'full', of: { from_ms: now() - 90_000_000, until_ms: now() - 86_400_000 }, reason: 'Incident 2217' },
  ],
  is_cut: false,
  verification: { lines: 48, broken: null },
});

const READ = {
  '/api/v1/session': (_query, who) => session(who),
  '/api/v1/units': () => ({ cursor: String(state.cursor), units: world.units }),
  '/api/v1/alarms': () => ({ alarms: alarms.list() }),
  '/api/v1/alarms/timeline': (query) => ({ events: alarms.story(query.get('id')) ?? [] }),
  '/api/v1/alarms/performance': (query) => report(Number(query.get('from_ms')), Number(query.get('until_ms')), Math.random),
  '/api/v1/history/replay': (query) => past?.replay(query),
  '/api/v1/history/units': (query) => past && { units: past.unitsAt(Number(query.get('at_ms'))) },
  '/api/v1/history/track': (query) => past?.track(query),
  '/api/v1/history/alarms': () => ({ alarms: alarms.past(), next: null }),
  '/api/v1/audit/saw': (query) => looks(query.get('unit')),
  '/api/v1/audit/looks': () => looks('sim/pc-0001'),
  '/map/streets.json': () => world.streets,
  '/map/base.json': () => ({ kind: 'none', minzoom: 0, maxzoom: 0, bounds: [-180, -85, 180, 85], layers: [], attribution: '', fault: null }),
};

async function answerPost(path, request, response, who) {
  if (request.headers['x-fieldpost'] !== '1') return send(response, 403, { error: 'missing X-Fieldpost header' });
  const body = await readBody(request);
  if (path === '/api/v1/login') {
    if (body.password !== 'correct horse') return send(response, 401, { error: 'wrong name or password' });
    return openSession(response, body.name, 204);
  }
  if (who === undefined) return send(response, 401, { error: 'no session' });
  if (path === '/api/v1/logout') {
    sessions = new Map([...sessions].filter(([, operator]) => operator !== who));
    return send(response, 204, '');
  }
  if (path === '/api/v1/console/lock') {
    locked.add(who);
    return send(response, 204, '');
  }
  if (path === '/api/v1/console/unlock') {
    if (body.password !== 'correct horse') return send(response, 401, { error: 'wrong password' });
    locked.delete(who);
    return send(response, 204, '');
  }
  const [status, answer] = alarms.act(path.split('/').at(-1), body, who);
  return send(response, status, answer);
}

const server = createServer(async (request, response) => {
  if (state.down) return request.socket.destroy();
  const url = new URL(request.url, 'http://localhost');
  if (request.method === 'GET' && url.pathname === '/login') {
    if (url.searchParams.get('token') !== 'development') return send(response, 401, 'this link was used or is too old');
    return openSession(response, url.searchParams.get('operator') ?? 'demo', 303, { Location: '/' });
  }
  const who = sessions.get(/session=([\w-]+)/.exec(request.headers.cookie ?? '')?.[1] ?? '');
  if (request.method === 'POST') return answerPost(url.pathname, request, response, who);
  if (who === undefined) return send(response, 401, { error: 'no session: get a one-time link' });
  if (url.pathname === '/api/v1/stream') return openStream(url, request, response);
  const read = READ[url.pathname];
  if (read === undefined) return sendFile(url.pathname, response);
  const answer = read(url.searchParams, who);
  return answer ? send(response, 200, answer) : send(response, 404, { error: 'there is no history here' });
});
server.listen(Number(option.port), '127.0.0.1', () => {
  console.log(`mock gateway (development aid): http://127.0.0.1:${server.address().port}/login?token=development`);
});

const COMMANDS = {
  alarm: (cause = 'button') => raise(cause),
  flood: () => {
    for (let each = 0; each < 12; each += 1) raise('officer_down', { incident: 'inc-7' });
  },
  cut: () => {
    for (const stream of streams) stream.destroy();
  },
  mute: () => {
    state.muted = !state.muted;
    // Nothing is dropped without a word: whoever was not told hears that they lagged.
    if (!state.muted) broadcast('lagged', {});
  },
  end: () => {
    sessions = new Map();
    COMMANDS.cut();
  },
  down: () => {
    state.down = !state.down;
    COMMANDS.cut();
  },
  cancel: () => {
    const alarm = alarms.list().at(-1);
    if (alarm === undefined) return;
    alarm.cancelled_at_ms = now();
    alarms.touch(alarm);
  },
  full: () => (state.spool = state.spool === 'ok' ? 'full' : 'ok'),
  nobody: () => {
    state.nobody = !state.nobody;
    broadcast('watch', watch());
  },
  blind: () => {
    state.blind = !state.blind;
    broadcast('gateway', gatewayState());
  },
};
const commands = createInterface({ input: process.stdin });
commands.on('line', (line) => {
  const [command, ...words] = line.trim().split(' ');
  COMMANDS[command]?.(...words);
  console.log('done');
});
// Whoever started this has gone: a terminal stays open, a test's pipe does not.
if (!process.stdin.isTTY) commands.on('close', () => process.exit());
