/** Why something could not be done, as a sentence; an ended session ends the room. */
import { Refused, SessionLost, Unreachable } from '../api/request';
import { room } from '../state/room.svelte';

export function faultInWords(cause: unknown): string {
  if (cause instanceof SessionLost) room.end();
  if (cause instanceof Unreachable) return `Not done: ${cause.message}. Try again.`;
  const words = cause instanceof Error ? cause.message : 'unknown fault';
  return cause instanceof Refused ? `Refused: ${words}.` : `Not done: ${words}.`;
}
