/** The ground under the units: outline, grid, and the town's streets, bottom to top. */
import type { ExpressionSpecification, LayerSpecification } from 'maplibre-gl';
import type { Palette } from './palette';

const byZoom = (...stops: [zoom: number, px: number][]): ExpressionSpecification =>
  ['interpolate', ['exponential', 1.5], ['zoom'], ...stops.flat()] as ExpressionSpecification;

/** Streets may carry a `class`, as in OpenStreetMap; one without is an ordinary street. */
const CLASS: ExpressionSpecification = ['coalesce', ['get', 'class'], 'residential'];
const classIn = (...classes: string[]): ExpressionSpecification => ['in', CLASS, ['literal', classes]];
const IS_MAIN = classIn('trunk', 'primary', 'main');
const IS_MIDDLE = classIn('secondary', 'tertiary');
const IS_PATH = classIn('path', 'footway');
const IS_STREET: ExpressionSpecification = ['!', ['any', IS_MAIN, IS_MIDDLE, IS_PATH]];
const isLine: ExpressionSpecification = ['in', ['geometry-type'], ['literal', ['LineString', 'MultiLineString']]];

export function ground(palette: Palette): LayerSpecification[] {
  return [
    { id: 'water', type: 'background', paint: { 'background-color': palette.water } },
    {
      id: 'land',
      type: 'fill',
      source: 'outline',
      filter: ['==', ['get', 'kind'], 'land'],
      paint: { 'fill-color': palette.land, 'fill-antialias': false },
    },
    {
      id: 'border',
      type: 'line',
      source: 'outline',
      filter: ['==', ['get', 'kind'], 'border'],
      paint: { 'line-color': palette.border, 'line-width': 1, 'line-dasharray': [4, 3] },
    },
    {
      id: 'coast',
      type: 'line',
      source: 'coast',
      paint: { 'line-color': palette.coast, 'line-width': byZoom([4, 0.6], [12, 1.4]) },
    },
    {
      id: 'grid',
      type: 'line',
      source: 'grid',
      minzoom: 10.5,
      paint: { 'line-color': palette.grid, 'line-width': 1 },
    },
  ];
}

/** One kind of street: its edge and its surface, `px` wide at zoom 14. */
function street(
  id: string,
  which: ExpressionSpecification,
  px: number,
  colours: { surface: string; edge: string },
): { edge: LayerSpecification; surface: LayerSpecification } {
  const layer = (name: string, colour: string, extra_px: number): LayerSpecification => ({
    id: name,
    type: 'line',
    source: 'streets',
    minzoom: 9,
    filter: ['all', isLine, which],
    layout: { 'line-cap': 'round', 'line-join': 'round' },
    paint: {
      'line-color': colour,
      'line-width': byZoom([9, px / 8], [12, px / 2.6 + extra_px / 2], [14, px + extra_px], [18, px * 5 + extra_px]),
    },
  });
  return { edge: layer(`${id}-edge`, colours.edge, 2), surface: layer(id, colours.surface, 0) };
}

export function town(palette: Palette): LayerSpecification[] {
  const edge = palette.streetEdge;
  const small = street('street', IS_STREET, 4.5, { surface: palette.street, edge });
  const middle = street('street-middle', IS_MIDDLE, 6.5, { surface: palette.street, edge });
  const main = street('street-main', IS_MAIN, 9, { surface: palette.streetMain, edge });
  return [
    {
      id: 'park',
      type: 'fill',
      source: 'streets',
      filter: ['==', ['get', 'kind'], 'park'],
      paint: { 'fill-color': palette.park },
    },
    {
      id: 'river',
      type: 'fill',
      source: 'streets',
      filter: ['==', ['get', 'kind'], 'river'],
      paint: { 'fill-color': palette.water, 'fill-outline-color': palette.coast },
    },
    {
      id: 'path',
      type: 'line',
      source: 'streets',
      minzoom: 13,
      filter: ['all', isLine, IS_PATH],
      paint: { 'line-color': palette.path, 'line-width': byZoom([13, 1], [18, 4]), 'line-dasharray': [3, 1.5] },
    },
    small.edge,
    middle.edge,
    main.edge,
    small.surface,
    middle.surface,
    main.surface,
    {
      id: 'street-name',
      type: 'symbol',
      source: 'streets',
      minzoom: 13,
      filter: ['all', isLine, ['has', 'name']],
      layout: {
        'symbol-placement': 'line',
        'symbol-spacing': 420,
        'text-field': ['get', 'name'],
        // No glyph server is set: MapLibre draws these with the page's own font.
        'text-font': ['Inter Medium'],
        'text-size': ['interpolate', ['linear'], ['zoom'], 13, 10, 17, 13],
        'text-max-angle': 30,
        'text-padding': 12,
        'symbol-sort-key': ['case', IS_MAIN, 0, IS_MIDDLE, 1, 2],
      },
      paint: { 'text-color': palette.streetName, 'text-halo-color': palette.land, 'text-halo-width': 1.4 },
    },
  ];
}
