/** The base map's shapes, made ready to draw. Pure. */

type Line = GeoJSON.Position[];

interface Outline extends GeoJSON.FeatureCollection {
  cuts?: { lon: number[]; lat: number[] };
}

/**
 * The coast: the sides of the land, without those that only exist because land was cut at the edge
 * of the detailed region (scripts/outline.mjs).
 */
export function coastOf(outline: Outline): GeoJSON.Feature<GeoJSON.MultiLineString> {
  const lon = new Set(outline.cuts?.lon ?? []);
  const lat = new Set(outline.cuts?.lat ?? []);
  const onCut = (a: GeoJSON.Position, b: GeoJSON.Position): boolean =>
    (a[0] === b[0] && lon.has(a[0] ?? NaN)) || (a[1] === b[1] && lat.has(a[1] ?? NaN));
  const coordinates: Line[] = [];
  for (const { geometry } of outline.features) {
    if (geometry.type !== 'MultiPolygon') continue;
    for (const ring of geometry.coordinates.flat()) coordinates.push(...openRuns(ring, onCut));
  }
  return { type: 'Feature', properties: { kind: 'coast' }, geometry: { type: 'MultiLineString', coordinates } };
}

function openRuns(ring: Line, onCut: (a: GeoJSON.Position, b: GeoJSON.Position) => boolean): Line[] {
  const runs: Line[] = [];
  let run: Line = [];
  ring.forEach((point, index) => {
    const before = ring[index - 1];
    if (before !== undefined && onCut(before, point)) {
      if (run.length > 1) runs.push(run);
      run = [];
    }
    run.push(point);
  });
  if (run.length > 1) runs.push(run);
  return runs;
}

/**
 * A degree grid of about one kilometre around a place: gives an eye for distance where there is no
 * other detail. `reach_km` to each side.
 */
export function kilometreGrid(
  centre: { lon: number; lat: number },
  reach_km: number,
): GeoJSON.Feature<GeoJSON.MultiLineString> {
  const lat_step = 1 / 111.2;
  const lon_step = lat_step / Math.max(0.05, Math.cos((centre.lat * Math.PI) / 180));
  const lines: Line[] = [];
  for (let index = -reach_km; index <= reach_km; index += 1) {
    const lon = centre.lon + index * lon_step;
    const lat = centre.lat + index * lat_step;
    lines.push(
      [
        [lon, centre.lat - reach_km * lat_step],
        [lon, centre.lat + reach_km * lat_step],
      ],
      [
        [centre.lon - reach_km * lon_step, lat],
        [centre.lon + reach_km * lon_step, lat],
      ],
    );
  }
  return { type: 'Feature', properties: { kind: 'grid' }, geometry: { type: 'MultiLineString', coordinates: lines } };
}

/** Every point of a line, as places. */
export function placesOf({ geometry }: GeoJSON.Feature): { lon: number; lat: number }[] {
  const lines =
    geometry.type === 'LineString'
      ? [geometry.coordinates]
      : geometry.type === 'MultiLineString'
        ? geometry.coordinates
        : [];
  return lines.flat().map(([lon, lat]) => ({ lon: lon ?? 0, lat: lat ?? 0 }));
}
