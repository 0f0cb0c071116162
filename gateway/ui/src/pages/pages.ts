/** Which pages there are, and who sees them. */
import type { PageName } from '../state/desk.svelte';
import { room } from '../state/room.svelte';

interface PageEntry {
  page: PageName;
  words: string;
  /** Any of these permissions shows it. */
  for: readonly string[];
}

const PAGES: readonly PageEntry[] = [
  { page: 'map', words: 'Map', for: ['look', 'history'] },
  { page: 'duties', words: 'Duties', for: ['assignments'] },
  { page: 'performance', words: 'Performance', for: ['performance'] },
  { page: 'access', words: 'Access log', for: ['audit_read'] },
  { page: 'people', words: 'People', for: ['people'] },
];

/** The pages that this person may open, in the order of the header. */
export const pagesOf = (): readonly PageEntry[] => PAGES.filter((entry) => entry.for.some((permission) => room.offers(permission)));
