/**
 * `window.fieldpost.inspect()`: what the page shows, as plain data, for tests and for support.
 * Read only; it returns copies and nothing that could act.
 */
import type { MapView } from './map/view';
import { tone } from './sound';
import { replay, stage } from './state/replay.svelte';
import { room } from './state/room.svelte';
import { track } from './state/track.svelte';

export interface Inspection {
  connection: string;
  reads: number;
  selected: string | null;
  chosen: string | null;
  units: { id: string; lon: number; lat: number; stale: boolean; connected: boolean }[];
  alarms: {
    id: string;
    unit: string;
    state: string;
    grade: string | undefined;
    acknowledged_by: string | null;
    acknowledged_at_ms: number | null;
    receipt: string;
    wearer: unknown;
  }[];
  /** Tones begun, by grade. */
  tones: Record<string, number>;
  replay: { active: boolean; at_ms: number; loaded: number; units: number };
  trail: { lines: number; backlog: number; gaps: number };
  map: { settled: boolean; zoom: number };
}

declare global {
  interface Window {
    fieldpost: { readonly inspect: () => Inspection };
  }
}

export function offerInspection(view: MapView): void {
  const inspect = (): Inspection => ({
    connection: room.connection,
    reads: room.reads,
    selected: room.selected,
    chosen: room.alarms.chosen,
    units: [...view.drawn()].map(([id, place]) => ({
      id,
      lon: place.lon,
      lat: place.lat,
      stale: stage.units.get(id)?.stale ?? true,
      connected: stage.units.get(id)?.connected ?? false,
    })),
    alarms: room.alarms.queue.map(({ id, unit, state, grade, acknowledged_by, acknowledged_at_ms, receipt, wearer }) => ({
      id,
      unit,
      state,
      grade,
      acknowledged_by,
      acknowledged_at_ms,
      receipt,
      wearer,
    })),
    tones: { ...tone.played },
    replay: { active: replay.active, at_ms: replay.at_ms, loaded: replay.loaded, units: replay.units.size },
    trail: {
      lines: track.trail.lines.filter(({ kind }) => kind === 'live').length,
      backlog: track.trail.lines.filter(({ kind }) => kind === 'backlog').length,
      gaps: track.trail.gaps.length,
    },
    map: { settled: view.isSettled(), zoom: view.map.getZoom() },
  });
  window.fieldpost = Object.freeze({ inspect });
}
