/**
 * The live feed: one EventSource, watched.
 *
 * ```text
 * connecting --open--> live --error or 7 s of silence--> lost --back-off--> connecting
 *                                                          \--401--> ended
 * ```
 * **Silence is a fault**: the gateway speaks every 2 s, so a feed that is merely open proves
 * nothing. We reconnect ourselves, because EventSource gives up on some errors without saying so.
 *
 * A reconnect names the last event it has (`cursor`). The gateway sends what followed it, or says `lagged` first
 * and everything must be read again: it is never hoped that nothing was missed.
 */
import type { Alarm, GatewayState, Unit, Watch } from './types';

/** Three heartbeats of 2 s and one second for the network. */
const SILENCE_MS_MAX = 7_000;
const BACKOFF_MS_MIN = 500;
const BACKOFF_MS_MAX = 8_000;

export interface StreamHandler {
  /** The feed opened: read everything, unless it goes on after what this page has. */
  onOpen(resumes: boolean): void;
  /** The gateway says that this page was too slow and missed something. */
  onLagged(): void;
  /** `cursor` is null if the event carried none. */
  onUnits(units: Unit[], cursor: string | null): void;
  onAlarm(alarm: Alarm): void;
  onGateway(state: GatewayState): void;
  onWatch(watch: Watch): void;
  /** Any event at all: what is on the screen is known to be current. */
  onSign(): void;
  onLost(): void;
  /** Resolves true if the session still holds; called before every further attempt. */
  mayRetry(): Promise<boolean>;
}

export class Stream {
  #source: EventSource | null = null;
  #watchdog: ReturnType<typeof setTimeout> | undefined;
  #backoff_ms = BACKOFF_MS_MIN;
  #stopped = false;
  /** The last event that came in order; null before the first. */
  #cursor: string | null = null;

  constructor(
    private readonly path: string,
    private readonly handler: StreamHandler,
  ) {}

  /** Begins anew: whoever is there now may be somebody else. */
  start(): void {
    this.#stopped = false;
    this.#cursor = null;
    this.#connect();
  }

  stop(): void {
    this.#stopped = true;
    this.#close();
  }

  #connect(): void {
    const cursor = this.#cursor;
    const source = new EventSource(cursor === null ? this.path : `${this.path}?cursor=${encodeURIComponent(cursor)}`);
    this.#source = source;
    this.#expectSign();
    source.addEventListener('open', () => {
      this.#backoff_ms = BACKOFF_MS_MIN;
      this.#sign();
      this.handler.onOpen(cursor !== null);
    });
    source.addEventListener('error', () => this.#lose());
    this.#on(source, 'units', (event) =>
      this.handler.onUnits(JSON.parse(event.data) as Unit[], event.lastEventId || null),
    );
    this.#on(source, 'alarm', (event) => this.handler.onAlarm(JSON.parse(event.data) as Alarm));
    this.#on(source, 'gateway', (event) => this.handler.onGateway(JSON.parse(event.data) as GatewayState));
    this.#on(source, 'watch', (event) => this.handler.onWatch(JSON.parse(event.data) as Watch));
    this.#on(source, 'lagged', () => this.handler.onLagged());
  }

  #on(source: EventSource, name: string, take: (event: MessageEvent<string>) => void): void {
    source.addEventListener(name, (event) => {
      if (source !== this.#source) return;
      this.#sign();
      const news = event as MessageEvent<string>;
      take(news);
      // An event without a number repeats the one before it.
      if (news.lastEventId !== '') this.#cursor = news.lastEventId;
    });
  }

  #sign(): void {
    this.handler.onSign();
    this.#expectSign();
  }

  #expectSign(): void {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#lose(), SILENCE_MS_MAX);
  }

  #close(): void {
    clearTimeout(this.#watchdog);
    this.#source?.close();
    this.#source = null;
  }

  #lose(): void {
    if (this.#stopped || this.#source === null) return;
    this.#close();
    this.handler.onLost();
    // Half to one and a half of the step: operators' screens must not come back in one wave.
    const wait_ms = this.#backoff_ms * (0.5 + Math.random());
    this.#backoff_ms = Math.min(this.#backoff_ms * 2, BACKOFF_MS_MAX);
    setTimeout(() => void this.#retry(), wait_ms);
  }

  async #retry(): Promise<void> {
    if (this.#stopped) return;
    if (await this.handler.mayRetry()) this.#connect();
    else this.stop();
  }
}
