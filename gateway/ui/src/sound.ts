/**
 * The alarm tone: two notes, repeated until nobody waits any more. **It cannot be muted.**
 *
 * Browsers keep a page silent until its user has touched it once; until then `audible` is false and
 * the header says so.
 */
const REPEAT_MS = 3_500;
const NOTES_HZ = [880, 660] as const;
const NOTE_S = 0.16;
/** A quarter of full scale: clear beside a headset, not above a voice. */
const GAIN = 0.25;

export class Tone {
  #context: AudioContext | null = null;
  #timer: ReturnType<typeof setInterval> | undefined;

  /** Must be called from a click or a key press; resolves true once the page may sound. */
  async allow(): Promise<boolean> {
    this.#context ??= new AudioContext();
    await this.#context.resume();
    return this.#context.state === 'running';
  }

  /** Sounds now and from then on, until `stop`. */
  start(): void {
    if (this.#timer !== undefined) return;
    this.#sound();
    this.#timer = setInterval(() => this.#sound(), REPEAT_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #sound(): void {
    const context = this.#context;
    if (context === null || context.state !== 'running') return;
    NOTES_HZ.forEach((note_hz, index) => {
      const begin_s = context.currentTime + index * NOTE_S;
      const oscillator = new OscillatorNode(context, { type: 'triangle', frequency: note_hz });
      const gain = new GainNode(context, { gain: 0 });
      gain.gain.setTargetAtTime(GAIN, begin_s, 0.008);
      gain.gain.setTargetAtTime(0, begin_s + NOTE_S * 0.7, 0.02);
      oscillator.connect(gain).connect(context.destination);
      oscillator.start(begin_s);
      oscillator.stop(begin_s + NOTE_S * 2);
    });
  }
}
