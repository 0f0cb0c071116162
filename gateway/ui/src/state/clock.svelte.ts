/**
 * The gateway's clock as this page reads it. A workstation's own clock may be minutes off; an age
 * computed from it would be a lie, so every age is `clock.now_ms - something the gateway stamped`.
 */
const TICK_MS = 1_000;

class ServerClock {
  /** Gateway time at the last tick; reading it makes a view redraw once a second. */
  now_ms = $state(Date.now());
  #offset_ms = 0;

  constructor() {
    setInterval(() => this.tick(), TICK_MS);
  }

  /** Gateway time now, without waiting for the tick. */
  read_ms(): number {
    return Date.now() + this.#offset_ms;
  }

  /** Sets the offset from an answer: the stamp was made about half way between the two instants. */
  synchronise(server_time_ms: number, asked_at_ms: number, answered_at_ms: number): void {
    this.#offset_ms = server_time_ms - (asked_at_ms + answered_at_ms) / 2;
    this.tick();
  }

  tick(): void {
    this.now_ms = this.read_ms();
  }
}

export const clock = new ServerClock();
