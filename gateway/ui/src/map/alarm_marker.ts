/**
 * An alarm on the map is a real button, not a picture: it can be reached by keyboard, read by a
 * screen reader, and it flashes by style sheet (`styles/map.css`), which honours reduced motion.
 */
import type { Alarm, Place, Unit } from '../types';
import { gradeOf } from '../state/merge';
import { causeInWords, modeInWords } from '../words';
import { maplibre } from './engine';
import type { Drawing } from './features';

export class AlarmMarker {
  readonly #marker: maplibre.Marker;
  readonly #button = document.createElement('button');
  readonly #callsign = document.createElement('span');
  readonly #cause = document.createElement('span');
  readonly #tag = document.createElement('span');
  readonly #state = document.createElement('span');

  constructor(map: maplibre.Map, place: Place, choose: () => void) {
    this.#button.type = 'button';
    this.#button.className = 'alarm-marker';
    const sign = document.createElement('span');
    sign.className = 'alarm-marker-sign';
    sign.setAttribute('aria-hidden', 'true');
    const mark = document.createElement('span');
    mark.textContent = '!';
    sign.append(mark);
    const label = document.createElement('span');
    label.className = 'alarm-marker-label';
    this.#tag.className = 'alarm-marker-tag';
    this.#callsign.className = 'alarm-marker-callsign';
    this.#state.className = 'unseen';
    label.append(this.#tag, this.#callsign, this.#cause, this.#state);
    this.#button.append(sign, label);
    this.#button.addEventListener('click', (event) => {
      event.stopPropagation();
      choose();
    });
    this.#marker = new maplibre.Marker({ element: this.#button, anchor: 'center' })
      .setLngLat([place.lon, place.lat])
      .addTo(map);
  }

  update(alarm: Alarm, place: Place, selected: boolean): void {
    const cause = causeInWords(alarm.cause);
    const mode = alarm.mode === 'actual' ? '' : modeInWords(alarm.mode);
    this.#callsign.textContent = alarm.callsign;
    this.#cause.textContent = `${gradeOf(alarm)} ${cause}`;
    this.#button.dataset['grade'] = gradeOf(alarm);
    this.#tag.textContent = mode;
    this.#tag.hidden = mode === '';
    this.#button.dataset['state'] = alarm.state;
    this.#button.dataset['alarm'] = alarm.id;
    this.#button.classList.toggle('is-selected', selected);
    this.#state.textContent = `${alarm.state} alarm`;
    this.move(place);
  }

  move(place: Place): void {
    const here = this.#marker.getLngLat();
    if (here.lng !== place.lon || here.lat !== place.lat) this.#marker.setLngLat([place.lon, place.lat]);
  }

  remove(): void {
    this.#marker.remove();
  }
}

/** All of them, by unit. */
export class AlarmMarkers {
  readonly #markers = new Map<string, AlarmMarker>();

  constructor(
    private readonly map: maplibre.Map,
    private readonly choose: (unit: string) => void,
  ) {}

  /** Shows these and no others; returns where each alarm was raised, as points. */
  show(scene: { units: { get(id: string): Unit | undefined }; alarms: ReadonlyMap<string, Alarm> }, drawing: Drawing): GeoJSON.Feature[] {
    const raised: GeoJSON.Feature[] = [];
    const shown = new Set<string>();
    for (const [id, alarm] of scene.alarms) {
      const unit = scene.units.get(id);
      const place = unit?.position ? drawing.placeOf(unit) : alarm.position;
      if (place === null) continue;
      shown.add(id);
      let marker = this.#markers.get(id);
      if (marker === undefined) {
        marker = new AlarmMarker(this.map, place, () => this.choose(id));
        this.#markers.set(id, marker);
      }
      marker.update(alarm, place, id === drawing.selected);
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
    return raised;
  }
}
