import { describe, expect, it } from 'vitest';
import { baseLayers, baseSource, type Base } from '../src/map/base';
import { DARK, LIGHT } from '../src/map/palette';

const base = (changes: Partial<Base>): Base => ({
  kind: 'vector',
  minzoom: 0,
  maxzoom: 14,
  bounds: [-2, 53, -1, 54],
  layers: ['sea', 'greenspace', 'roads_local', 'names', 'contours'],
  attribution: '',
  fault: null,
  ...changes,
});

describe('a map file', () => {
  it('is asked from this origin alone', () => {
    expect(baseSource(base({}), 'https://room')).toMatchObject({ type: 'vector', tiles: ['https://room/map/tiles/{z}/{x}/{y}'] });
    expect(baseSource(base({ kind: 'none' }), 'https://room')).toBeNull();
  });

  it('is drawn by the names of its layers, ground first, names last', () => {
    const ids = baseLayers(base({}), LIGHT, false).map(({ id }) => id);
    expect(ids[0]).toBe('base-sea-0');
    expect(ids.at(-1)).toBe('base-names-0');
    expect(ids.some((id) => id.includes('roads_local'))).toBe(true);
    expect(ids.some((id) => id.includes('contours'))).toBe(false);
  });

  it('draws a layer that fits two rules once', () => {
    const ids = baseLayers(base({ layers: ['water_names'] }), LIGHT, false).map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('dims pictures in the dark', () => {
    const [layer] = baseLayers(base({ kind: 'raster' }), DARK, true);
    expect(layer?.paint).toMatchObject({ 'raster-brightness-max': 0.42 });
  });
});
