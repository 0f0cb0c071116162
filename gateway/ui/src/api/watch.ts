/** Reports: how the room copes with its alarms, and who looked at whom. */
import type { Grade } from '../types';
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
