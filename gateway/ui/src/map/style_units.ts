/** Trails, rings, clusters, units and their labels, bottom to top. */
import type { ExpressionSpecification, LayerSpecification, SymbolLayerSpecification } from 'maplibre-gl';
import { RANK } from './features';
import { BLANK_ALARM, BLANK_MARKER, chipName } from './icons';
import type { Palette } from './palette';

/**
 * Five or more markers within 34 px are one sign, down to the zoom of single streets; the worst unit
 * inside gives it its look.
 */
export const CLUSTERING = {
  cluster: true,
  clusterRadius: 34,
  clusterMinPoints: 5,
  clusterMaxZoom: 15,
  clusterProperties: {
    worst: ['max', ['get', 'rank']],
    mock: ['max', ['get', 'mock']],
  },
};

const IS_CLUSTER: ExpressionSpecification = ['has', 'point_count'];
const IS_UNIT: ExpressionSpecification = ['!', IS_CLUSTER];
/** Neither chosen nor alarmed: those are drawn from the source `chosen`, which is never clustered. */
const IS_PLAIN: ExpressionSpecification = ['all', IS_UNIT, ['!', ['any', ['get', 'alarmed'], ['get', 'selected']]]];
const HAS_RING: ExpressionSpecification = ['>', ['get', 'ring_px'], 0];

/** Further out, labels would cover each other: only signs are left. */
export const LABEL_ZOOM_MIN = 11;

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

/** A radius told in pixels at zoom 22 is a radius on the ground at every zoom. */
const ON_GROUND: ExpressionSpecification = [
  'interpolate',
  ['exponential', 2],
  ['zoom'],
  0,
  ['/', ['get', 'ring_px'], 2 ** 22],
  22,
  ['get', 'ring_px'],
];

function rings(id: string, source: string, palette: Palette): LayerSpecification {
  const colour: ExpressionSpecification = ['case', ['get', 'alarmed'], palette.alarm, palette.ring];
  return {
    id,
    type: 'circle',
    source,
    filter: source === 'units' ? ['all', IS_PLAIN, HAS_RING] : HAS_RING,
    paint: {
      'circle-radius': ON_GROUND,
      'circle-color': colour,
      'circle-opacity': ['case', ['any', ['get', 'selected'], ['get', 'alarmed']], 0.08, 0.03],
      'circle-stroke-color': colour,
      'circle-stroke-width': 1,
      'circle-stroke-opacity': ['case', ['any', ['get', 'selected'], ['get', 'alarmed']], 0.5, 0.22],
    },
  };
}

function trail(palette: Palette): LayerSpecification[] {
  const line = (kind: string, dash?: number[]): LayerSpecification => ({
    id: `trail-${kind}`,
    type: 'line',
    source: 'trail',
    filter: ['==', ['get', 'kind'], kind],
    layout: { 'line-join': 'round', 'line-cap': dash === undefined ? 'round' : 'butt' },
    paint: {
      'line-color': palette.trail,
      'line-width': dash === undefined ? 3 : 2.5,
      'line-opacity': 0.85,
      ...(dash === undefined ? {} : { 'line-dasharray': dash }),
    },
  });
  return [
    line('live'),
    line('backlog', [1.6, 1.2]),
    {
      id: 'trail-gap-end',
      type: 'circle',
      source: 'trail',
      filter: ['==', ['get', 'kind'], 'gap-end'],
      paint: {
        'circle-radius': 4,
        'circle-color': palette.land,
        'circle-stroke-color': palette.trail,
        'circle-stroke-width': 2,
      },
    },
    {
      id: 'trail-gap',
      type: 'symbol',
      source: 'trail',
      filter: ['==', ['get', 'kind'], 'gap'],
      layout: {
        'text-field': ['get', 'words'],
        'text-font': ['Inter Semibold'],
        'text-size': 11.5,
        'text-allow-overlap': true,
      },
      paint: { 'text-color': palette.trail, 'text-halo-color': palette.halo, 'text-halo-width': 2 },
    },
  ];
}

/** The look of a cluster is a picture named by its worst unit (icons.ts). */
const CLUSTER_PICTURE: ExpressionSpecification = [
  'concat',
  'cluster {"worst":',
  ['to-string', ['get', 'worst']],
  ',"mock":',
  ['to-string', ['get', 'mock']],
  ',"many":',
  ['case', ['>=', ['get', 'point_count'], 100], '1', '0'],
  '}',
];

function clusters(palette: Palette): LayerSpecification {
  return {
    id: 'clusters',
    type: 'symbol',
    source: 'units',
    filter: IS_CLUSTER,
    layout: {
      'icon-image': CLUSTER_PICTURE,
      'icon-allow-overlap': true,
      'text-field': ['get', 'point_count_abbreviated'],
      'text-font': ['Inter Semibold'],
      'text-size': 13,
      'text-allow-overlap': true,
      'symbol-sort-key': ['get', 'worst'],
    },
    paint: { 'text-color': ['case', ['>=', ['get', 'worst'], RANK.waiting], '#ffffff', palette.clusterText] },
  };
}

const MARKER: NonNullable<SymbolLayerSpecification['layout']> = {
  'icon-image': ['get', 'marker'],
  'icon-rotate': ['get', 'course'],
  'icon-rotation-alignment': 'map',
  'icon-allow-overlap': true,
  'icon-ignore-placement': true,
  'icon-size': ['interpolate', ['linear'], ['zoom'], 9, 0.6, 13, 0.95, 15, 1.1],
};

export function units(palette: Palette): LayerSpecification[] {
  return [
    ...trail(palette),
    rings('rings', 'units', palette),
    rings('rings-chosen', 'chosen', palette),
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
      source: 'chosen',
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
      filter: IS_PLAIN,
      layout: { ...MARKER, 'symbol-sort-key': ['-', ['get', 'order']] },
      paint: { 'icon-opacity': ['get', 'fade'] },
    },
    {
      id: 'labels',
      type: 'symbol',
      source: 'units',
      minzoom: LABEL_ZOOM_MIN,
      filter: IS_PLAIN,
      layout: { ...label(16), 'symbol-sort-key': ['get', 'order'] },
      paint: { 'icon-opacity': ['get', 'fade'], 'text-opacity': ['get', 'fade'], 'text-color': palette.text },
    },
    {
      // Above the labels, so that it takes its room first: a label never covers a marker.
      id: 'bodies',
      type: 'symbol',
      source: 'units',
      minzoom: LABEL_ZOOM_MIN,
      filter: IS_UNIT,
      layout: {
        'icon-image': ['case', ['get', 'alarmed'], BLANK_ALARM, BLANK_MARKER],
        'icon-allow-overlap': true,
        'icon-padding': 0,
      },
    },
    clusters(palette),
    {
      id: 'unit-selected',
      type: 'symbol',
      source: 'chosen',
      filter: ['!', ['get', 'alarmed']],
      layout: MARKER,
      paint: { 'icon-opacity': ['get', 'fade'] },
    },
    {
      id: 'label-selected',
      type: 'symbol',
      source: 'chosen',
      filter: ['!', ['get', 'alarmed']],
      layout: { ...label(21), 'icon-allow-overlap': true, 'text-allow-overlap': true },
      paint: { 'text-color': palette.text },
    },
  ];
}

