/**
 * The living map: takes what is known, draws it, and says what it drew.
 *
 * ```text
 * show(scene) -> glide -> sources units, rings, raised + alarm buttons -> frame
 * ```
 * It owns no facts: every scene replaces the one before. Positions move for `GLIDE_MS` at most, and
 * not at all if the operator asked for less motion, if there are many units, or if the machine is
 * too slow to draw it.
 */
import { boxOf, mainBox, type Box } from '../geo';
import type { Alarm, Place, Unit } from '../types';
import { AlarmMarker } from './alarm_marker';
import { maplibre } from './engine';
import { ringFeatures, unitFeatures, type Drawing } from './features';
import { Glide } from './glide';
import { drawByName, PIXEL_RATIO } from './icons';
import { coastOf, kilometreGrid } from './outline';
import { onPaletteChange, palette, type Palette } from './palette';
import { mapStyle, NOTHING, paints, type SourceName } from './style';

export interface Scene {
  units: ReadonlyMap<string, Unit>;
  /** The alarm to show at a unit, by unit id. */
  alarms: ReadonlyMap<string, Alarm>;
  selected: string | null;
  now_ms: number;
}

export interface ViewEvents {
  /** A unit was chosen on the map; null: the ground was. */
  choose(unit: string | null): void;
  /** The view or the places in it changed. */
  moved(): void;
}

const GROUND: readonly SourceName[] = ['outline', 'coast', 'streets'];
const GLIDING_UNITS_MAX = 300;
/** A frame slower than this means software drawing: movement would only make it worse. */
const FRAME_MS_MAX = 60;
/** Further out, labels of alarms would cover each other: their signs stay. */
const LABEL_ZOOM_MIN = 11;
const BRITISH_ISLES: Box = [-10.8, 49.6, 2.2, 59.2];

const calm = matchMedia('(prefers-reduced-motion: reduce)');

export class MapView {
  readonly map: maplibre.Map;
  readonly #glide = new Glide();
  readonly #markers = new Map<string, AlarmMarker>();
  readonly #images = new Set<string>();
  readonly #given = new Set<SourceName>();
  readonly #undo: (() => void)[] = [];
  #scene: Scene | null = null;
  #frame = 0;
  #slow = false;
  #loaded = false;
  #framed = false;

  constructor(
    container: HTMLElement,
    private readonly events: ViewEvents,
  ) {
    this.map = new maplibre.Map({
      container,
      style: mapStyle(palette()),
      bounds: BRITISH_ISLES,
      attributionControl: false,
      dragRotate: false,
      pitchWithRotate: false,
      touchPitch: false,
      maxPitch: 0,
      maxZoom: 19,
      fadeDuration: 0,
      renderWorldCopies: false,
      locale: { 'Map.Title': 'Map of units. Arrow keys move it, plus and minus zoom.' },
    });
    this.map.touchZoomRotate.disableRotation();
    this.map.keyboard.disableRotation();
    this.map.setMissingStyleImageResolver((id) => this.#drawImage(id));
    this.map.on('load', () => {
      this.#loaded = true;
      this.#redraw();
    });
    this.map.on('moveend', () => this.events.moved());
    this.map.on('zoom', () => container.classList.toggle('is-far', this.map.getZoom() < LABEL_ZOOM_MIN));
    this.#listenForChoices();
    this.#undo.push(onPaletteChange((next) => this.#repaint(next)));
  }

  remove(): void {
    cancelAnimationFrame(this.#frame);
    for (const undo of this.#undo) undo();
    this.map.remove();
  }

  setOutline(outline: GeoJSON.FeatureCollection): void {
    this.#whenLoaded(() => {
      this.#setData('outline', outline);
      this.#setData('coast', coastOf(outline));
    });
  }

  setStreets(streets: GeoJSON.FeatureCollection): void {
    this.#whenLoaded(() => {
      this.#setData('streets', streets);
      const box = boxOf(streets.features.flatMap(placesOf));
      if (box === null) return;
      const centre = { lon: (box[0] + box[2]) / 2, lat: (box[1] + box[3]) / 2 };
      this.#setData('grid', kilometreGrid(centre, 20));
      this.#frameOnce(box);
    });
  }

  /** Draws a scene; positions that changed glide from where they are drawn now. */
  show(scene: Scene): void {
    this.#scene = scene;
    const now_ms = performance.now();
    const animated = !this.#slow && !calm.matches && !document.hidden && scene.units.size <= GLIDING_UNITS_MAX;
    for (const unit of scene.units.values()) {
      if (unit.position !== null) this.#glide.aim(unit.id, unit.position, now_ms, animated);
    }
    this.#glide.keep(new Set(scene.units.keys()));
    if (this.#loaded) this.#redraw();
    this.events.moved();
  }

  /** Where the markers are at this moment, by unit id: what an observer of the page can check. */
  drawn(): Map<string, Place> {
    const places = new Map<string, Place>();
    for (const id of this.#scene?.units.keys() ?? []) {
      const place = this.#glide.at(id, performance.now());
      if (place !== null) places.set(id, place);
    }
    return places;
  }

  /** True when the ground is drawn and the view stands still. Units may move: they always do. */
  isSettled(): boolean {
    const isDrawn = GROUND.every((source) => this.#given.has(source) && this.map.isSourceLoaded(source));
    return isDrawn && !this.map.isMoving();
  }

  flyTo(unit: string): void {
    const place = this.#placeOf(unit);
    if (place === null) return;
    const zoom = Math.max(this.map.getZoom(), 15.2);
    this.#go({ center: [place.lon, place.lat], zoom });
  }

  /** Shows the main body of units, or every one of them. */
  frameUnits(which: 'main' | 'all'): void {
    const places = [...(this.#scene?.units.values() ?? [])].flatMap((unit) => unit.position ?? []);
    const box = which === 'all' ? boxOf(places) : mainBox(places);
    if (box !== null) this.map.fitBounds(box, { padding: 70, maxZoom: 15.5, duration: calm.matches ? 0 : 700 });
  }

  zoomBy(step: number): void {
    this.#go({ zoom: this.map.getZoom() + step });
  }

  /** Units with a position that the present view does not show. */
  outsideCount(): number {
    const bounds = this.map.getBounds();
    let count = 0;
    for (const { position } of this.#scene?.units.values() ?? []) {
      if (position !== null && !bounds.contains([position.lon, position.lat])) count += 1;
    }
    return count;
  }

  metresPerPixel(): number {
    const lat = (this.map.getCenter().lat * Math.PI) / 180;
    return (40_075_017 * Math.cos(lat)) / (512 * 2 ** this.map.getZoom());
  }

  #go(target: { center?: [number, number]; zoom: number }): void {
    if (calm.matches || this.#slow) this.map.jumpTo(target);
    else this.map.flyTo({ ...target, duration: 900, essential: false });
  }

  #whenLoaded(then: () => void): void {
    if (this.#loaded) then();
    else this.map.once('load', then);
  }

  #setData(source: SourceName, data: GeoJSON.GeoJSON): void {
    this.#given.add(source);
    this.map.getSource<maplibre.GeoJSONSource>(source)?.setData(data);
  }

  #placeOf(unit: string): Place | null {
    const scene = this.#scene;
    return scene?.units.get(unit)?.position ?? scene?.alarms.get(unit)?.position ?? null;
  }

  #frameOnce(box: Box): void {
    if (this.#framed) return;
    this.#framed = true;
    this.map.fitBounds(box, { padding: 60, maxZoom: 15.5, animate: false });
  }

  #redraw(): void {
    cancelAnimationFrame(this.#frame);
    const scene = this.#scene;
    if (scene === null) return;
    const began_ms = performance.now();
    const units = [...scene.units.values()];
    const drawing: Drawing = {
      ...scene,
      placeOf: (unit) => this.#glide.at(unit.id, began_ms) ?? (unit.position as Place),
    };
    this.#setData('units', { type: 'FeatureCollection', features: unitFeatures(units, drawing) });
    this.#setData('rings', { type: 'FeatureCollection', features: ringFeatures(units, drawing) });
    this.#drawAlarms(scene, drawing);
    const places = units.flatMap((unit) => unit.position ?? []);
    const box = mainBox(places);
    if (box !== null) this.#frameOnce(box);
    if (this.#glide.isMoving(began_ms)) this.#nextFrame(began_ms);
  }

  #nextFrame(before_ms: number): void {
    this.#frame = requestAnimationFrame((now_ms) => {
      if (now_ms - before_ms > FRAME_MS_MAX * 4) this.#slow = true;
      this.#redraw();
    });
  }

  #drawAlarms(scene: Scene, drawing: Drawing): void {
    const raised: GeoJSON.Feature[] = [];
    const shown = new Set<string>();
    for (const [id, alarm] of scene.alarms) {
      const unit = scene.units.get(id);
      const place = unit?.position ? drawing.placeOf(unit) : alarm.position;
      if (place === null) continue;
      shown.add(id);
      let marker = this.#markers.get(id);
      if (marker === undefined) {
        marker = new AlarmMarker(this.map, place, () => this.events.choose(id));
        this.#markers.set(id, marker);
      }
      marker.update(alarm, place, id === scene.selected);
      if (alarm.position !== null) {
        const { lon, lat } = alarm.position;
        raised.push({ type: 'Feature', properties: {}, geometry: { type: 'Point', coordinates: [lon, lat] } });
      }
    }
    for (const [id, marker] of this.#markers) {
      if (shown.has(id)) continue;
      marker.remove();
      this.#markers.delete(id);
    }
    this.#setData('raised', { ...NOTHING, features: raised });
  }

  #listenForChoices(): void {
    this.map.on('click', (event) => {
      const [found] = this.map.queryRenderedFeatures(
        [
          [event.point.x - 6, event.point.y - 6],
          [event.point.x + 6, event.point.y + 6],
        ],
        { layers: ['units', 'labels', 'label-selected'] },
      );
      this.events.choose((found?.properties['id'] as string | undefined) ?? null);
    });
    for (const layer of ['units', 'labels']) {
      this.map.on('mouseenter', layer, () => this.map.getCanvas().classList.add('is-over-unit'));
      this.map.on('mouseleave', layer, () => this.map.getCanvas().classList.remove('is-over-unit'));
    }
  }

  #drawImage(id: string): void {
    const picture = drawByName(id, palette());
    if (picture === null || this.map.hasImage(id)) return;
    this.map.addImage(id, picture.image, { pixelRatio: PIXEL_RATIO, ...picture.fit });
    this.#images.add(id);
  }

  #repaint(next: Palette): void {
    this.#whenLoaded(() => {
      for (const [layer, property, value] of paints(next)) {
        this.map.setPaintProperty(layer, property as never, value as never);
      }
      for (const id of this.#images) {
        const picture = drawByName(id, next);
        if (picture !== null) this.map.updateImage(id, picture.image);
      }
    });
  }
}

function placesOf({ geometry }: GeoJSON.Feature): Place[] {
  const lines =
    geometry.type === 'LineString'
      ? [geometry.coordinates]
      : geometry.type === 'MultiLineString'
        ? geometry.coordinates
        : [];
  return lines.flat().map(([lon, lat]) => ({ lon: lon ?? 0, lat: lat ?? 0 }));
}
