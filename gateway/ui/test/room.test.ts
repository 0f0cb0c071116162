import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Alarm, Unit } from '../src/types';
import { fakeGateway, FakeSource, json } from './feed';

const unit = (id: string, battery_pct = 50): Unit => ({ id, callsign: id, battery_pct }) as Unit;
const alarm = (id: string, changes: Partial<Alarm> = {}): Alarm =>
  ({ id, unit: 'a', state: 'unacknowledged', received_at_ms: 1, receipt: 'none', cancelled_at_ms: null, ...changes }) as Alarm;
const session = () => json({ operator: 'demo', force: '*', server_time_ms: Date.now(), gateway_version: 'test' });

/** A fresh room on a gateway that answers as told. */
async function open(answers: Parameters<typeof fakeGateway>[0]) {
  fakeGateway({ '/api/v1/session': session, ...answers });
  vi.resetModules();
  const { room } = await import('../src/state/room.svelte');
  room.start();
  await vi.waitFor(() => expect(FakeSource.all).toHaveLength(1));
  FakeSource.last.open();
  return room;
}

const alarms = (...list: Alarm[]) => () => json({ alarms: list });
const units = (cursor: string, ...list: Unit[]) => () => json({ cursor, units: list });

describe('the room', () => {
  beforeEach(() => void vi.useFakeTimers({ shouldAdvanceTime: true }));
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  it('applies feed events that arrive during a full read after it, and drops the older ones', async () => {
    let answer: (response: Response) => void = () => undefined;
    const held = new Promise<Response>((resolve) => (answer = resolve));
    const room = await open({ '/api/v1/units': () => held, '/api/v1/alarms': alarms() });
    FakeSource.last.say('units', [unit('a', 1), unit('b', 1)], '9');
    FakeSource.last.say('units', [unit('b', 3)], '11');
    answer(json({ cursor: '10', units: [unit('a', 2), unit('b', 2)] }));
    await vi.waitFor(() => expect(room.reads).toBe(1));
    await vi.waitFor(() => expect(room.units.get('b')?.battery_pct).toBe(3));
    expect(room.units.get('a')?.battery_pct).toBe(2);
  });

  it('keeps an alarm that was raised while everything was read', async () => {
    let answer: (response: Response) => void = () => undefined;
    const held = new Promise<Response>((resolve) => (answer = resolve));
    const room = await open({ '/api/v1/units': units('1'), '/api/v1/alarms': () => held });
    FakeSource.last.say('alarm', alarm('new'));
    answer(json({ alarms: [] }));
    await vi.waitFor(() => expect(room.reads).toBe(1));
    expect(room.alarms.waiting.map((each) => each.id)).toEqual(['new']);
  });

  it('reads everything again when it lagged, and forgets units that are gone', async () => {
    let list = [unit('a'), unit('b')];
    const room = await open({ '/api/v1/units': () => json({ cursor: '5', units: list }), '/api/v1/alarms': alarms() });
    await vi.waitFor(() => expect(room.units.size).toBe(2));
    list = [unit('b')];
    FakeSource.last.say('lagged', {});
    await vi.waitFor(() => expect([...room.units.keys()]).toEqual(['b']));
  });

  it('takes news from a restarted gateway although its cursors are lower', async () => {
    const room = await open({ '/api/v1/units': units('900', unit('a', 1)), '/api/v1/alarms': alarms() });
    await vi.waitFor(() => expect(room.reads).toBe(1));
    FakeSource.last.fail();
    expect(room.connection).toBe('lost');
    fakeGateway({ '/api/v1/session': session, '/api/v1/alarms': alarms() });
    await vi.waitFor(() => expect(FakeSource.all).toHaveLength(1), { timeout: 5_000 });
    FakeSource.last.open();
    FakeSource.last.say('units', [unit('a', 2)], '3');
    await vi.waitFor(() => expect(room.units.get('a')?.battery_pct).toBe(2));
  });

  it('shows who was first when two operators acknowledge', async () => {
    const owned = alarm('1', { state: 'acknowledged', acknowledged_by: 'someone else', acknowledged_at_ms: 5 });
    const room = await open({
      '/api/v1/units': units('1'),
      '/api/v1/alarms': alarms(alarm('1')),
      '/api/v1/alarms/acknowledge': () => json(owned, 409),
    });
    await vi.waitFor(() => expect(room.alarms.waiting).toHaveLength(1));
    await room.alarms.act('1', { deed: 'acknowledge' });
    expect(room.alarms.all.get('1')?.acknowledged_by).toBe('someone else');
    expect(room.alarms.refusals.size).toBe(0);
  });

  it('never shows an acknowledgement that the gateway did not confirm', async () => {
    const room = await open({
      '/api/v1/units': units('1'),
      '/api/v1/alarms': alarms(alarm('1')),
      '/api/v1/alarms/acknowledge': () => json({}, 503),
    });
    await vi.waitFor(() => expect(room.alarms.waiting).toHaveLength(1));
    await room.alarms.act('1', { deed: 'acknowledge' });
    expect(room.alarms.waiting).toHaveLength(1);
    expect(room.alarms.refusals.get('1')).toContain('Not acknowledged');
    expect(room.alarms.acting.size).toBe(0);
  });

  it('ends when the session has ended, and does not knock again', async () => {
    const room = await open({ '/api/v1/units': units('1'), '/api/v1/alarms': alarms() });
    await vi.waitFor(() => expect(room.reads).toBe(1));
    fakeGateway({ '/api/v1/session': () => json({}, 401) });
    await vi.advanceTimersByTimeAsync(8_000);
    await vi.waitFor(() => expect(room.connection).toBe('ended'), { timeout: 5_000 });
    expect(FakeSource.all).toHaveLength(0);
  });

  it('reads everything again only if the feed cannot go on', async () => {
    const room = await open({ '/api/v1/units': units('10', unit('a')), '/api/v1/alarms': alarms() });
    await vi.waitFor(() => expect(room.reads).toBe(1));
    FakeSource.last.say('units', [unit('a', 40)], '11');
    FakeSource.last.fail();
    await vi.waitFor(() => expect(FakeSource.all).toHaveLength(2), { timeout: 3_000 });
    FakeSource.last.open();
    FakeSource.last.say('units', [unit('a', 30)], '12');
    expect(room.units.get('a')?.battery_pct).toBe(30);
    expect(room.reads).toBe(1);
    FakeSource.last.say('lagged', {});
    await vi.waitFor(() => expect(room.reads).toBe(2));
  });

  it('reads everything after a reconnect if the read before it failed', async () => {
    let works = false;
    const room = await open({ '/api/v1/units': () => (works ? units('10', unit('a'))() : json({}, 503)), '/api/v1/alarms': alarms() });
    FakeSource.last.say('units', [unit('a', 40)], '11');
    await vi.waitFor(() => expect(room.units.get('a')?.battery_pct).toBe(40));
    works = true;
    FakeSource.last.fail();
    await vi.waitFor(() => expect(FakeSource.all).toHaveLength(2), { timeout: 3_000 });
    FakeSource.last.open();
    await vi.waitFor(() => expect(room.reads).toBe(1));
  });

  it('looks at nothing before the reason is said that a force requires', async () => {
    const asks = () => json({ operator: 'demo', may: ['look'], reason: 'required', server_time_ms: Date.now(), gateway_version: 'test' });
    fakeGateway({ '/api/v1/session': asks, '/api/v1/units': units('1'), '/api/v1/alarms': alarms() });
    vi.resetModules();
    const { room } = await import('../src/state/room.svelte');
    room.start();
    await vi.waitFor(() => expect(room.asksWhy).toBe(true));
    expect(FakeSource.all).toHaveLength(0);
    room.reasonSaid();
    await vi.waitFor(() => expect(FakeSource.all).toHaveLength(1));
    expect(room.asksWhy).toBe(false);
  });

  it('asks why when a reason comes to be required between a failure and the reconnect, and goes on once it is said', async () => {
    let reason = 'off';
    const asks = () => json({ operator: 'demo', may: ['look'], reason, server_time_ms: Date.now(), gateway_version: 'test' });
    const room = await open({ '/api/v1/session': asks, '/api/v1/units': units('1'), '/api/v1/alarms': alarms() });
    await vi.waitFor(() => expect(room.reads).toBe(1));
    reason = 'required';
    FakeSource.last.fail();
    await vi.waitFor(() => expect(room.asksWhy).toBe(true), { timeout: 3_000 });
    expect(FakeSource.all).toHaveLength(1);
    room.reasonSaid();
    await vi.waitFor(() => expect(FakeSource.all).toHaveLength(2));
    FakeSource.last.open();
    await vi.waitFor(() => expect(room.reads).toBe(2));
    expect([room.asksWhy, room.connection]).toEqual([false, 'live']);
    FakeSource.last.fail();
    await vi.waitFor(() => expect(FakeSource.all).toHaveLength(3), { timeout: 3_000 });
    expect(room.asksWhy).toBe(false);
  });

  it('asks why when a reason comes to be required while the feed is open, and reads everything once it is said', async () => {
    let reason = 'off';
    let isSaid = true;
    const asks = () => json({ operator: 'demo', may: ['look'], reason, server_time_ms: Date.now(), gateway_version: 'test' });
    const list = () => (isSaid ? units('1')() : json({ error: 'why' }, 428));
    const room = await open({ '/api/v1/session': asks, '/api/v1/units': list, '/api/v1/alarms': alarms() });
    await vi.waitFor(() => expect(room.reads).toBe(1));
    [reason, isSaid] = ['required', false];
    FakeSource.last.say('lagged', {});
    await vi.waitFor(() => expect(room.asksWhy).toBe(true));
    isSaid = true;
    room.reasonSaid();
    FakeSource.last.say('gateway', {});
    await vi.advanceTimersByTimeAsync(2_500);
    await vi.waitFor(() => expect(room.reads).toBe(2));
    expect([room.asksWhy, FakeSource.all.length]).toEqual([false, 1]);
  });

  it.each([
    [['assignments', 'assign', 'people'], false],
    [['ledger'], false],
    [['audit_read'], true],
    [['history', 'assignments', 'audit_read', 'audit_export'], true],
  ])('somebody who may %j is asked why before anything: %s', async (may, isAsked) => {
    fakeGateway({ '/api/v1/session': () => json({ operator: 'demo', may, reason: 'required', server_time_ms: Date.now(), gateway_version: 'test' }) });
    vi.resetModules();
    const { room } = await import('../src/state/room.svelte');
    room.start();
    await vi.waitFor(() => expect(isAsked ? room.asksWhy : room.connection === 'barred').toBe(true));
    expect(room.asksWhy).toBe(isAsked);
    expect(FakeSource.all).toHaveLength(0);
  });

  it('asks for the reason that a page is refused for want of', async () => {
    vi.resetModules();
    const [{ faultInWords }, { Refused }] = [await import('../src/pages/fault'), await import('../src/api/request')];
    const { room } = await import('../src/state/room.svelte');
    expect(faultInWords(new Refused(428, 'your force asks why: send X-Fieldpost-Reason'))).toContain('why you look');
    expect(room.asksWhy).toBe(true);
    expect(faultInWords(new Refused(403, 'no'))).toBe('Refused: no.');
  });

  it('asks for the password when a refusal says that the console was locked, as from another tab', async () => {
    const room = await open({ '/api/v1/units': units('1'), '/api/v1/alarms': alarms() });
    const [{ faultInWords }, { Refused }] = [await import('../src/pages/fault'), await import('../src/api/request')];
    await vi.waitFor(() => expect(room.session).not.toBeNull());
    expect(room.session?.locked).toBeUndefined();
    expect(faultInWords(new Refused(423, 'this console is locked: unlock it first'))).toContain('unlock it first');
    expect(room.session?.locked).toBe(true);
  });
});
