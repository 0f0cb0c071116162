/** Reports for supervisors and auditors: how the room copes with its alarms, and who looked at whom. */
import type { Grade, Place } from '../types';
import { getJson, withQuery } from './request';

export interface Times {
  count: number;
  p50: number | null;
  p90: number | null;
  p99: number | null;
}

export interface PerformanceReport {
  from_ms: number;
  until_ms: number;
  /** More alarms are gone than figures are kept of: these are of the alarms that are left. */
  is_cut: boolean;
  /** Ten minutes each. */
  slots: { from_ms: number; alarms: number; by_operator: Record<string, number>; unanswered: number }[];
  time_to_acknowledge_ms: Times & { max: number | null };
  by_grade: Partial<Record<Grade, Times>>;
  floods: { from_ms: number; until_ms: number; alarms: number }[];
  rules: {
    id: string;
    version: string | number;
    raised: number;
    genuine: number;
    false: number;
    test: number;
    exercise: number;
    precision: number | null;
  }[];
  verdict: { per_operator_per_10min: number; level: 'acceptable' | 'manageable' | 'excessive'; sentence: string };
}

export const getPerformance = (from_ms: number, until_ms: number): Promise<PerformanceReport> =>
  getJson(withQuery('/api/v1/alarms/performance', { from_ms, until_ms }));

/** One look at positions, out of the access record. */
export interface LookRow {
  n: number;
  operator: string;
  from: string;
  what: string;
  at_ms: number;
  until_ms?: number;
  subjects: string[];
  fields: string[];
  precision: string;
  /** The past time that was asked about; missing if the present was shown. */
  of?: { from_ms: number; until_ms: number };
  reason?: string;
  /** What was done to which account. */
  account?: { name: string; change: string };
  /** Versions of the unit that were on the screen. */
  shown?: Shown[];
  /** Later versions than those were shown too. */
  shown_is_cut?: boolean;
  /** Why that is not known. */
  not_known?: string;
}

/** One version of a unit or of its alarm on somebody's screen. */
export interface Shown {
  at_ms: number;
  /** It was there already when the time asked about began. */
  was_there?: boolean;
  event: 'units' | 'alarm';
  /** As the page was sent it. */
  row: { position?: Place | null; duty?: string | null; state?: string; grade?: string; cause?: string };
}

export interface LookReport {
  /** What the record may be used for. */
  purpose: string;
  looks: LookRow[];
  is_cut: boolean;
  /** Who wore which of the devices when, if the question is about devices. */
  worn?: Worn[];
  /** More was assigned in that time than the gateway knows. */
  worn_is_cut?: boolean;
  verification: { lines: number; broken: { file: string; line: number; what: string } | null };
}

/** A part of the time in which one person wore a device. */
export interface Worn {
  unit: string;
  officer: string | null;
  from_ms: number;
  until_ms: number;
}

/** A device, or an officer: the devices that they wore while they wore them. */
export const getWhoSaw = (about: { unit: string } | { officer: string }, from_ms: number, until_ms: number): Promise<LookReport> =>
  getJson(withQuery('/api/v1/audit/saw', { ...about, from_ms, until_ms }));
/** What was sent to a force system, and on record before it was. */
export interface Disclosed {
  n: number;
  at_ms: number;
  is_again: boolean;
  to: string;
  kind: string;
  address: string;
  /** Records. */
  count: number;
  fields: string[];
  precision_m: number;
  marking: string;
}

export interface DisclosureReport {
  purpose: string;
  disclosures: Disclosed[];
  is_cut?: boolean;
  verification: LookReport['verification'];
}

export const getDisclosures = (unit: string, from_ms: number, until_ms: number): Promise<DisclosureReport> =>
  getJson(withQuery('/api/v1/audit/disclosures', { unit, from_ms, until_ms }));

/** Whether the whole record holds. */
export interface Verdict {
  purpose: string;
  lines: number;
  last_n: number;
  last_hash: string;
  torn: number;
  /** Older lines are not here: removed by age, as line `said_by` says, or by somebody else. */
  cut?: { n: number; said_by: number | null } | null;
  broken: { file: string; line: number; what: string } | null;
}

export const getVerdict = (): Promise<Verdict> => getJson('/api/v1/audit/verify');
/** Where a browser fetches the lines of a time from. */
export const exportPath = (from_ms: number, until_ms: number): string => withQuery('/api/v1/audit/export', { from_ms, until_ms });
export const getLooksOf = (operator: string, from_ms: number, until_ms: number): Promise<LookReport> =>
  getJson(withQuery('/api/v1/audit/looks', { operator, from_ms, until_ms }));
