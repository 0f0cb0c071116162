/** Stand-ins for the browser's EventSource and fetch, driven by the tests. */
import { vi } from 'vitest';

export class FakeSource extends EventTarget {
  static all: FakeSource[] = [];
  closed = false;

  constructor(readonly path: string) {
    super();
    FakeSource.all.push(this);
  }

  static get last(): FakeSource {
    const source = FakeSource.all.at(-1);
    if (source === undefined) throw new Error('no feed was opened');
    return source;
  }

  open(): void {
    this.dispatchEvent(new Event('open'));
  }

  say(name: string, data: unknown, cursor = ''): void {
    this.dispatchEvent(new MessageEvent(name, { data: JSON.stringify(data), lastEventId: cursor }));
  }

  fail(): void {
    this.dispatchEvent(new Event('error'));
  }

  close(): void {
    this.closed = true;
  }
}

type Answer = () => Promise<Response> | Response;

export const json = (body: unknown, status = 200): Response => new Response(JSON.stringify(body), { status });

/** Answers requests by path; an unlisted path fails like an unreachable gateway. */
export function fakeGateway(answers: Record<string, Answer>): void {
  FakeSource.all = [];
  vi.stubGlobal('EventSource', FakeSource);
  vi.stubGlobal('fetch', async (path: string) => {
    const answer = answers[path];
    if (answer === undefined) throw new TypeError('unreachable');
    return answer();
  });
}
