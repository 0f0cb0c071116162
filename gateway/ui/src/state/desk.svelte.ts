/** What lies open on this operator's desk: page, dialogs. Nothing in here is a fact. */
import type { Deed } from '../api/room';

export type PageName = 'map' | 'duties' | 'performance' | 'access' | 'people';
export type FormName = Exclude<Deed['deed'], 'acknowledge' | 'unshelve'>;

class Desk {
  page = $state<PageName>('map');
  help = $state(false);
  settings = $state(false);
  /** The form that is open for the chosen alarm. */
  form = $state<{ name: FormName; alarm: string } | null>(null);
  /** Grows by one whenever the map should show the whole area, or go back from it. */
  zooms = $state(0);

  /** Closes the topmost open thing; false if there was none. */
  closeTop(): boolean {
    if (this.form !== null) this.form = null;
    else if (this.help) this.help = false;
    else if (this.settings) this.settings = false;
    else if (this.page !== 'map') this.page = 'map';
    else return false;
    return true;
  }
}

export const desk = new Desk();
