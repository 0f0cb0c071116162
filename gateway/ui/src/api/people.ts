/** People and duties: accounts for administrators, who wears which device for supervisors. */
import { getJson, post, withQuery } from './request';

export const ROLES = ['operator', 'supervisor', 'engineer', 'auditor', 'data_protection', 'administrator'] as const;
export type Role = (typeof ROLES)[number];

export interface Person {
  name: string;
  full_name: string;
  roles: Role[];
  forces: string[];
  disabled: boolean;
  must_change: boolean;
  changed_at_ms: number;
  changed_by: string;
}

export interface Grant {
  roles: Role[];
  forces: string[];
}

/** A password that is shown this once. */
export interface Made {
  name: string;
  password: string;
}

const of = (name: string, deed: string): string => `/api/v1/people/${encodeURIComponent(name)}/${deed}`;

export const getPeople = async (): Promise<Person[]> => (await getJson<{ people: Person[] }>('/api/v1/people')).people;
export const addPerson = (person: { name: string; full_name: string } & Grant): Promise<Made | null> =>
  post<Made>('/api/v1/people', person);
export const resetPassword = (name: string): Promise<Made | null> => post<Made>(of(name, 'password'), {});
export const setDisabled = (name: string, disabled: boolean): Promise<unknown> =>
  post(of(name, disabled ? 'disable' : 'enable'), {});
export const setGrant = (name: string, grant: Grant): Promise<unknown> => post(of(name, 'roles'), grant);

/** Who wears a device from when until when. */
export interface Assignment {
  n: number;
  /** `force/device`. */
  unit: string;
  officer?: string | null;
  callsign?: string | null;
  vehicle?: string | null;
  role?: string | null;
  from_ms: number;
  until_ms: number;
  by: string;
  at_ms: number;
}

/** Answers of 1,000 assignments each; the largest force's shift is ten. */
const PAGES_MAX = 50;

export async function getAssignments(at_ms: number): Promise<Assignment[]> {
  const all: Assignment[] = [];
  let after: string | undefined;
  for (let page = 0; page < PAGES_MAX; page += 1) {
    const answer = await getJson<{ assignments: Assignment[]; next_after?: string }>(withQuery('/api/v1/assignments', { at_ms, after }));
    all.push(...answer.assignments);
    if (answer.next_after === undefined) break;
    after = answer.next_after;
  }
  return all;
}

export interface NewAssignment {
  force: string;
  device: string;
  officer: string;
  callsign: string;
  vehicle: string;
  role: string;
  from_ms: number;
  until_ms: number;
}

export const assign = (assignment: NewAssignment): Promise<unknown> => post('/api/v1/assignments', assignment);
