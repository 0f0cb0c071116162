/** The past: tracks, and every unit and alarm as it was. */
import type { Alarm, Track, Unit } from '../types';
import { getJson, withQuery } from './request';

/** A track of 15 minutes at one position a second is 900 points. */
const TRACK_POINTS_MAX = 2_000;

export const getTrack = (unit: string, from_ms: number, until_ms: number): Promise<Track> =>
  getJson(withQuery('/api/v1/history/track', { unit, from_ms, until_ms, limit: TRACK_POINTS_MAX }));

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

export const getPastAlarms = async (from_ms: number, until_ms: number): Promise<Alarm[]> =>
  (await getJson<{ alarms: Alarm[] }>(withQuery('/api/v1/history/alarms', { from_ms, until_ms }))).alarms;
