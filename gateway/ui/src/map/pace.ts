/**
 * When news may be drawn on the map. Pure: the caller has the clock.
 *
 * ```text
 * began --the map draws--> drawn --rest, twice as long as the drawing--> the next may begin
 * ```
 * **Drawing takes a third of the time at most**: on a machine that draws slowly (no graphics card, a full processor) the picture is
 * renewed less often, and the page answers. A fast one notices nothing. Alarms and what an operator did are not paced: they never ask.
 *
 * Bound: news begin to be drawn at most `DRAWN_MS_MAX + REST_MS_MAX` after those before them.
 */

/** A drawing that has not said in this time that it is done is taken as done: tiles of a map may not come for long. */
const DRAWN_MS_MAX = 1_000;
const REST_RATIO = 2;
/** In this time a vehicle makes some 30 m: no operator is misled. */
const REST_MS_MAX = 2_000;

export class Pace {
  #began_ms = Number.NEGATIVE_INFINITY;
  /** Null: it is still being drawn. */
  #drawn_ms: number | null = Number.NEGATIVE_INFINITY;

  began(now_ms: number): void {
    this.#began_ms = now_ms;
    this.#drawn_ms = null;
  }

  /** The map stands still. What was drawn besides (a moved view) does not count. */
  drawn(now_ms: number): void {
    this.#drawn_ms ??= now_ms;
  }

  /** How long the next news wait, ms; 0: they may be drawn now. Ask again after `drawn`. */
  wait_ms(now_ms: number): number {
    const drawn_ms = this.#drawn_ms ?? this.#began_ms + DRAWN_MS_MAX;
    if (drawn_ms === Number.NEGATIVE_INFINITY) return 0;
    const rest_ms = Math.min((drawn_ms - this.#began_ms) * REST_RATIO, REST_MS_MAX);
    return Math.max(0, drawn_ms + rest_ms - now_ms);
  }
}
