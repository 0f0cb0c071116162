/**
 * The living map: takes what is known, draws it, and says what it drew.
 *
 * ```text
 * show(scene) -> pace -> glide -> difference -> sources units, chosen, raised + alarm buttons -> frame
 * ```
 * It owns no facts: every scene replaces the one before, and only what differs is handed to the
 * map's worker. News of positions keep a pace (pace.ts); an alarm and what the operator chose are drawn at once. Positions move for `GLIDE_MS` at most, and not at all if the operator asked for less
 * motion, if there are many units, or if the machine is too slow to draw it.
 */
import { boxOf, mainBox, type Box } from '../geo';
import type { Trail } from '../trail';
import type { Alarm, Place, Unit } from '../types';
import { AlarmMarkers } from './alarm_marker';
import { baseLayers, baseSource, type Base } from './base';
import { Camera } from './camera';
import { maplibre } from './engine';
import { UnitDiff, unitFeature, type Drawing, type UnitFeature } from './features';
import { Glide } from './glide';
import { drawByName, PIXEL_RATIO } from './icons';
import { coastOf, kilometreGrid, placesOf } from './outline';
import { Pace } from './pace';
import { isDark, onPaletteChange, palette, type Palette } from './palette';
import { mapStyle, NOTHING, paints, type SourceName } from './style';
import { LABEL_ZOOM_MIN } from './style_units';
import { trailFeatures } from './trail_features';

export interface Scene {
  units: { get(id: string): Unit | undefined; values(): Iterable<Unit>; readonly size: number };
  /** The alarm to show at a unit, by unit id. */
  alarms: ReadonlyMap<string, Alarm>;
  selected: string | null;
  now_ms: number;
  /** True for the past: it is never animated. */
  isPast: boolean;
}

export interface ViewEvents {
  /** A unit was chosen on the map; null: the ground was. */
  choose(unit: string | null): void;
  /** The view or the places in it changed. */
  moved(): void;
  /** A tile of the force's own map did not come. */
  baseFailed(): void;
}

const GROUND: readonly SourceName[] = ['outline', 'coast', 'streets'];
const GLIDING_UNITS_MAX = 300;
/** A frame slower than this means software drawing: movement would only make it worse. */
const FRAME_MS_MAX = 60;
const BRITISH_ISLES: Box = [-10.8, 49.6, 2.2, 59.2];

const calm = matchMedia('(prefers-reduced-motion: reduce)');

export class MapView {
  readonly map: maplibre.Map;
  readonly camera: Camera;
  readonly #glide = new Glide();
  readonly #diff = new UnitDiff();
  readonly #pace = new Pace();
  readonly #markers: AlarmMarkers;
  readonly #images = new Set<string>();
  readonly #given = new Set<SourceName>();
  /** What small sources were handed last: the same again would be drawn again. */
  readonly #features = new Map<SourceName, string>();
  readonly #undo: (() => void)[] = [];
  #base: Base | null = null;
  #scene: Scene | null = null;
  #frame = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #slow = false;
  #loaded = false;

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
    this.camera = new Camera(this.map, () => this.#slow);
    this.#markers = new AlarmMarkers(this.map, (unit) => this.events.choose(unit));
    this.map.touchZoomRotate.disableRotation();
    this.map.keyboard.disableRotation();
    this.map.setMissingStyleImageResolver((id) => this.#drawImage(id));
    this.map.on('load', () => {
      this.#loaded = true;
      this.#draw();
    });
    this.map.on('idle', () => {
      this.#pace.drawn(performance.now());
      if (this.#timer !== undefined) this.#drawInTime();
    });
    this.map.on('moveend', () => this.events.moved());
    this.map.on('zoom', () => container.classList.toggle('is-far', this.map.getZoom() < LABEL_ZOOM_MIN));
    this.map.on('error', ({ error, ...of }) => {
      if ('sourceId' in of && of.sourceId === 'base') this.events.baseFailed();
      else console.error(error);
    });
    this.#listenForChoices();
    this.#undo.push(onPaletteChange((next) => this.#repaint(next)));
  }

  remove(): void {
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#timer);
    for (const undo of this.#undo) undo();
    this.map.remove();
  }

  setOutline(outline: GeoJSON.FeatureCollection): void {
    this.whenLoaded(() => {
      this.#setData('outline', outline);
      this.#setData('coast', coastOf(outline));
    });
  }

  setStreets(streets: GeoJSON.FeatureCollection): void {
    this.whenLoaded(() => {
      this.#setData('streets', streets);
      const box = boxOf(streets.features.flatMap(placesOf));
      if (box === null) return;
      const centre = { lon: (box[0] + box[2]) / 2, lat: (box[1] + box[3]) / 2 };
      this.#setData('grid', kilometreGrid(centre, 20));
      this.camera.frameOnce(box);
    });
  }

  /** Puts a map file between the coast and the streets. */
  setBase(base: Base): void {
    const source = baseSource(base, location.origin);
    if (source === null) return;
    this.whenLoaded(() => {
      this.#base = base;
      this.map.addSource('base', source);
      for (const layer of baseLayers(base, palette(), isDark())) this.map.addLayer(layer, 'grid');
      const { bounds } = base;
      if (bounds[2] - bounds[0] < 20) this.camera.frameOnce(bounds);
    });
  }

  /** Asks again for what did not come of the force's own map; what came is in the browser's cache. */
  retryBase(): void {
    if (this.#base !== null) this.map.refreshTiles('base');
  }

  setTrail(trail: Trail): void {
    this.whenLoaded(() => this.#setFeatures('trail', trailFeatures(trail)));
  }

  /** Draws a scene: at once if the operator or an alarm changed it, news of positions at their pace. */
  show(scene: Scene): void {
    const before = this.#scene;
    this.#scene = scene;
    const isNews = before?.selected === scene.selected && before.isPast === scene.isPast && before.alarms === scene.alarms;
    if (isNews && !this.#isAnimated(scene)) this.#drawInTime();
    else this.#draw();
  }

  #isAnimated({ isPast, units }: Scene): boolean {
    return !isPast && !this.#slow && !calm.matches && !document.hidden && units.size <= GLIDING_UNITS_MAX;
  }

  #drawInTime(): void {
    clearTimeout(this.#timer);
    const wait_ms = this.#pace.wait_ms(performance.now());
    if (wait_ms === 0) this.#draw();
    else this.#timer = setTimeout(() => this.#draw(), wait_ms);
  }

  /** Draws what is known now; positions that changed glide from where they are drawn. */
  #draw(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const scene = this.#scene;
    if (scene === null) return;
    const now_ms = performance.now();
    const animated = this.#isAnimated(scene);
    const ids = new Set<string>();
    for (const unit of scene.units.values()) {
      ids.add(unit.id);
      if (unit.position !== null) this.#glide.aim(unit.id, unit.position, now_ms, animated);
    }
    this.#glide.keep(ids);
    if (this.#loaded) this.#redraw();
    this.events.moved();
  }

  /** Where the markers are at this moment, by unit id: what an observer of the page can check. */
  drawn(): Map<string, Place> {
    const places = new Map<string, Place>();
    for (const { id } of this.#scene?.units.values() ?? []) {
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
    const scene = this.#scene;
    const place = scene?.units.get(unit)?.position ?? scene?.alarms.get(unit)?.position ?? null;
    if (place !== null) this.camera.flyTo(place);
  }

  /** Every place known. */
  places(): Place[] {
    return [...(this.#scene?.units.values() ?? [])].flatMap((unit) => unit.position ?? []);
  }

  /** Units with a position that the present view does not show. */
  outsideCount(): number {
    const bounds = this.map.getBounds();
    const [west, south, east, north] = [bounds.getWest(), bounds.getSouth(), bounds.getEast(), bounds.getNorth()];
    let count = 0;
    for (const { position: place } of this.#scene?.units.values() ?? []) {
      if (place !== null && (place.lon < west || place.lon > east || place.lat < south || place.lat > north)) count += 1;
    }
    return count;
  }

  metresPerPixel(): number {
    const lat = (this.map.getCenter().lat * Math.PI) / 180;
    return (40_075_017 * Math.cos(lat)) / (512 * 2 ** this.map.getZoom());
  }

  whenLoaded(then: () => void): void {
    if (this.#loaded) then();
    else this.map.once('load', then);
  }

  #source(name: SourceName): maplibre.GeoJSONSource | undefined {
    return this.map.getSource<maplibre.GeoJSONSource>(name);
  }

  #setData(source: SourceName, data: GeoJSON.GeoJSON): void {
    this.#given.add(source);
    this.#source(source)?.setData(data);
  }

  /** Hands over a few features; true if they are others than before. */
  #setFeatures(source: SourceName, features: GeoJSON.Feature[]): boolean {
    const text = JSON.stringify(features);
    if (this.#features.get(source) === text) return false;
    this.#features.set(source, text);
    this.#setData(source, { ...NOTHING, features });
    return true;
  }

  #redraw(): void {
    cancelAnimationFrame(this.#frame);
    const scene = this.#scene;
    if (scene === null) return;
    const began_ms = performance.now();
    const drawing: Drawing = {
      ...scene,
      placeOf: (unit) => this.#glide.at(unit.id, began_ms) ?? (unit.position as Place),
    };
    const { add, remove } = this.#diff.next(scene.units.values(), drawing);
    const hasMoved = add.length + remove.length > 0;
    if (hasMoved) void this.#source('units')?.updateData({ add, remove });
    const isOther = [
      this.#setFeatures('chosen', this.#chosen(scene, drawing)),
      this.#setFeatures('raised', this.#markers.show(scene, drawing)),
    ];
    if (hasMoved || isOther.includes(true)) this.#pace.began(began_ms);
    if (!this.camera.isFramed) {
      const box = mainBox(this.places());
      if (box !== null) this.camera.frameOnce(box);
    }
    if (this.#glide.isMoving(began_ms)) this.#nextFrame(began_ms);
  }

  /** The selected unit and the alarmed ones are never inside a cluster. */
  #chosen(scene: Scene, drawing: Drawing): UnitFeature[] {
    const features: UnitFeature[] = [];
    for (const id of new Set([...scene.alarms.keys(), ...(scene.selected === null ? [] : [scene.selected])])) {
      const unit = scene.units.get(id);
      if (unit?.position) features.push(unitFeature(unit, drawing.placeOf(unit), drawing));
    }
    return features;
  }

  #nextFrame(before_ms: number): void {
    this.#frame = requestAnimationFrame((now_ms) => {
      if (now_ms - before_ms > FRAME_MS_MAX * 4) this.#slow = true;
      this.#redraw();
    });
  }

  #listenForChoices(): void {
    this.map.on('click', (event) => {
      const { x, y } = event.point;
      const layers = ['clusters', 'units', 'labels', 'unit-selected', 'label-selected'];
      const [found] = this.map.queryRenderedFeatures([[x - 6, y - 6], [x + 6, y + 6]], { layers });
      if (found?.properties['cluster']) void this.#open(found);
      else this.events.choose((found?.properties['id'] as string | undefined) ?? null);
    });
    for (const layer of ['clusters', 'units', 'labels']) {
      this.map.on('mouseenter', layer, () => this.map.getCanvas().classList.add('is-over-unit'));
      this.map.on('mouseleave', layer, () => this.map.getCanvas().classList.remove('is-over-unit'));
    }
  }

  async #open(cluster: maplibre.MapGeoJSONFeature): Promise<void> {
    const zoom = await this.#source('units')?.getClusterExpansionZoom(cluster.properties['cluster_id'] as number);
    const [lon, lat] = (cluster.geometry as GeoJSON.Point).coordinates;
    if (zoom !== undefined) this.camera.go({ center: [lon ?? 0, lat ?? 0], zoom: zoom + 0.3 });
  }

  #drawImage(id: string): void {
    const picture = drawByName(id, palette());
    if (picture === null || this.map.hasImage(id)) return;
    this.map.addImage(id, picture.image, { pixelRatio: PIXEL_RATIO, ...picture.fit });
    this.#images.add(id);
  }

  #repaint(next: Palette): void {
    this.whenLoaded(() => {
      const base = this.#base === null ? [] : baseLayers(this.#base, next, isDark());
      for (const [layer, property, value] of paints(next, base)) {
        this.map.setPaintProperty(layer, property as never, value as never);
      }
      for (const id of this.#images) {
        const picture = drawByName(id, next);
        if (picture !== null) this.map.updateImage(id, picture.image);
      }
    });
  }
}
