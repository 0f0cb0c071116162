/**
 * Requests to the gateway: small, same-origin, JSON, each with a deadline.
 *
 * Faults are sorted by what the operator can do: `SessionLost` (get a new link), `Conflict`
 * (somebody else was first; carries the alarm with its owner), `Unreachable` (wait, we try again).
 */
import type { Alarm, Session, UnitsSnapshot } from './types';

/** 10 s: longer than any answer of a healthy gateway, shorter than an operator's patience. */
const REQUEST_MS_MAX = 10_000;

export class SessionLost extends Error {
  override readonly name = 'SessionLost';
}

export class Unreachable extends Error {
  override readonly name = 'Unreachable';
}

/** Another operator acknowledged first. */
export class Conflict extends Error {
  override readonly name = 'Conflict';
  constructor(readonly alarm: Alarm) {
    super(`already acknowledged by ${alarm.acknowledged_by ?? 'another operator'}`);
  }
}

async function request(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, {
      ...init,
      credentials: 'same-origin',
      cache: 'no-store',
      signal: AbortSignal.timeout(REQUEST_MS_MAX),
    });
  } catch (cause) {
    throw new Unreachable(`no answer from the gateway to ${path}`, { cause });
  }
  if (response.status === 401) throw new SessionLost('the session has ended');
  return response;
}

async function getJson<T>(path: string): Promise<T> {
  const response = await request(path);
  if (!response.ok) throw new Unreachable(`the gateway answered ${response.status} to ${path}`);
  return (await response.json()) as T;
}

export const getSession = (): Promise<Session> => getJson('/api/v1/session');
export const getUnits = (): Promise<UnitsSnapshot> => getJson('/api/v1/units');
export const getAlarms = async (): Promise<Alarm[]> =>
  (await getJson<{ alarms: Alarm[] }>('/api/v1/alarms')).alarms;
export const getMap = (name: 'outline' | 'streets'): Promise<GeoJSON.FeatureCollection> =>
  getJson(`/map/${name}.json`);

/** Takes responsibility for an alarm. `X-Fieldpost` cannot be sent by a foreign page's form. */
export async function acknowledge(id: string): Promise<Alarm> {
  const response = await request('/api/v1/alarms/acknowledge', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'X-Fieldpost': '1' },
    body: JSON.stringify({ id }),
  });
  if (response.status === 409) throw new Conflict((await response.json()) as Alarm);
  if (!response.ok) throw new Unreachable(`the gateway answered ${response.status} to the acknowledgement`);
  return (await response.json()) as Alarm;
}
