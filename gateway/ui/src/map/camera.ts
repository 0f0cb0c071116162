/** What part of the world the map shows. */
import { boxOf, mainBox, type Box } from '../geo';
import type { Place } from '../types';
import type { maplibre } from './engine';

/** Close enough to read street names around one unit. */
const UNIT_ZOOM_MIN = 15.2;

const calm = matchMedia('(prefers-reduced-motion: reduce)');

export class Camera {
  isFramed = false;
  /** Where the operator was before `toggleOverview`. */
  #before: { center: maplibre.LngLat; zoom: number } | null = null;

  constructor(
    private readonly map: maplibre.Map,
    private readonly isSlow: () => boolean,
  ) {}

  flyTo({ lon, lat }: Place): void {
    this.#before = null;
    this.go({ center: [lon, lat], zoom: Math.max(this.map.getZoom(), UNIT_ZOOM_MIN) });
  }

  /** Shows the main body of units, or every one of them. */
  frame(places: Place[], which: 'main' | 'all'): void {
    const box = which === 'all' ? boxOf(places) : mainBox(places);
    if (box !== null) this.map.fitBounds(box, { padding: 70, maxZoom: 15.5, duration: calm.matches ? 0 : 700 });
  }

  /** The whole area, and the next time back to where the operator was. */
  toggleOverview(places: Place[]): void {
    const before = this.#before;
    if (before === null) {
      this.#before = { center: this.map.getCenter(), zoom: this.map.getZoom() };
      this.frame(places, 'main');
    } else {
      this.#before = null;
      this.go({ center: [before.center.lng, before.center.lat], zoom: before.zoom });
    }
  }

  zoomBy(step: number): void {
    this.go({ zoom: this.map.getZoom() + step });
  }

  go(target: { center?: [number, number]; zoom: number }): void {
    if (calm.matches || this.isSlow()) this.map.jumpTo(target);
    else this.map.flyTo({ ...target, duration: 900, essential: false });
  }

  /** The first box wins: from then on the view belongs to the operator. */
  frameOnce(box: Box): void {
    if (this.isFramed) return;
    this.isFramed = true;
    this.map.fitBounds(box, { padding: 60, maxZoom: 15.5, animate: false });
  }
}
