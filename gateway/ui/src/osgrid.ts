/**
 * Ordnance Survey National Grid references (EPSG:27700), which British control rooms speak. Pure.
 *
 * Formulas and constants: Ordnance Survey, "A guide to coordinate systems in Great Britain", annexes
 * B and C. The seven-parameter shift is good to about 5 m; the reference is given to 10 m.
 */
import type { Place } from './types';

const RADIANS = Math.PI / 180;
const WGS84 = { a: 6_378_137, b: 6_356_752.3142 };
const AIRY = { a: 6_377_563.396, b: 6_356_256.909 };

/** WGS 84 to OSGB36: metres, scale in parts, rotations in radians. */
const SHIFT = {
  tx: -446.448,
  ty: 125.157,
  tz: -542.06,
  scale: 20.4894e-6,
  rx: (-0.1502 / 3600) * RADIANS,
  ry: (-0.247 / 3600) * RADIANS,
  rz: (-0.8421 / 3600) * RADIANS,
};

const GRID = { scale: 0.999_601_271_7, lat: 49 * RADIANS, lon: -2 * RADIANS, east: 400_000, north: -100_000 };

interface GridPoint {
  east_m: number;
  north_m: number;
}

type Ellipsoid = typeof WGS84;

const eccentricity2 = ({ a, b }: Ellipsoid): number => 1 - (b * b) / (a * a);

function toOsgb36({ lat, lon }: Place): Place {
  const e2 = eccentricity2(WGS84);
  const [phi, lambda] = [lat * RADIANS, lon * RADIANS];
  const nu = WGS84.a / Math.sqrt(1 - e2 * Math.sin(phi) ** 2);
  const x = nu * Math.cos(phi) * Math.cos(lambda);
  const y = nu * Math.cos(phi) * Math.sin(lambda);
  const z = nu * (1 - e2) * Math.sin(phi);
  const k = 1 + SHIFT.scale;
  const x2 = SHIFT.tx + k * x - SHIFT.rz * y + SHIFT.ry * z;
  const y2 = SHIFT.ty + SHIFT.rz * x + k * y - SHIFT.rx * z;
  const z2 = SHIFT.tz - SHIFT.ry * x + SHIFT.rx * y + k * z;
  return fromCartesian(x2, y2, z2);
}

function fromCartesian(x: number, y: number, z: number): Place {
  const e2 = eccentricity2(AIRY);
  const p = Math.hypot(x, y);
  let phi = Math.atan2(z, p * (1 - e2));
  // Each round gains three digits: six are beyond a micrometre.
  for (let round = 0; round < 6; round += 1) {
    const nu = AIRY.a / Math.sqrt(1 - e2 * Math.sin(phi) ** 2);
    phi = Math.atan2(z + e2 * nu * Math.sin(phi), p);
  }
  return { lat: phi / RADIANS, lon: Math.atan2(y, x) / RADIANS };
}

function meridian_m(phi: number): number {
  const n = (AIRY.a - AIRY.b) / (AIRY.a + AIRY.b);
  const [minus, plus] = [phi - GRID.lat, phi + GRID.lat];
  return (
    AIRY.b *
    GRID.scale *
    ((1 + n + 1.25 * n ** 2 + 1.25 * n ** 3) * minus -
      (3 * n + 3 * n ** 2 + 2.625 * n ** 3) * Math.sin(minus) * Math.cos(plus) +
      (1.875 * n ** 2 + 1.875 * n ** 3) * Math.sin(2 * minus) * Math.cos(2 * plus) -
      (35 / 24) * n ** 3 * Math.sin(3 * minus) * Math.cos(3 * plus))
  );
}

/** Projects an OSGB36 place (not a WGS 84 one) onto the grid. */
export function project({ lat, lon }: Place): GridPoint {
  const [phi, lambda] = [lat * RADIANS, lon * RADIANS];
  const e2 = eccentricity2(AIRY);
  const [sin, cos, tan2] = [Math.sin(phi), Math.cos(phi), Math.tan(phi) ** 2];
  const nu = (AIRY.a * GRID.scale) / Math.sqrt(1 - e2 * sin ** 2);
  const rho = (AIRY.a * GRID.scale * (1 - e2)) / (1 - e2 * sin ** 2) ** 1.5;
  const eta2 = nu / rho - 1;
  const p = lambda - GRID.lon;
  const north_m =
    meridian_m(phi) +
    GRID.north +
    (nu / 2) * sin * cos * p ** 2 +
    (nu / 24) * sin * cos ** 3 * (5 - tan2 + 9 * eta2) * p ** 4 +
    (nu / 720) * sin * cos ** 5 * (61 - 58 * tan2 + tan2 ** 2) * p ** 6;
  const east_m =
    GRID.east +
    nu * cos * p +
    (nu / 6) * cos ** 3 * (nu / rho - tan2) * p ** 3 +
    (nu / 120) * cos ** 5 * (5 - 18 * tan2 + tan2 ** 2 + 14 * eta2 - 58 * tan2 * eta2) * p ** 5;
  return { east_m, north_m };
}

/** Easting and northing of a WGS 84 place. */
export const toGrid = (place: Place): GridPoint => project(toOsgb36(place));

// The letter I is not used; rows run from north to south.
const LETTERS = 'ABCDEFGHJKLMNOPQRSTUVWXYZ';

/** `SE 2982 3382`, to 10 m; null outside Great Britain's grid. */
export function gridReference(place: Place): string | null {
  const { east_m, north_m } = toGrid(place);
  if (!(east_m >= 0 && east_m < 700_000 && north_m >= 0 && north_m < 1_300_000)) return null;
  const [column, row] = [Math.floor(east_m / 100_000), Math.floor(north_m / 100_000)];
  const first = LETTERS[(3 - Math.floor(row / 5)) * 5 + Math.floor(column / 5) + 2];
  const second = LETTERS[(4 - (row % 5)) * 5 + (column % 5)];
  const four = (metres: number): string => String(Math.floor((metres % 100_000) / 10)).padStart(4, '0');
  return `${first}${second} ${four(east_m)} ${four(north_m)}`;
}
