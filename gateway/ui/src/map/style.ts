/** The map's layers, bottom to top: ground, streets, rings, units, labels. */
import type { ExpressionSpecification, LayerSpecification, StyleSpecification } from 'maplibre-gl';
import type { Palette } from './palette';

export const NOTHING: GeoJSON.FeatureCollection = { type: 'FeatureCollection', features: [] };

const byZoom = (...stops: [zoom: number, px: number][]): ExpressionSpecification =>
  ['interpolate', ['exponential', 1.5], ['zoom'], ...stops.flat()] as ExpressionSpecification;

/** Streets may carry a `class`; the through roads among them are drawn wider. */
const MAIN_CLASSES = ['main', 'arterial', 'primary', 'secondary', 'trunk'];
const IS_MAIN: ExpressionSpecification = ['in', ['coalesce', ['get', 'class'], ''], ['literal', MAIN_CLASSES]];

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

function streets(palette: Palette): LayerSpecification[] {
  const layout = { 'line-cap': 'round', 'line-join': 'round' } as const;
  return [
    {
      id: 'street-edge',
      type: 'line',
      source: 'streets',
      minzoom: 9,
      layout,
      paint: { 'line-color': palette.streetEdge, 'line-width': byZoom([9, 0.8], [13, 4.2], [16, 13], [18, 30]) },
    },
    {
      id: 'street',
      type: 'line',
      source: 'streets',
      minzoom: 9,
      filter: ['!', IS_MAIN],
      layout,
      paint: { 'line-color': palette.street, 'line-width': byZoom([9, 0.4], [13, 2.8], [16, 10.5], [18, 26]) },
    },
    {
      id: 'street-main-edge',
      type: 'line',
      source: 'streets',
      minzoom: 8,
      filter: IS_MAIN,
      layout,
      paint: { 'line-color': palette.streetEdge, 'line-width': byZoom([8, 1], [13, 6.6], [16, 18], [18, 40]) },
    },
    {
      id: 'street-main',
      type: 'line',
      source: 'streets',
      minzoom: 8,
      filter: IS_MAIN,
      layout,
      paint: { 'line-color': palette.streetMain, 'line-width': byZoom([8, 0.6], [13, 5], [16, 15], [18, 36]) },
    },
  ];
}

function units(palette: Palette): LayerSpecification[] {
  const alarmColour: ExpressionSpecification = ['case', ['get', 'alarmed'], palette.alarm, palette.ring];
  const anchor = 'top';
  const below: [number, number] = [0, 15];
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
        'icon-size': ['interpolate', ['linear'], ['zoom'], 9, 0.6, 13, 0.85, 15, 1],
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
      layout: {
        'icon-image': ['get', 'label'],
        'icon-padding': 1,
        'symbol-sort-key': ['get', 'order'],
        'icon-anchor': anchor,
        'icon-offset': below,
      },
      paint: { 'icon-opacity': ['get', 'fade'] },
    },
    {
      id: 'label-selected',
      type: 'symbol',
      source: 'units',
      filter: ['all', ['get', 'selected'], ['!', ['get', 'alarmed']]],
      layout: {
        'icon-image': ['get', 'label'],
        'icon-allow-overlap': true,
        'icon-anchor': anchor,
        'icon-offset': [0, 21],
      },
    },
  ];
}

const layers = (palette: Palette): LayerSpecification[] => [
  ...ground(palette),
  ...streets(palette),
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
