/** What the room reads, and what an operator does with an alarm. */
import type { Base } from '../map/base';
import type { Alarm, Grade, Outcome, Session, TimelineEvent, UnitsSnapshot } from '../types';
import { getJson, post, withQuery } from './request';

export const getSession = (): Promise<Session> => getJson('/api/v1/session');
export const getUnits = (): Promise<UnitsSnapshot> => getJson('/api/v1/units');
export const getAlarms = async (): Promise<Alarm[]> =>
  (await getJson<{ alarms: Alarm[] }>('/api/v1/alarms')).alarms;
export const getMap = (name: 'outline' | 'streets'): Promise<GeoJSON.FeatureCollection> =>
  getJson(`/map/${name}.json`);
/** What lies under the units; an older gateway has only the outline. */
export const getBase = (): Promise<Base | null> => getJson<Base>('/map/base.json').catch(() => null);
export const getTimeline = async (id: string): Promise<TimelineEvent[]> =>
  (await getJson<{ events: TimelineEvent[] }>(withQuery('/api/v1/alarms/timeline', { id }))).events;

/** What a person can do with an alarm; each field set is one route. */
export type Deed =
  | { deed: 'acknowledge' }
  | { deed: 'unshelve' }
  | { deed: 'shelve'; minutes: number; reason: string }
  | { deed: 'lower'; grade: Grade; reason: string }
  | { deed: 'close'; outcome: Outcome; note: string }
  | { deed: 'note'; text: string };

/** Does it; the alarm as it is afterwards, or null if the gateway says no more than "done". */
export function act(id: string, deed: Deed): Promise<Alarm | null> {
  const { deed: route, ...fields } = deed;
  return post<Alarm>(`/api/v1/alarms/${route}`, { id, ...fields });
}
