/**
 * The keyboard: which key means what. Pure; `Shortcuts.svelte` does it, `Help.svelte` prints it.
 *
 * Letters act only outside of text fields, without modifiers, and not when the operator switched
 * them off (WCAG 2.1.4). `Escape` and `?` always work.
 */
export type Command =
  | 'search'
  | 'acknowledge'
  | 'next'
  | 'previous'
  | 'fly'
  | 'zoom'
  | 'mute'
  | 'shelve'
  | 'close'
  | 'note'
  | 'replay'
  | 'live'
  | 'performance'
  | 'lock'
  | 'help'
  | 'escape';

export interface Shortcut {
  key: string;
  command: Command;
  words: string;
}

export const SHORTCUTS: readonly Shortcut[] = [
  { key: 'N', command: 'next', words: 'Next alarm: chooses it, its unit, and flies there' },
  { key: 'P', command: 'previous', words: 'Previous alarm' },
  { key: 'A', command: 'acknowledge', words: 'Acknowledge the chosen alarm (chooses the first one if none is)' },
  { key: 'T', command: 'note', words: 'Write a note on the chosen alarm' },
  { key: 'S', command: 'shelve', words: 'Shelve the chosen alarm for a while (never a P1)' },
  { key: 'C', command: 'close', words: 'Close the chosen alarm with an outcome' },
  { key: 'M', command: 'mute', words: 'Mute tones, or let them sound again (never P1)' },
  { key: '/', command: 'search', words: 'Find a unit' },
  { key: 'F', command: 'fly', words: 'Fly to the chosen unit' },
  { key: 'Z', command: 'zoom', words: 'Show the whole area, and back' },
  { key: 'R', command: 'replay', words: 'Replay the past hour' },
  { key: 'L', command: 'live', words: 'Back to live' },
  { key: 'G', command: 'performance', words: 'Alarm performance, and back to the map' },
  { key: 'K', command: 'lock', words: 'Lock this console' },
  { key: '?', command: 'help', words: 'These keys' },
  { key: 'Escape', command: 'escape', words: 'Close what is open, then choose nothing' },
];

export interface Press {
  key: string;
  isModified: boolean;
  /** The keyboard is in a text field. */
  isTyping: boolean;
  /** A dialog is open: only what closes it may act. */
  isInDialog: boolean;
  letters: boolean;
}

export function commandOf({ key, isModified, isTyping, isInDialog, letters }: Press): Command | null {
  if (key === 'Escape') return 'escape';
  if (isModified || isTyping || isInDialog) return null;
  const found = SHORTCUTS.find((shortcut) => shortcut.key.toLowerCase() === key.toLowerCase());
  if (found === undefined) return null;
  return letters || found.command === 'help' ? found.command : null;
}
