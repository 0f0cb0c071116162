/**
 * One tone per grade, repeated until nobody waits any more. **P1 cannot be muted.**
 *
 * The graver, the higher, the more notes and the shorter the pause, so that an ear tells the grade
 * without an eye. Browsers keep a page silent until its user has touched it once; until then
 * `allow` resolves false and the header says so.
 */
import type { Grade } from './types';

interface Pattern {
  notes_hz: readonly number[];
  repeat_ms: number;
  /** Of full scale: a quarter is clear beside a headset, not above a voice. */
  gain: number;
}

export const PATTERNS: Record<Grade, Pattern> = {
  P1: { notes_hz: [988, 740, 988, 740], repeat_ms: 2_000, gain: 0.25 },
  P2: { notes_hz: [740, 587], repeat_ms: 3_500, gain: 0.2 },
  P3: { notes_hz: [523], repeat_ms: 8_000, gain: 0.16 },
  P4: { notes_hz: [392], repeat_ms: 20_000, gain: 0.12 },
};
const NOTE_S = 0.15;

/** The grade that sounds now: the gravest that waits and is not muted; null: silence. */
export function soundingGrade(waiting: readonly Grade[], muted: boolean): Grade | null {
  const heard = waiting.filter((grade) => grade === 'P1' || !muted);
  return heard.toSorted()[0] ?? null;
}

export class Tone {
  #context: AudioContext | null = null;
  #timer: ReturnType<typeof setInterval> | undefined;
  #grade: Grade | null = null;
  /** Tones begun, by grade: what a test can count. */
  readonly played: Record<Grade, number> = { P1: 0, P2: 0, P3: 0, P4: 0 };

  /** Must be called from a click or a key press; resolves true once the page may sound. */
  async allow(): Promise<boolean> {
    this.#context ??= new AudioContext();
    await this.#context.resume();
    return this.#context.state === 'running';
  }

  /** Repeats this grade's tone from now on; null: silence. */
  sound(grade: Grade | null): void {
    if (grade === this.#grade) return;
    clearInterval(this.#timer);
    this.#grade = grade;
    if (grade === null) return;
    this.once(grade);
    this.#timer = setInterval(() => this.once(grade), PATTERNS[grade].repeat_ms);
  }

  once(grade: Grade): void {
    const context = this.#context;
    if (context === null || context.state !== 'running') return;
    this.played[grade] += 1;
    const { notes_hz, gain: level } = PATTERNS[grade];
    notes_hz.forEach((note_hz, index) => {
      const begin_s = context.currentTime + index * NOTE_S;
      const oscillator = new OscillatorNode(context, { type: 'triangle', frequency: note_hz });
      const gain = new GainNode(context, { gain: 0 });
      gain.gain.setTargetAtTime(level, begin_s, 0.008);
      gain.gain.setTargetAtTime(0, begin_s + NOTE_S * 0.7, 0.02);
      oscillator.connect(gain).connect(context.destination);
      oscillator.start(begin_s);
      oscillator.stop(begin_s + NOTE_S * 2);
    });
  }
}

export const tone = new Tone();
