/**
 * A map file of the force under the units (`[map]` of the gateway). Pure.
 *
 * Pictures are drawn as they come, dimmed in dark themes. Vector tiles of any origin are drawn by what
 * their layers are called: quiet ground, water, green, buildings, roads, names. **The base map never
 * competes with a unit**: its strongest colour is that of a street.
 */
import type { LayerSpecification, SourceSpecification } from 'maplibre-gl';
import type { Palette } from './palette';

/** `/map/base.json`. */
export interface Base {
  kind: 'none' | 'vector' | 'raster';
  minzoom: number;
  maxzoom: number;
  bounds: [number, number, number, number];
  layers: string[];
  attribution: string;
  /** Why the configured map is not shown. */
  fault: string | null;
}

export function baseSource(base: Base, origin: string): SourceSpecification | null {
  const { minzoom, maxzoom, bounds } = base;
  const tiles = [`${origin}/map/tiles/{z}/{x}/{y}`];
  if (base.kind === 'raster') return { type: 'raster', tiles, minzoom, maxzoom, bounds, tileSize: 256 };
  return base.kind === 'vector' ? { type: 'vector', tiles, minzoom, maxzoom, bounds } : null;
}

type Draw = (id: string, layer: string, palette: Palette) => LayerSpecification;

const fill =
  (colour: keyof Palette): Draw =>
  (id, layer, palette) => ({
    id,
    type: 'fill',
    source: 'base',
    'source-layer': layer,
    filter: ['==', ['geometry-type'], 'Polygon'],
    paint: { 'fill-color': palette[colour] as string },
  });

const line =
  (colour: keyof Palette, near_px: number, far_px: number): Draw =>
  (id, layer, palette) => ({
    id,
    type: 'line',
    source: 'base',
    'source-layer': layer,
    filter: ['==', ['geometry-type'], 'LineString'],
    layout: { 'line-cap': 'round', 'line-join': 'round' },
    paint: {
      'line-color': palette[colour] as string,
      'line-width': ['interpolate', ['exponential', 1.5], ['zoom'], 7, far_px, 18, near_px],
    },
  });

const names: Draw = (id, layer, palette) => ({
  id,
  type: 'symbol',
  source: 'base',
  'source-layer': layer,
  layout: {
    'text-field': ['coalesce', ['get', 'name'], ['get', 'name1'], ''],
    'text-font': ['Inter Medium'],
    'text-size': 11.5,
    'text-padding': 14,
  },
  paint: { 'text-color': palette.streetName, 'text-halo-color': palette.land, 'text-halo-width': 1.4 },
});

const NAMES = /name|place|label|settlement/i;

/** By the layer's name, from the ground up. OS Open Zoomstack and the OpenMapTiles scheme both fit. */
const RULES: readonly [RegExp, Draw[]][] = [
  [/sea|water|ocean|lake|foreshore/i, [fill('water'), line('water', 4, 0.5)]],
  [/green|wood|park|forest|landcover|landuse/i, [fill('park')]],
  [/building|urban|structure/i, [fill('grid')]],
  [/rail/i, [line('path', 3, 0.5)]],
  [/road|street|transport|highway|motorway/i, [line('street', 16, 0.6)]],
  [/boundar|admin/i, [line('border', 1.5, 0.7)]],
  [NAMES, [names]],
];

/** `water_name` is a name, not water. */
const ruleOf = (layer: string): RegExp | undefined =>
  NAMES.test(layer) ? NAMES : RULES.find(([pattern]) => pattern.test(layer))?.[0];

export function baseLayers(base: Base, palette: Palette, isDark: boolean): LayerSpecification[] {
  if (base.kind === 'raster') {
    const dim = isDark ? { 'raster-brightness-max': 0.42, 'raster-saturation': -0.6 } : { 'raster-saturation': -0.35 };
    return [{ id: 'base', type: 'raster', source: 'base', paint: { ...dim, 'raster-fade-duration': 0 } }];
  }
  if (base.kind !== 'vector') return [];
  return RULES.flatMap(([pattern, draws]) =>
    base.layers
      .filter((layer) => ruleOf(layer) === pattern)
      .flatMap((layer) => draws.map((draw, at) => draw(`base-${layer}-${at}`, layer, palette))),
  );
}
