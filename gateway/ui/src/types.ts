/**
 * The shapes of the gateway's page API, as they travel. Times are unix milliseconds on the
 * gateway's clock, unless named `device_time_ms`; degrees are WGS 84.
 *
 * **Every string in here came over the network: it is text and is only ever shown as text.**
 */

export type Mode = 'actual' | 'exercise' | 'test';
export type Clock = 'gnss' | 'network' | 'holdover' | 'unset';

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
}

export interface Alarm {
  /** `force/device/boot/sequence`. */
  id: string;
  unit: string;
  callsign: string;
  cause: string;
  mode: Mode;
  raised_at_ms: number;
  received_at_ms: number;
  position: Place | null;
  state: 'unacknowledged' | 'acknowledged';
  cancelled_at_ms: number | null;
  acknowledged_by: string | null;
  acknowledged_at_ms: number | null;
  receipt: 'none' | 'queued' | 'delivered';
}

export interface GatewayState {
  spool: 'ok' | 'full' | 'failed';
  devices_connected: number;
  records_total: number;
  degraded: string[];
}

export interface Session {
  operator: string;
  force: string;
  server_time_ms: number;
  gateway_version: string;
}

export interface UnitsSnapshot {
  cursor: string;
  units: Unit[];
}
