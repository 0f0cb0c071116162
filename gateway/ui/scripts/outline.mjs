// Turns Natural Earth (npm `world-atlas`, public domain) into the page's base map.
//
// In:  land and countries at 1:10m for the British Isles, land at 1:50m for their neighbours and at
//      1:110m for the rest of the world, so a unit far away still stands on something.
// Out: public/map/outline.json, one GeoJSON FeatureCollection of two features, told apart by
//      `kind`: `land` (MultiPolygon) and `border` (MultiLineString).
//
// Land is cut at the edges of the two regions. The page draws the coast from the same polygons
// and leaves out the sides that lie on a cut: `cuts` lists those longitudes and latitudes
// (src/map/outline.ts).
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { feature, mesh } from 'topojson-client';

const require = createRequire(import.meta.url);
const atlas = (name) => JSON.parse(readFileSync(require.resolve(`world-atlas/${name}.json`), 'utf8'));

// West, south, east, north in degrees: the Blaskets to Calais, the Channel Islands to Shetland.
const REGION = [-11, 48.5, 3, 61];
/** Norway to Galicia, Iceland's edge to the Elbe. */
const NEIGHBOURS = [-16, 43, 13, 63];
const WORLD = [-180, -60, 180, 90];

/** What is left of a box around a smaller one: west, east, south and north of it. */
const around = (outer, inner) => [
  [outer[0], outer[1], inner[0], outer[3]],
  [inner[2], outer[1], outer[2], outer[3]],
  [inner[0], outer[1], inner[2], inner[1]],
  [inner[0], inner[3], inner[2], outer[3]],
];
const BYTES_MAX = 300_000;

/** Keeps the part of a ring inside one half-plane (Sutherland and Hodgman, 1974). */
function cutRing(ring, axis, limit, keepsGreater) {
  const inside = (point) => (keepsGreater ? point[axis] >= limit : point[axis] <= limit);
  const kept = [];
  for (let index = 0; index < ring.length; index += 1) {
    const from = ring[(index + ring.length - 1) % ring.length];
    const to = ring[index];
    if (inside(from) !== inside(to)) {
      const share = (limit - from[axis]) / (to[axis] - from[axis]);
      kept.push([from[0] + share * (to[0] - from[0]), from[1] + share * (to[1] - from[1])]);
    }
    if (inside(to)) kept.push(to);
  }
  return kept;
}

function ringWithin(ring, [west, south, east, north]) {
  let cut = ring.slice(0, -1);
  cut = cutRing(cut, 0, west, true);
  cut = cutRing(cut, 0, east, false);
  cut = cutRing(cut, 1, south, true);
  cut = cutRing(cut, 1, north, false);
  return cut.length < 3 ? null : [...cut, cut[0]];
}

const within = ([lon, lat], [west, south, east, north]) =>
  lon >= west && lon <= east && lat >= south && lat <= north;

/** Splits a line into its runs inside the box (the far sides are left one vertex short). */
function lineRuns(line, box) {
  const runs = [];
  let run = [];
  for (const point of line) {
    if (within(point, box)) {
      run.push(point);
    } else {
      if (run.length > 1) runs.push(run);
      run = [];
    }
  }
  if (run.length > 1) runs.push(run);
  return runs;
}

const polygonsOf = ({ geometry }) =>
  geometry.type === 'Polygon' ? [geometry.coordinates] : geometry.coordinates;

/** A ring as one unbroken line: the atlas lets rings step over the 180th meridian. */
function unbroken(ring) {
  let turn = 0;
  return ring.map(([lon, lat], index) => {
    const step = index === 0 ? 0 : lon - ring[index - 1][0];
    if (step > 180) turn -= 360;
    if (step < -180) turn += 360;
    return [lon + turn, lat];
  });
}

const shifted = (ring, degrees) => ring.map(([lon, lat]) => [lon + degrees, lat]);

/** The land inside the boxes. Antarctica, whose ring does not close, lies outside all of them. */
function landWithin(collection, boxes) {
  const polygons = [];
  for (const shape of collection.features ?? [collection]) {
    for (const rings of polygonsOf(shape)) {
      if (rings[0].every(([, lat]) => lat < WORLD[1])) continue;
      for (const box of boxes) {
        for (const turn of [-360, 0, 360]) {
          const cut = rings.map((ring) => ringWithin(shifted(unbroken(ring), turn), box)).filter(Boolean);
          if (cut.length > 0) polygons.push(cut);
        }
      }
    }
  }
  return polygons;
}

const rounded = (line, digits) => {
  const points = line.map(([lon, lat]) => [Number(lon.toFixed(digits)), Number(lat.toFixed(digits))]);
  return points.filter(
    (point, index) => index === 0 || point[0] !== points[index - 1][0] || point[1] !== points[index - 1][1],
  );
};

const fine = atlas('countries-10m');
const middle = atlas('land-50m');
const coarse = atlas('land-110m');
const fineLand = landWithin(feature(fine, fine.objects.land), [REGION]);
const middleLand = landWithin(feature(middle, middle.objects.land), around(NEIGHBOURS, REGION));
const coarseLand = landWithin(feature(coarse, coarse.objects.land), around(WORLD, NEIGHBOURS));
const border = mesh(fine, fine.objects.countries, (a, b) => a !== b).coordinates.flatMap((line) =>
  lineRuns(line, REGION),
);

const shape = (kind, type, coordinates) => ({
  type: 'Feature',
  properties: { kind },
  geometry: { type, coordinates },
});
const outline = {
  type: 'FeatureCollection',
  cuts: {
    lon: [REGION, NEIGHBOURS, WORLD].flatMap((box) => [box[0], box[2]]),
    lat: [REGION, NEIGHBOURS, WORLD].flatMap((box) => [box[1], box[3]]),
  },
  features: [
    shape('land', 'MultiPolygon', [
      ...fineLand.map((rings) => rings.map((ring) => rounded(ring, 3))),
      ...middleLand.map((rings) => rings.map((ring) => rounded(ring, 2))),
      ...coarseLand.map((rings) => rings.map((ring) => rounded(ring, 1))),
    ]),
    shape('border', 'MultiLineString', border.map((line) => rounded(line, 3))),
  ],
};

const text = `${JSON.stringify(outline)}\n`;
if (text.length > BYTES_MAX) {
  throw new Error(`outline.json is ${text.length} bytes, over the ${BYTES_MAX} the page allows: cut REGION`);
}
mkdirSync(new URL('../public/map/', import.meta.url), { recursive: true });
writeFileSync(new URL('../public/map/outline.json', import.meta.url), text);
