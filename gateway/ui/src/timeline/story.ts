/** What happened to one alarm, in order. Pure. */
import type { Alarm, TimelineEvent } from '../types';
import { causeInWords } from '../words';

/** What the alarm itself tells: enough when the gateway keeps no timeline, and shown until it answers. */
export function storyOf(alarm: Alarm): TimelineEvent[] {
  const events: TimelineEvent[] = [
    { at_ms: alarm.raised_at_ms, what: 'raised', who: null, text: `${causeInWords(alarm.cause)} raised` },
    { at_ms: alarm.received_at_ms, what: 'received', who: null, text: 'Received and shown' },
  ];
  const add = (at_ms: number | null | undefined, what: string, text: string, who: string | null = null): void => {
    if (at_ms != null) events.push({ at_ms, what, who, text });
  };
  add(alarm.cancelled_at_ms, 'cancelled', 'Wearer pressed cancel');
  add(alarm.acknowledged_at_ms, 'acknowledged', 'Acknowledged', alarm.acknowledged_by);
  add(alarm.wearer?.told_ms, 'told', 'Wearer told');
  add(alarm.wearer?.confirmed_ms, 'confirmed', "Confirmed by the wearer's device");
  add(alarm.closed?.at_ms, 'closed', `Closed: ${alarm.closed?.outcome ?? ''}`, alarm.closed?.by ?? null);
  return events.sort((a, b) => a.at_ms - b.at_ms);
}
