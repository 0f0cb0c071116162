/** Why something could not be done, as a sentence; an ended session ends the room, a locked one locks it, a reason that is owed is asked for. */
import { CONSOLE_LOCKED, REASON_OWED, Refused, SessionLost, Unreachable } from '../api/request';
import { room } from '../state/room.svelte';

export function faultInWords(cause: unknown): string {
  if (cause instanceof SessionLost) room.end();
  if (cause instanceof Refused && cause.status === CONSOLE_LOCKED) room.locked(true);
  if (cause instanceof Unreachable) return `Not done: ${cause.message}. Try again.`;
  if (cause instanceof Refused && cause.status === REASON_OWED) {
    room.asksWhy = true;
    return 'Not shown: your force wants to know why you look. Say so, then try again.';
  }
  const words = cause instanceof Error ? cause.message : 'unknown fault';
  return cause instanceof Refused ? `Refused: ${words}.` : `Not done: ${words}.`;
}
