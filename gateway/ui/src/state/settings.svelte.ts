/** What an operator chose for this workstation. Kept in the browser; nothing of it is personal data. */

export type Theme = 'system' | 'light' | 'dark' | 'contrast';

const KEY = 'fieldpost';
const THEMES: readonly string[] = ['system', 'light', 'dark', 'contrast'];

interface Kept {
  theme: Theme;
  /** Tones of P2 and below are silent. P1 is never. */
  muted: boolean;
  /** Single letters act (WCAG 2.1.4 asks that they can be switched off). */
  letters: boolean;
  timeline: boolean;
}

function read(): Kept {
  const fresh: Kept = { theme: 'system', muted: false, letters: true, timeline: true };
  try {
    const kept = { ...fresh, ...(JSON.parse(localStorage.getItem(KEY) ?? '{}') as Partial<Kept>) };
    return THEMES.includes(kept.theme) ? kept : { ...kept, theme: 'system' };
  } catch {
    // Storage is switched off or holds something else: the defaults are good.
    return fresh;
  }
}

const kept = read();

class Settings implements Kept {
  theme = $state<Theme>(kept.theme);
  muted = $state(kept.muted);
  letters = $state(kept.letters);
  timeline = $state(kept.timeline);

  /** Call after a change. */
  keep(): void {
    const { theme, muted, letters, timeline } = this;
    try {
      localStorage.setItem(KEY, JSON.stringify({ theme, muted, letters, timeline }));
    } catch {
      // Not kept: the choice holds until the page is closed.
    }
  }

  setTheme(theme: Theme): void {
    this.theme = theme;
    this.apply();
    this.keep();
  }

  toggle(what: 'muted' | 'letters' | 'timeline'): void {
    this[what] = !this[what];
    this.keep();
  }

  /** The style sheet reads the theme from here; without one it asks the system. */
  apply(): void {
    if (this.theme === 'system') delete document.documentElement.dataset['theme'];
    else document.documentElement.dataset['theme'] = this.theme;
    dispatchEvent(new Event('themechange'));
  }
}

export const settings = new Settings();
