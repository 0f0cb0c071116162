/**
 * The shapes of the gateway's page API, as they travel. Times are unix milliseconds on the
 * gateway's clock, unless named `device_time_ms`; degrees are WGS 84.
 *
 * **Every string in here came over the network: it is text and is only ever shown as text.** A field
 * marked optional may be missing from an older gateway; the page then claims nothing about it.
 */

export type Mode = 'actual' | 'exercise' | 'test';
export type Clock = 'gnss' | 'network' | 'holdover' | 'unset';
export type Grade = 'P1' | 'P2' | 'P3' | 'P4';

export interface Place {
  lon: number;
  lat: number;
}

export interface Position extends Place {
  speed_mps: number | null;
  course_deg: number | null;
  accuracy_m: number | null;
  device_time_ms: number;
  received_at_ms: number;
  clock: Clock;
  history: boolean;
}

/** A time without live records. `backlog`: they came later; `lost`: they never will; the others say why there are none. */
export interface Gap {
  from_ms: number;
  until_ms: number;
  kind: 'backlog' | 'lost' | 'silent' | 'off_duty' | 'damaged';
}

export interface Unit {
  /** `force/device`. */
  id: string;
  force: string;
  device: string;
  callsign: string;
  kind: 'officer' | 'vehicle';
  mode: Mode;
  connected: boolean;
  duty: string | null;
  battery_pct: number | null;
  position: Position | null;
  last_report_ms: number;
  stale: boolean;
  /** Id of this unit's open alarm. */
  alarm: string | null;
  gaps?: Gap[];
  role?: string | null;
  officer?: string | null;
  vehicle?: string | null;
}

export interface Fact {
  text: string;
  at_ms: number | null;
  record?: string | null;
}

export type AlarmState = 'unacknowledged' | 'acknowledged' | 'shelved' | 'cleared' | 'closed';
export type Outcome = 'genuine' | 'false' | 'test' | 'exercise';

export interface Alarm {
  /** `force/device/boot/sequence`. */
  id: string;
  unit: string;
  callsign: string;
  /** Null: an alarm of the past whose raising is no longer kept. */
  cause: string | null;
  mode: Mode;
  raised_at_ms: number;
  received_at_ms: number;
  position: Place | null;
  state: AlarmState;
  cancelled_at_ms: number | null;
  acknowledged_by: string | null;
  acknowledged_at_ms: number | null;
  receipt: 'none' | 'queued' | 'delivered';
  /** Grows with every change of this alarm. */
  revision?: number;
  grade?: Grade;
  rule?: { id: string; version: string | number } | null;
  is_fact?: boolean;
  facts?: Fact[];
  incident?: string | null;
  shelved?: { by: string; until_ms: number; reason: string } | null;
  escalation?: { step: number; since_ms: number; next_ms: number | null; targets: string[] } | null;
  closed?: { by: string; at_ms: number; outcome: Outcome; note: string } | null;
  wearer?: { state?: string; told_ms: number | null; confirmed_ms: number | null };
  queue?: 'operations' | 'security';
}

export interface GatewayState {
  spool: 'ok' | 'full' | 'failed';
  devices_connected: number;
  records_total: number;
  degraded: string[];
  /** What the operator is not seeing, in sentences. */
  blind?: string[];
}

/** Who watches: no live, unlocked console is itself an escalation. */
export interface Watch {
  consoles: number;
  unlocked: number;
  nobody: boolean;
}

export interface Session {
  operator: string;
  name?: string | null;
  force?: string;
  forces?: string[];
  roles?: string[];
  may?: string[];
  reason?: 'off' | 'optional' | 'required';
  locked?: boolean;
  /** Nothing else is permitted before a password is chosen. */
  must_change_password?: boolean;
  server_time_ms: number;
  gateway_version: string;
  mode_banner?: string | null;
}

export interface UnitsSnapshot {
  cursor: string;
  units: Unit[];
}

export interface TimelineEvent {
  at_ms: number;
  what: string;
  who: string | null;
  text: string;
}

export interface TrackPoint extends Place {
  at_ms: number;
  accuracy_m: number | null;
  speed_mps: number | null;
  course_deg: number | null;
  /** It came by the backlog lane: history, never live. */
  backlog: boolean;
}

export interface Track {
  points: TrackPoint[];
  gaps: Gap[];
  next: string | null;
}
