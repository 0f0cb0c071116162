// DEVELOPMENT AID, NEVER SHIPPED: a stand-in for the gateway's page API with an invented town, so
// that the page can be worked on without Rust. It speaks the same routes, headers and events; it
// has no spool, no devices and no security. All its data is `exercise` or `test`.
//
//   npm run build && node dev/mock.mjs            prints a one-time link
//
// Options: --port 8480  --units 60  --alarm-after 15 (seconds; 0 = never)  --seed 7
//          --streets FILE (another town, as GeoJSON)
//          --degraded  --actual (mixes in units marked actual, to see how both look together)
// Commands on stdin, one a line: alarm, cancel (the wearer cancels the newest), cut (drop every
// stream), mute (stop talking), down (answer nobody), end (end the session), full (spool full);
// mute, down and full toggle.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
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

const given = option.streets === '' ? undefined : JSON.parse(await readFile(option.streets, 'utf8'));
const world = town(Number(option.seed), Number(option.units), option.actual, given);
const alarms = new Map();
const streams = new Set();
const state = { cursor: 1000, records: 0, spool: 'ok', muted: false, down: false };
const tokens = new Set(['development']);
let session = crypto.randomUUID();

const now = () => Date.now();
const event = (name, data) => `event: ${name}\nid: ${state.cursor}\ndata: ${JSON.stringify(data)}\n\n`;
const broadcast = (name, data) => {
  if (state.muted) return;
  for (const stream of streams) stream.write(event(name, data));
};

function raiseAlarm(unit = world.units.find((each) => each.kind === 'officer')) {
  const at = now();
  const alarm = {
    id: `${unit.id}/3/${++state.cursor}`,
    unit: unit.id,
    callsign: unit.callsign,
    cause: alarms.size % 2 === 0 ? 'officer_down' : 'button',
    mode: unit.mode,
    raised_at_ms: at - 600,
    received_at_ms: at,
    position: { lon: unit.position.lon, lat: unit.position.lat },
    state: 'unacknowledged',
    cancelled_at_ms: null,
    acknowledged_by: null,
    acknowledged_at_ms: null,
    receipt: 'none',
  };
  alarms.set(alarm.id, alarm);
  unit.alarm = alarm.id;
  broadcast('alarm', alarm);
  broadcast('units', [unit]);
}

const gatewayState = () => ({
  spool: state.spool,
  devices_connected: world.units.filter((unit) => unit.connected).length,
  records_total: state.records,
  degraded: option.degraded
    ? ['Sink "nats" refuses records since 21:04: the force system is 312 records behind. This page is not affected.']
    : [],
});

setInterval(() => {
  const changed = world.step(now());
  state.records += changed.length;
  state.cursor += changed.length;
  if (changed.length > 0) broadcast('units', changed);
}, 250).unref();
setInterval(() => broadcast('gateway', gatewayState()), 2_000).unref();
if (Number(option['alarm-after']) > 0) setTimeout(raiseAlarm, Number(option['alarm-after']) * 1_000).unref();

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

async function answerAcknowledge(request, response) {
  if (request.headers['x-fieldpost'] !== '1') return send(response, 403, 'missing X-Fieldpost header');
  const { id } = await readBody(request);
  const alarm = alarms.get(id);
  if (alarm === undefined) return send(response, 404, 'no such alarm');
  if (alarm.state === 'acknowledged') return send(response, 409, alarm);
  Object.assign(alarm, { state: 'acknowledged', acknowledged_by: 'demo', acknowledged_at_ms: now(), receipt: 'queued' });
  send(response, 200, alarm);
  broadcast('alarm', alarm);
  setTimeout(() => {
    alarm.receipt = 'delivered';
    broadcast('alarm', alarm);
  }, 1_500);
}

function openStream(request, response) {
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
  response.write(event('units', world.units));
  for (const alarm of alarms.values()) response.write(event('alarm', alarm));
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

const server = createServer(async (request, response) => {
  if (state.down) return request.socket.destroy();
  const url = new URL(request.url, 'http://localhost');
  if (url.pathname === '/login') {
    if (!tokens.has(url.searchParams.get('token'))) return send(response, 401, 'this link was used or is too old');
    return send(response, 303, '', { Location: '/', 'Set-Cookie': `session=${session}; HttpOnly; SameSite=Strict; Path=/` });
  }
  if (!(request.headers.cookie ?? '').includes(`session=${session}`)) {
    return send(response, 401, 'No session. Get a one-time link: fieldpost login -c FILE --operator NAME\n');
  }
  switch (url.pathname) {
    case '/api/v1/session':
      return send(response, 200, { operator: 'demo', force: '*', server_time_ms: now(), gateway_version: '0.1.0 (mock)' });
    case '/api/v1/units':
      return send(response, 200, { cursor: String(state.cursor), units: world.units });
    case '/api/v1/alarms':
      return send(response, 200, { alarms: [...alarms.values()] });
    case '/api/v1/alarms/acknowledge':
      return answerAcknowledge(request, response);
    case '/api/v1/stream':
      return openStream(request, response);
    case '/map/streets.json':
      return send(response, 200, world.streets);
    default:
      return sendFile(url.pathname, response);
  }
});
server.listen(Number(option.port), '127.0.0.1', () => {
  console.log(`mock gateway (development aid): http://127.0.0.1:${option.port}/login?token=development`);
});

const COMMANDS = {
  alarm: () => raiseAlarm(world.units[Math.floor(Math.random() * world.units.length)]),
  cut: () => {
    for (const stream of streams) stream.destroy();
  },
  mute: () => (state.muted = !state.muted),
  end: () => {
    session = crypto.randomUUID();
    COMMANDS.cut();
  },
  down: () => {
    state.down = !state.down;
    COMMANDS.cut();
  },
  cancel: () => {
    const alarm = [...alarms.values()].at(-1);
    if (alarm === undefined) return;
    alarm.cancelled_at_ms = now();
    broadcast('alarm', alarm);
  },
  full: () => (state.spool = state.spool === 'ok' ? 'full' : 'ok'),
};
createInterface({ input: process.stdin }).on('line', (line) => COMMANDS[line.trim()]?.());
