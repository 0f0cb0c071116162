// DEVELOPMENT AID, NEVER SHIPPED: an invented town (bent grid, ring road, radials) and units that
// walk and drive along its streets, from a seed.

const CENTRE = { lon: -1.5478, lat: 53.7997 };
const M_LAT = 1 / 111_195;
const M_LON = M_LAT / Math.cos((CENTRE.lat * Math.PI) / 180);

function random(seed) {
  let state = seed >>> 0 || 1;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

const toDegrees = ([x, y]) => ({ lon: CENTRE.lon + x * M_LON, lat: CENTRE.lat + y * M_LAT });

/** Nodes by index with metres from the centre; edges as pairs of nodes. */
function network(next) {
  const nodes = [];
  const edges = [];
  const SIZE = 17;
  const STEP_M = 190;
  const index = (column, row) => row * SIZE + column;
  for (let row = 0; row < SIZE; row += 1) {
    for (let column = 0; column < SIZE; column += 1) {
      const x = (column - (SIZE - 1) / 2) * STEP_M;
      const y = (row - (SIZE - 1) / 2) * STEP_M;
      const bend = 1 + 0.1 * Math.sin(x / 700) * Math.cos(y / 500);
      nodes.push([
        x * bend + 60 * Math.sin(y / 420) + (next() - 0.5) * 70,
        y * bend + 50 * Math.sin(x / 510) + (next() - 0.5) * 70,
      ]);
    }
  }
  const main = new Set([4, 8, 12]);
  const radius = (node) => Math.hypot(...nodes[node]);
  const join = (a, b, isMain, line) => {
    if (Math.max(radius(a), radius(b)) > 1_720 && !isMain) return;
    if (!isMain && next() < 0.14) return;
    edges.push({ a, b, line, class: isMain ? 'primary' : line % 3 === 0 ? 'secondary' : 'residential' });
  };
  for (let row = 0; row < SIZE; row += 1) {
    for (let column = 0; column < SIZE; column += 1) {
      if (column + 1 < SIZE) join(index(column, row), index(column + 1, row), main.has(row), row);
      if (row + 1 < SIZE) join(index(column, row), index(column, row + 1), main.has(column), SIZE + column);
    }
  }
  return { nodes, edges };
}

const NAMES = ['Mill Lane', 'Station Road', 'Church Street', 'Kirkgate', 'Albion Street', 'Wharf Road', 'The Headrow', 'Queen Street', 'Orchard Way', 'Canal Walk', 'Victoria Road', 'Park Row', 'Bridge End', 'Tannery Lane', 'York Road', 'Elm Grove', 'Castle Street'];

const lineString = (points, properties) => ({
  type: 'Feature',
  properties: { kind: 'street', ...properties },
  geometry: { type: 'LineString', coordinates: points.map((point) => Object.values(toDegrees(point))) },
});

/** Edges of one row or column that follow each other become one named street. */
function streets(nodes, edges) {
  const features = [];
  let chain = [];
  const flush = () => {
    if (chain.length === 0) return;
    const { line } = chain[0];
    const name = NAMES[(line * 7) % NAMES.length];
    features.push(lineString([nodes[chain[0].a], ...chain.map((edge) => nodes[edge.b])], { class: chain[0].class, name }));
    chain = [];
  };
  for (const edge of edges.toSorted((one, other) => one.line - other.line || one.a - other.a)) {
    if (chain.length > 0 && chain.at(-1).b !== edge.a) flush();
    chain.push(edge);
  }
  flush();
  return features;
}

function area(kind, points) {
  const ring = [...points, points[0]].map((point) => Object.values(toDegrees(point)));
  return { type: 'Feature', properties: { kind }, geometry: { type: 'Polygon', coordinates: [ring] } };
}

function grounds() {
  const bank = (offset_m) =>
    Array.from({ length: 61 }, (_, step) => {
      const x = (step - 30) * 100;
      return [x, -620 + 170 * Math.sin(x / 620) + 60 * Math.sin(x / 210) + offset_m + 12 * Math.sin(x / 90)];
    });
  const blob = (x, y, radius_m) =>
    Array.from({ length: 40 }, (_, step) => {
      const angle = (step / 40) * 2 * Math.PI;
      const radius = radius_m * (1 + 0.22 * Math.sin(3 * angle + x) + 0.1 * Math.sin(5 * angle));
      return [x + radius * Math.cos(angle), y + radius * Math.sin(angle)];
    });
  return [area('park', blob(-900, 620, 300)), area('park', blob(780, -1_020, 250)), area('park', blob(520, 980, 210)), area('river', [...bank(38), ...bank(-38).toReversed()])];
}

const DUTIES = ['available', 'available', 'available', 'en-route', 'at-scene', 'committed', 'on-duty', 'at-station', 'refreshments', 'prisoner'];

const SURNAMES = ['Singh', 'Okafor', 'Whitaker', 'Nowak', 'Brennan', 'Patel', 'Ashworth', 'Kaur', 'Lindqvist', 'Mbeki'];

/** Strings that would act if they were ever markup, script or style. */
const HOSTILE = [
  '<img src=x onerror=globalThis.pwned=1>',
  '"><script>globalThis.pwned=1</script>',
  "javascript:globalThis.pwned=1//'",
  '{{constructor.constructor("globalThis.pwned=1")()}}',
  '\u202eecilop\u0000\u2028</style>',
];

function makeHostile(unit, number) {
  const text = HOSTILE[number % HOSTILE.length];
  unit.callsign = `${text} ${number}`;
  unit.officer = text;
  unit.role = number % 2 === 0 ? text : 'response';
}

function makeUnit(number, officers, count, actual, next) {
  const vehicle = number > officers;
  const serial = vehicle ? number - officers : number;
  const device = `${vehicle ? 'rv' : 'pc'}-${String(serial).padStart(4, '0')}`;
  const force = number % 11 === 0 ? 'north' : 'sim';
  const mode = actual && next() < 0.6 ? 'actual' : number === count ? 'test' : 'exercise';
  return {
    id: `${force}/${device}`,
    force,
    device,
    callsign: `${vehicle ? 'RV' : 'PC'} ${String(serial).padStart(4, '0')}`,
    kind: vehicle ? 'vehicle' : 'officer',
    mode,
    connected: true,
    duty: next() < 0.03 ? null : DUTIES[Math.floor(next() * DUTIES.length)],
    battery_pct: vehicle ? null : Math.round(12 + next() * 88),
    position: null,
    last_report_ms: 0,
    stale: false,
    alarm: null,
    gaps: [],
    role: vehicle ? ['response', 'traffic', 'armed'][serial % 3] : ['response', 'neighbourhood', 'dog'][serial % 3],
    officer: vehicle ? null : `${SURNAMES[number % SURNAMES.length]} ${4000 + number * 7}`,
    vehicle: null,
  };
}

/** The network of a GeoJSON town: lines that share a point meet there. */
function networkOf(collection) {
  const nodes = [];
  const edges = [];
  const known = new Map();
  const nodeAt = ([lon, lat]) => {
    const key = `${lon} ${lat}`;
    if (!known.has(key)) known.set(key, nodes.push([(lon - CENTRE.lon) / M_LON, (lat - CENTRE.lat) / M_LAT]) - 1);
    return known.get(key);
  };
  for (const { geometry } of collection.features) {
    if (geometry.type !== 'LineString') continue;
    geometry.coordinates.slice(1).forEach((point, at) => {
      edges.push({ a: nodeAt(geometry.coordinates[at]), b: nodeAt(point) });
    });
  }
  return { nodes, edges };
}

/** `start_ms`: the instant of the first reports; `hostile`: callsigns and devices that try to be markup. */
export function town({ seed, count, actual, given, start_ms, hostile }) {
  const next = random(seed);
  const { nodes, edges } = given === undefined ? network(next) : networkOf(given);
  const touching = nodes.map(() => []);
  for (const edge of edges) {
    touching[edge.a].push(edge);
    touching[edge.b].push(edge);
  }
  const features = given?.features ?? [...grounds(), ...streets(nodes, edges)];
  const officers = Math.ceil(count * 0.75);
  const units = [];
  const movers = [];
  for (let number = 1; number <= count; number += 1) {
    const unit = makeUnit(number, officers, count, actual, next);
    if (hostile) makeHostile(unit, number);
    const edge = edges[Math.floor(next() * edges.length)];
    units.push(unit);
    movers.push({
      unit,
      edge,
      from: edge.a,
      along_m: 0,
      speed_mps: unit.kind === 'vehicle' ? 7 + next() * 8 : 1.1 + next() * 0.6,
      period_ms: unit.kind === 'vehicle' ? 2_000 : 5_000,
      due_ms: start_ms - next() * 5_000,
      moved_ms: start_ms,
      silent: number % 19 === 5,
    });
  }

  function advance(mover, seconds) {
    let left_m = mover.speed_mps * seconds;
    for (;;) {
      const to = mover.edge.a === mover.from ? mover.edge.b : mover.edge.a;
      const length_m = Math.hypot(nodes[to][0] - nodes[mover.from][0], nodes[to][1] - nodes[mover.from][1]);
      if (mover.along_m + left_m < length_m) {
        mover.along_m += left_m;
        const share = mover.along_m / length_m;
        const [x, y] = [0, 1].map((axis) => nodes[mover.from][axis] + share * (nodes[to][axis] - nodes[mover.from][axis]));
        const course = (Math.atan2(nodes[to][0] - nodes[mover.from][0], nodes[to][1] - nodes[mover.from][1]) * 180) / Math.PI;
        return { ...toDegrees([x, y]), course_deg: (course + 360) % 360 };
      }
      left_m -= length_m - mover.along_m;
      mover.along_m = 0;
      mover.from = to;
      const ways = touching[to].filter((edge) => edge !== mover.edge);
      mover.edge = ways.length > 0 ? ways[Math.floor(next() * ways.length)] : mover.edge;
    }
  }

  function report(mover, now_ms) {
    const place = advance(mover, (now_ms - mover.moved_ms) / 1_000);
    mover.moved_ms = now_ms;
    mover.due_ms = now_ms + mover.period_ms;
    mover.unit.last_report_ms = now_ms;
    mover.unit.position = {
      lon: place.lon,
      lat: place.lat,
      speed_mps: mover.speed_mps,
      course_deg: Math.round(place.course_deg),
      accuracy_m: 4,
      device_time_ms: now_ms - 80,
      received_at_ms: now_ms,
      clock: 'gnss',
      history: false,
    };
  }

  for (const mover of movers) {
    mover.moved_ms -= 120_000 * next();
    report(mover, start_ms);
    mover.due_ms = start_ms + next() * mover.period_ms;
  }

  return {
    units,
    /** Some devices fall silent: their newest report is as old as told. */
    silence(now_ms) {
      movers.filter((mover) => mover.silent).forEach(({ unit }, index) => {
        unit.last_report_ms = now_ms - 150_000 * (1 + index);
        unit.position = { ...unit.position, received_at_ms: unit.last_report_ms };
        unit.stale = true;
        unit.connected = unit.device.endsWith('5');
      });
    },
    streets: { type: 'FeatureCollection', features },
    step(now_ms) {
      const due = movers.filter((mover) => !mover.silent && mover.due_ms <= now_ms);
      for (const mover of due) report(mover, now_ms);
      return due.map((mover) => mover.unit);
    },
  };
}
