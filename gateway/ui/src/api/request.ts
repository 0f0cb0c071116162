/**
 * Requests to the gateway: small, same-origin, JSON, each with a deadline.
 *
 * Faults are sorted by what the operator can do: `SessionLost` (log in again), `Conflict` (somebody
 * else was first; carries the alarm as it is), `Refused` (the gateway says why not), `Unreachable`
 * (wait, we try again).
 */
import type { Alarm } from '../types';

/** 10 s: longer than any answer of a healthy gateway, shorter than an operator's patience. */
const REQUEST_MS_MAX = 10_000;

/** The status of a refusal (RFC 4918, 11.3) while this console is locked: in another tab, perhaps. */
export const CONSOLE_LOCKED = 423;
/** The status of a refusal (RFC 6585, 3) until this person has said why they look. */
export const REASON_OWED = 428;
/** The status of a refusal (RFC 6585, 4) that is for now: `Refused.retry_after_s` says how long. */
export const TOO_MANY = 429;

export class SessionLost extends Error {
  override readonly name = 'SessionLost';
}

export class Unreachable extends Error {
  override readonly name = 'Unreachable';
}

/** The gateway understood and will not; its own sentence. `status` tells 403 from 404 from 429. */
export class Refused extends Error {
  override readonly name = 'Refused';
  constructor(
    readonly status: number,
    sentence: string,
    readonly retry_after_s: number | null = null,
  ) {
    super(sentence);
  }
}

/** Another operator was first. */
export class Conflict extends Error {
  override readonly name = 'Conflict';
  constructor(readonly alarm: Alarm) {
    super(`already ${alarm.state} by ${alarm.acknowledged_by ?? 'another operator'}`);
  }
}

async function send(path: string, init: RequestInit): Promise<Response> {
  let response: Response;
  const ends = [AbortSignal.timeout(REQUEST_MS_MAX), init.signal].filter((signal) => signal != null);
  try {
    response = await fetch(path, {
      ...init,
      credentials: 'same-origin',
      cache: 'no-store',
      signal: AbortSignal.any(ends),
    });
  } catch (cause) {
    throw new Unreachable(`no answer from the gateway to ${path}`, { cause });
  }
  return response;
}

async function sentenceOf(response: Response): Promise<string> {
  const body = (await response.json().catch(() => null)) as { error?: unknown } | null;
  return typeof body?.error === 'string' ? body.error : `the gateway answered ${response.status}`;
}

async function refusal(response: Response): Promise<Refused | Unreachable> {
  const sentence = await sentenceOf(response);
  if (response.status >= 500 && response.status !== 501) return new Unreachable(sentence);
  const retry = Number(response.headers.get('Retry-After'));
  return new Refused(response.status, sentence, retry > 0 ? retry : null);
}

/** `until` ends the request: nobody waits for it any more. */
export async function getJson<T>(path: string, until?: AbortSignal): Promise<T> {
  const response = await send(path, until === undefined ? {} : { signal: until });
  if (response.status === 401) throw new SessionLost('the session has ended');
  if (!response.ok) throw await refusal(response);
  return (await response.json()) as T;
}

/** `X-Fieldpost` cannot be sent by a foreign page's form. Null if the answer has no body. */
export async function post<T>(
  path: string,
  body: unknown,
  on401: new (sentence: string) => Error = SessionLost,
): Promise<T | null> {
  const response = await send(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'X-Fieldpost': '1' },
    body: JSON.stringify(body),
  });
  if (response.status === 401) throw new on401(await sentenceOf(response));
  if (response.status === 409) {
    const alarm = (await response.json().catch(() => null)) as Alarm | null;
    if (alarm?.id !== undefined) throw new Conflict(alarm);
    throw new Refused(409, (alarm as { error?: string } | null)?.error ?? 'somebody else was first');
  }
  if (!response.ok) throw await refusal(response);
  const text = await response.text();
  return text === '' ? null : (JSON.parse(text) as T);
}

/** A path with its query; undefined values are left out, numbers are whole: an instant has no half milliseconds. */
export function withQuery(path: string, query: Record<string, string | number | undefined>): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  return `${path}?${new URLSearchParams(given.map(([key, value]) => [key, String(typeof value === 'number' ? Math.round(value) : value)]))}`;
}
