/** What happened to one alarm, in order, and in words. Pure. */
import type { Alarm, TimelineEvent } from '../types';
import { causeInWords, codeInWords } from '../words';

/** What the alarm itself tells: enough when the gateway keeps no timeline, and shown until it answers. */
export function storyOf(alarm: Alarm): TimelineEvent[] {
  const events: TimelineEvent[] = [
    { at_ms: alarm.raised_at_ms, what: 'raised', who: null, text: causeInWords(alarm.cause) },
    { at_ms: alarm.received_at_ms, what: 'received', who: null, text: '' },
  ];
  const add = (at_ms: number | null | undefined, what: string, who: string | null = null, text = ''): void => {
    if (at_ms != null) events.push({ at_ms, what, who, text });
  };
  add(alarm.cancelled_at_ms, 'cancelled');
  add(alarm.acknowledged_at_ms, 'acknowledged', alarm.acknowledged_by);
  add(alarm.wearer?.told_ms, 'told');
  add(alarm.wearer?.confirmed_ms, 'confirmed');
  add(alarm.closed?.at_ms, 'closed', alarm.closed?.by ?? null, alarm.closed?.note);
  return events.sort((a, b) => a.at_ms - b.at_ms);
}

/** What an event is called; its own text follows. A fact is its text. */
const CALLED: Record<string, string> = {
  raised: 'Raised',
  received: 'Received and shown',
  fact: '',
  grade_raised: 'Graver',
  escalated: 'Escalated',
  grouped: 'Part of incident',
  accepted: 'Delivered to',
  acknowledged: 'Acknowledged',
  told: 'Wearer told',
  confirmed: "Confirmed by the wearer's device",
  cancelled: 'Wearer pressed cancel',
  cleared: 'Its cause is over',
  shelved: 'Shelved',
  unshelved: 'Back from the shelf',
  shelf_ended: 'Time on the shelf is up',
  lowered: 'Lowered',
  noted: 'Note',
  closed: 'Closed',
};

/** An event as a person reads it, without who. An event of a newer gateway is its code, in words. */
export function eventInWords(event: TimelineEvent, alarm: Alarm): string {
  const called = CALLED[event.what] ?? codeInWords(event.what);
  if (event.what === 'accepted') return `${called} ${event.who ?? 'a force system'}`;
  const outcome = event.what === 'closed' && alarm.closed ? ` as ${alarm.closed.outcome}` : '';
  return [`${called}${outcome}`, event.text].filter((words) => words !== '').join(': ');
}

/** Who did it, if a person did. */
export const personOf = ({ what, who }: TimelineEvent): string | null => (what === 'accepted' ? null : who);
