/** Alarms of one incident stand together, so that a flood reads as one event. Pure. */
import type { Alarm } from '../types';

export interface Group {
  key: string;
  alarms: Alarm[];
}

/** In the order of each group's first alarm; an alarm without an incident is a group of its own. */
export function grouped(alarms: readonly Alarm[]): Group[] {
  const groups = new Map<string, Group>();
  for (const alarm of alarms) {
    const key = alarm.incident ? `incident ${alarm.incident}` : alarm.id;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { key, alarms: [alarm] });
    else group.alarms.push(alarm);
  }
  return [...groups.values()];
}
