/** The map's layers, bottom to top: ground, streets, rings, units, labels. */
import type { ExpressionSpecification, LayerSpecification, StyleSpecification, SymbolLayerSpecification } from 'maplibre-gl';
import { BLANK_ALARM, BLANK_MARKER, chipName } from './icons';
import type { Palette } from './palette';

export const NOTHING: GeoJSON.FeatureCollection = { type: 'FeatureCollection', features: [] };

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

function ground(palette: Palette): LayerSpecification[] {
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

function town(palette: Palette): LayerSpecification[] {
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

const LABEL_TEXT_PX = 11.5;

/** A callsign on its chip, its top edge `below_px` under the unit. */
const label = (below_px: number): SymbolLayerSpecification['layout'] => ({
  'text-field': ['get', 'callsign'],
  'text-font': ['Inter Semibold'],
  'text-size': LABEL_TEXT_PX,
  'text-anchor': 'top',
  // The tag stands left of the text: half its width to the right keeps the whole chip centred.
  'text-offset': [
    'match',
    ['get', 'chip'],
    chipName('actual'),
    ['literal', [0, (below_px + 1) / LABEL_TEXT_PX]],
    chipName('exercise'),
    ['literal', [0.85, (below_px + 1) / LABEL_TEXT_PX]],
    ['literal', [1.35, (below_px + 1) / LABEL_TEXT_PX]],
  ],
  'text-max-width': 40,
  'icon-image': ['get', 'chip'],
  'icon-text-fit': 'both',
});

function units(palette: Palette): LayerSpecification[] {
  const alarmColour: ExpressionSpecification = ['case', ['get', 'alarmed'], palette.alarm, palette.ring];
  return [
    {
      id: 'ring',
      type: 'fill',
      source: 'rings',
      paint: { 'fill-color': alarmColour, 'fill-opacity': 0.1 },
    },
    {
      id: 'ring-edge',
      type: 'line',
      source: 'rings',
      paint: { 'line-color': alarmColour, 'line-width': 1.2, 'line-opacity': 0.55, 'line-dasharray': [3, 2] },
    },
    {
      id: 'raised',
      type: 'circle',
      source: 'raised',
      paint: {
        'circle-radius': 5,
        'circle-color': 'transparent',
        'circle-stroke-color': palette.alarm,
        'circle-stroke-width': 2,
      },
    },
    {
      id: 'selected',
      type: 'circle',
      source: 'units',
      filter: ['get', 'selected'],
      paint: {
        'circle-radius': 18,
        'circle-color': palette.ring,
        'circle-opacity': 0.12,
        'circle-stroke-color': palette.ring,
        'circle-stroke-width': 2.5,
      },
    },
    {
      id: 'units',
      type: 'symbol',
      source: 'units',
      filter: ['!', ['get', 'alarmed']],
      layout: {
        'icon-image': ['get', 'marker'],
        'icon-rotate': ['get', 'course'],
        'icon-rotation-alignment': 'map',
        'icon-allow-overlap': true,
        'icon-ignore-placement': true,
        'icon-size': ['interpolate', ['linear'], ['zoom'], 9, 0.6, 13, 0.95, 15, 1.1],
        'symbol-sort-key': ['-', ['get', 'order']],
      },
      paint: { 'icon-opacity': ['get', 'fade'] },
    },
    {
      id: 'labels',
      type: 'symbol',
      source: 'units',
      minzoom: 11,
      filter: ['!', ['any', ['get', 'alarmed'], ['get', 'selected']]],
      layout: { ...label(16), 'symbol-sort-key': ['get', 'order'] },
      paint: { 'icon-opacity': ['get', 'fade'], 'text-opacity': ['get', 'fade'], 'text-color': palette.text },
    },
    {
      // Above the labels, so that it takes its room first: a label never covers a marker.
      id: 'bodies',
      type: 'symbol',
      source: 'units',
      layout: {
        'icon-image': ['case', ['get', 'alarmed'], BLANK_ALARM, BLANK_MARKER],
        'icon-allow-overlap': true,
        'icon-padding': 0,
      },
    },
    {
      id: 'label-selected',
      type: 'symbol',
      source: 'units',
      filter: ['all', ['get', 'selected'], ['!', ['get', 'alarmed']]],
      layout: { ...label(21), 'icon-allow-overlap': true, 'text-allow-overlap': true },
      paint: { 'text-color': palette.text },
    },
  ];
}

const layers = (palette: Palette): LayerSpecification[] => [
  ...ground(palette),
  ...town(palette),
  ...units(palette),
];

export const SOURCES = ['outline', 'coast', 'grid', 'streets', 'rings', 'raised', 'units'] as const;
export type SourceName = (typeof SOURCES)[number];

export function mapStyle(palette: Palette): StyleSpecification {
  return {
    version: 8,
    sources: Object.fromEntries(SOURCES.map((name) => [name, { type: 'geojson' as const, data: NOTHING }])),
    layers: layers(palette),
  };
}

/** Paint properties of every layer under a palette, to repaint a living map. */
export function paints(palette: Palette): [layer: string, property: string, value: unknown][] {
  return layers(palette).flatMap((layer) =>
    Object.entries(layer.paint ?? {}).map(
      ([property, value]) => [layer.id, property, value] as [string, string, unknown],
    ),
  );
}
