/**
 * An alarm on the map is a real button, not a picture: it can be reached by keyboard, read by a
 * screen reader, and it flashes by style sheet (`styles/map.css`), which honours reduced motion.
 */
import type { Alarm, Place } from '../types';
import { causeInWords, modeInWords } from '../words';
import { maplibre } from './engine';

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
    this.#cause.textContent = cause;
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
