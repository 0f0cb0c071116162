/** The map's layers, bottom to top: ground, streets, trails, rings, units, labels. */
import type { LayerSpecification, StyleSpecification } from 'maplibre-gl';
import type { Palette } from './palette';
import { ground, town } from './style_ground';
import { CLUSTERING, units } from './style_units';

export const NOTHING: GeoJSON.FeatureCollection = { type: 'FeatureCollection', features: [] };

const layers = (palette: Palette): LayerSpecification[] => [
  ...ground(palette),
  ...town(palette),
  ...units(palette),
];

export const SOURCES = ['outline', 'coast', 'grid', 'streets', 'trail', 'raised', 'units', 'chosen'] as const;
export type SourceName = (typeof SOURCES)[number];

export function mapStyle(palette: Palette): StyleSpecification {
  return {
    version: 8,
    sources: {
      ...Object.fromEntries(SOURCES.map((name) => [name, { type: 'geojson' as const, data: NOTHING }])),
      units: { type: 'geojson', data: NOTHING, promoteId: 'id', ...CLUSTERING },
    },
    layers: layers(palette),
  };
}

/** Paint properties of every layer under a palette, to repaint a living map. */
export function paints(palette: Palette, base: readonly LayerSpecification[]): [layer: string, property: string, value: unknown][] {
  return [...layers(palette), ...base].flatMap((layer) =>
    Object.entries(layer.paint ?? {}).map(
      ([property, value]) => [layer.id, property, value] as [string, string, unknown],
    ),
  );
}
