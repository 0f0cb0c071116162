/** The past: tracks, and every unit and alarm as it was. */
import type { PastAlarm } from '../state/past_alarm';
import type { Track, Unit } from '../types';
import { getJson, withQuery } from './request';

/** An hour at one position a second, and half as much again. */
const TRACK_POINTS_MAX = 5_000;

export const getTrack = (unit: string, from_ms: number, until_ms: number, until: AbortSignal): Promise<Track> =>
  getJson(withQuery('/api/v1/history/track', { unit, from_ms, until_ms, limit: TRACK_POINTS_MAX }), until);

/** One picture of the past; a later one holds only what changed since the picture before it. */
export interface Frame {
  at_ms: number;
  units: Unit[];
}

export interface Frames {
  frames: Frame[];
  next: string | null;
}

export interface Span {
  from_ms: number;
  until_ms: number;
  step_ms: number;
}

export const getFrames = (span: Span, cursor?: string): Promise<Frames> =>
  getJson(withQuery('/api/v1/history/replay', { ...span, cursor }));

/** Answers of 500 alarms each: beyond 5,000 in an hour a slider shows no more. */
const ALARM_PAGES_MAX = 10;

export async function getPastAlarms(from_ms: number, until_ms: number): Promise<PastAlarm[]> {
  const alarms: PastAlarm[] = [];
  let cursor: string | undefined;
  for (let page = 0; page < ALARM_PAGES_MAX; page += 1) {
    const path = withQuery('/api/v1/history/alarms', { from_ms, until_ms, cursor });
    const answer = await getJson<{ alarms: PastAlarm[]; next: string | null }>(path);
    alarms.push(...answer.alarms);
    if (answer.next === null) break;
    cursor = answer.next;
  }
  return alarms;
}
