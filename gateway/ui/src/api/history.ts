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

/** The most that one answer has. */
const ALARMS_A_PAGE = 500;
/** Beyond 5,000 alarms raised in an hour, or 5,000 that stood when it began, a slider shows no more. */
const ALARM_PAGES_MAX = 10;

export interface PastAlarms {
  alarms: PastAlarm[];
  /** False: there are more than are read. */
  isWhole: boolean;
}

/**
 * Those raised in this time, and those that were raised before and stood open when it began: what a screen showed then.
 * The hour's own are asked for by themselves: days of unclosed alarms, which come oldest first, take no place of theirs.
 */
export async function getPastAlarms(from_ms: number, until_ms: number): Promise<PastAlarms> {
  const raised = await readAlarms({ from_ms, until_ms });
  const stood = await readAlarms({ from_ms, until_ms: from_ms + 1, standing: 'true' });
  const own = new Set(raised.alarms.map(({ id }) => id));
  return { alarms: [...stood.alarms.filter(({ id }) => !own.has(id)), ...raised.alarms], isWhole: stood.isWhole && raised.isWhole };
}

async function readAlarms(question: Record<string, string | number>): Promise<PastAlarms> {
  const alarms: PastAlarm[] = [];
  let cursor: string | undefined;
  for (let page = 0; page < ALARM_PAGES_MAX; page += 1) {
    const path = withQuery('/api/v1/history/alarms', { ...question, limit: ALARMS_A_PAGE, cursor });
    const answer = await getJson<{ alarms: PastAlarm[]; next: string | null }>(path);
    alarms.push(...answer.alarms);
    if (answer.next === null) return { alarms, isWhole: true };
    cursor = answer.next;
  }
  return { alarms, isWhole: false };
}
