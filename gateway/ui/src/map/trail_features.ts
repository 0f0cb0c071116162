/** A trail as GeoJSON. Pure. */
import type { Trail } from '../trail';
import type { Place } from '../types';

const at = ({ lon, lat }: Place): GeoJSON.Position => [lon, lat];
const point = (place: Place, properties: object): GeoJSON.Feature => ({
  type: 'Feature',
  properties,
  geometry: { type: 'Point', coordinates: at(place) },
});

export const trailFeatures = ({ lines, gaps }: Trail): GeoJSON.Feature[] => [
  ...lines.map(
    ({ kind, points }): GeoJSON.Feature => ({
      type: 'Feature',
      properties: { kind },
      geometry: { type: 'LineString', coordinates: points.map(at) },
    }),
  ),
  ...gaps.flatMap(({ ends, middle, words }) => [
    ...ends.map((end) => point(end, { kind: 'gap-end' })),
    point(middle, { kind: 'gap', words }),
  ]),
];
