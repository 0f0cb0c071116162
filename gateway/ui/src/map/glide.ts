/**
 * Lets a marker travel to its new place instead of jumping, so that an eye can follow it. Pure.
 *
 * **A marker ends exactly where it was last reported and never beyond**: there is no prediction.
 */
import { distance_m } from '../geo';
import type { Place } from '../types';

export const GLIDE_MS = 600;
/** A leap is a correction or an outage, not movement: it is shown as a leap. */
const LEAP_M = 400;

interface Leg {
  from: Place;
  to: Place;
  began_ms: number;
}

export class Glide {
  readonly #legs = new Map<string, Leg>();

  /** Sets where a marker belongs from `now_ms` on. */
  aim(id: string, to: Place, now_ms: number, animated: boolean): void {
    const leg = this.#legs.get(id);
    if (leg !== undefined && leg.to.lon === to.lon && leg.to.lat === to.lat) return;
    const here = leg === undefined ? to : placeOn(leg, now_ms);
    const from = animated && distance_m(here, to) < LEAP_M ? here : to;
    this.#legs.set(id, { from, to, began_ms: now_ms });
  }

  at(id: string, now_ms: number): Place | null {
    const leg = this.#legs.get(id);
    return leg === undefined ? null : placeOn(leg, now_ms);
  }

  /** True while any marker is still on its way. */
  isMoving(now_ms: number): boolean {
    for (const leg of this.#legs.values()) {
      if (leg.from !== leg.to && now_ms - leg.began_ms < GLIDE_MS) return true;
    }
    return false;
  }

  /** Forgets markers that are no longer shown. */
  keep(ids: ReadonlySet<string>): void {
    for (const id of this.#legs.keys()) if (!ids.has(id)) this.#legs.delete(id);
  }
}

function placeOn(leg: Leg, now_ms: number): Place {
  const share = Math.min(1, Math.max(0, (now_ms - leg.began_ms) / GLIDE_MS));
  if (share === 1 || leg.from === leg.to) return leg.to;
  const eased = 1 - (1 - share) ** 2;
  return {
    lon: leg.from.lon + (leg.to.lon - leg.from.lon) * eased,
    lat: leg.from.lat + (leg.to.lat - leg.from.lat) * eased,
  };
}
