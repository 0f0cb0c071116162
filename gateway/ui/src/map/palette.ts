/**
 * Colours of the map. The ground is quiet so that units stand out; **red belongs to alarms alone**.
 * Each readiness also has its own shape inside the marker (icons.ts): colour is never the only sign.
 */
import type { Readiness } from '../words';

export interface Palette {
  water: string;
  land: string;
  coast: string;
  border: string;
  grid: string;
  street: string;
  streetEdge: string;
  streetMain: string;
  text: string;
  halo: string;
  label: string;
  labelEdge: string;
  readiness: Record<Readiness, string>;
  casing: string;
  mark: string;
  alarm: string;
  notActual: string;
  notActualText: string;
  ring: string;
  trail: string;
  cluster: string;
  clusterText: string;
  hatch: string;
  staleHatch: string;
  park: string;
  path: string;
  streetName: string;
}

export const LIGHT: Palette = {
  water: '#cfdde6',
  land: '#eff1ee',
  coast: '#9fb4c2',
  border: '#a8adb0',
  grid: '#dfe4e3',
  street: '#ffffff',
  streetEdge: '#d3d9d9',
  streetMain: '#fffaf0',
  text: '#16202b',
  halo: '#ffffff',
  label: 'rgba(255,255,255,0.94)',
  labelEdge: '#aab6c1',
  readiness: { available: '#0b7468', engaged: '#1f5fbf', unavailable: '#64717f', unknown: '#64717f' },
  casing: '#ffffff',
  mark: '#ffffff',
  alarm: '#c8102e',
  notActual: '#6b3fa0',
  notActualText: '#ffffff',
  ring: '#16202b',
  trail: '#1f5fbf',
  cluster: '#ffffff',
  clusterText: '#16202b',
  hatch: 'rgba(255,255,255,0.42)',
  staleHatch: 'rgba(80,96,112,0.35)',
  park: '#dbe7d8',
  path: '#d9dcd3',
  streetName: '#66727d',
};

export const DARK: Palette = {
  water: '#0b131b',
  land: '#172029',
  coast: '#35505f',
  border: '#3a4650',
  grid: '#1e2832',
  street: '#34414e',
  streetEdge: '#10171e',
  streetMain: '#43525f',
  text: '#e8eef4',
  halo: '#0b131b',
  label: 'rgba(16,23,31,0.92)',
  labelEdge: '#46566a',
  readiness: { available: '#35cdb8', engaged: '#7fb2ff', unavailable: '#95a4b4', unknown: '#95a4b4' },
  casing: '#0b131b',
  mark: '#0b131b',
  alarm: '#e5263f',
  notActual: '#c6a5f5',
  notActualText: '#1b1029',
  ring: '#f4f8fb',
  trail: '#7fb2ff',
  cluster: '#1a2530',
  clusterText: '#e8eef4',
  hatch: 'rgba(11,19,27,0.4)',
  staleHatch: 'rgba(163,179,195,0.35)',
  park: '#182823',
  path: '#27323c',
  streetName: '#8496a6',
};

export const CONTRAST: Palette = {
  ...DARK,
  water: '#000000',
  land: '#0d0d0d',
  coast: '#ffffff',
  border: '#ffffff',
  grid: '#2a2a2a',
  street: '#4d4d4d',
  streetEdge: '#000000',
  streetMain: '#757575',
  text: '#ffffff',
  label: 'rgba(0,0,0,1)',
  labelEdge: '#ffffff',
  readiness: { available: '#3fffe0', engaged: '#8fc0ff', unavailable: '#ffffff', unknown: '#ffffff' },
  casing: '#000000',
  mark: '#000000',
  ring: '#ffffff',
  trail: '#ffe14d',
  park: '#0c1f0c',
  path: '#3a3a3a',
  streetName: '#ffffff',
};

const darkQuery = (): MediaQueryList => matchMedia('(prefers-color-scheme: dark)');

/** Whether pictures of a map must be dimmed. */
export const isDark = (): boolean => palette() !== LIGHT;

/** By the theme on the root element (settings.svelte.ts); without one, by the system. */
export function palette(): Palette {
  const theme = document.documentElement.dataset['theme'];
  if (theme === 'contrast') return CONTRAST;
  return theme === 'dark' || (theme === undefined && darkQuery().matches) ? DARK : LIGHT;
}

/** Calls back when the operator or the system changes the theme; returns the undo. */
export function onPaletteChange(then: (palette: Palette) => void): () => void {
  const listener = (): void => then(palette());
  const dark = darkQuery();
  dark.addEventListener('change', listener);
  addEventListener('themechange', listener);
  return () => {
    dark.removeEventListener('change', listener);
    removeEventListener('themechange', listener);
  };
}
