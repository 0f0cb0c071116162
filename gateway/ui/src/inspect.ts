/**
 * `window.fieldpost.inspect()`: what the page shows, as plain data, for tests and for support.
 * Read only; it returns copies and nothing that could act.
 */
import type { MapView } from './map/view';
import { room } from './state/room.svelte';

export interface Inspection {
  connection: string;
  reads: number;
  selected: string | null;
  units: { id: string; lon: number; lat: number; stale: boolean; connected: boolean }[];
  alarms: { id: string; unit: string; state: string; acknowledged_by: string | null; receipt: string }[];
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
    units: [...view.drawn()].map(([id, place]) => ({
      id,
      lon: place.lon,
      lat: place.lat,
      stale: room.units.get(id)?.stale ?? true,
      connected: room.units.get(id)?.connected ?? false,
    })),
    alarms: room.queue.map(({ id, unit, state, acknowledged_by, receipt }) => ({
      id,
      unit,
      state,
      acknowledged_by,
      receipt,
    })),
    map: { settled: view.isSettled(), zoom: view.map.getZoom() },
  });
  window.fieldpost = Object.freeze({ inspect });
}
