/** Plane geometry for a map of a town. Pure; degrees WGS 84 in, metres out. */
import type { Place } from './types';

/** West, south, east, north. */
export type Box = [number, number, number, number];

const METRES_PER_DEGREE = 111_195;

/** Distance by the equirectangular approximation: within 0.1 % below 100 km. */
export function distance_m(a: Place, b: Place): number {
  const scale = Math.cos((((a.lat + b.lat) / 2) * Math.PI) / 180);
  return Math.hypot((b.lon - a.lon) * scale, b.lat - a.lat) * METRES_PER_DEGREE;
}

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;

export function boxOf(places: readonly Place[]): Box | null {
  if (places.length === 0) return null;
  const lon = places.map((place) => place.lon);
  const lat = places.map((place) => place.lat);
  return [Math.min(...lon), Math.min(...lat), Math.max(...lon), Math.max(...lat)];
}

/**
 * The box of the main body: places within `reach_m` of the median place. One unit abroad must not
 * shrink a town to a dot.
 */
export function mainBox(places: readonly Place[], reach_m = 25_000): Box | null {
  const centre = { lon: median(places.map((p) => p.lon)), lat: median(places.map((p) => p.lat)) };
  return boxOf(places.filter((place) => distance_m(place, centre) <= reach_m));
}

/** A ring of `radius_m` around a place as a polygon of 48 sides. */
export function circle(centre: Place, radius_m: number): GeoJSON.Position[] {
  const lat_radius = radius_m / METRES_PER_DEGREE;
  const lon_radius = lat_radius / Math.max(0.05, Math.cos((centre.lat * Math.PI) / 180));
  return Array.from({ length: 49 }, (_, index) => {
    const angle = (index / 48) * 2 * Math.PI;
    return [centre.lon + lon_radius * Math.cos(angle), centre.lat + lat_radius * Math.sin(angle)];
  });
}

/** `51.50741, -0.12776`: five digits are about one metre. */
export const coordinates = ({ lat, lon }: Place): string => `${lat.toFixed(5)}, ${lon.toFixed(5)}`;

const STEPS_M = [5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000];

/** The longest round distance that fits in `width_px`, for a scale bar. */
export function scaleStep(metres_per_px: number, width_px: number): { metres: number; px: number; words: string } {
  const metres = STEPS_M.findLast((step) => step / metres_per_px <= width_px) ?? 5;
  const words = metres < 1_000 ? `${metres} m` : `${metres / 1_000} km`;
  return { metres, px: Math.round(metres / metres_per_px), words };
}
