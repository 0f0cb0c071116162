// DEVELOPMENT AID, NEVER SHIPPED: alarms of the stand-in gateway, with grades, escalation, shelving,
// outcomes and a timeline, in the shapes of the page's API.

const CAUSES = {
  button: { grade: 'P1', rule: 'R1', fact: 'Emergency button held for 1.2 s' },
  officer_down: { grade: 'P2', rule: 'R2', fact: 'Lying still for 35 s after the pre-alarm' },
  ced: { grade: 'P2', rule: 'R4', fact: 'TASER discharged, cartridge 1' },
  check_in: { grade: 'P3', rule: 'R8', fact: 'Check-in timer ran out at 30 min' },
  tamper: { grade: 'P4', rule: 'R12', fact: 'Case opened' },
};
/** The wearer's device answers this much after an acknowledgement. */
const TOLD_MS = 400;
const CONFIRMED_MS = 1_500;

export function alarmDesk(broadcast, now = Date.now) {
  const alarms = new Map();
  const stories = new Map();
  const past = [];
  let count = 0;

  const tell = (alarm, what, who, text) => {
    alarm.revision += 1;
    stories.get(alarm.id).push({ at_ms: now(), what, who, text });
    broadcast('alarm', alarm);
  };

  function raise(unit, cause, changes = {}) {
    const at = now();
    const { grade, rule, fact } = CAUSES[cause] ?? CAUSES.button;
    const { lon, lat } = unit.position;
    const alarm = {
      id: `${unit.id}/3/${(count += 1)}`,
      unit: unit.id,
      callsign: unit.callsign,
      cause,
      mode: unit.mode,
      raised_at_ms: at - 600,
      received_at_ms: at,
      position: { lon, lat },
      state: 'unacknowledged',
      cancelled_at_ms: null,
      acknowledged_by: null,
      acknowledged_at_ms: null,
      receipt: 'none',
      revision: 0,
      grade,
      rule: { id: rule, version: '3' },
      is_fact: cause === 'button' || cause === 'ced',
      facts: [{ text: fact, at_ms: at - 600, record: `${unit.id}/3/${count}` }],
      incident: null,
      shelved: null,
      escalation: { step: 0, since_ms: at, next_ms: at + 20_000, targets: [] },
      closed: null,
      wearer: { told_ms: null, confirmed_ms: null },
      queue: cause === 'tamper' ? 'security' : 'operations',
      ...changes,
    };
    alarms.set(alarm.id, alarm);
    past.push(alarm);
    stories.set(alarm.id, []);
    unit.alarm = alarm.id;
    tell(alarm, 'raised', null, fact);
    return alarm;
  }

  const DEEDS = {
    acknowledge(alarm, _body, who) {
      if (alarm.acknowledged_by !== null) return 409;
      Object.assign(alarm, { state: 'acknowledged', acknowledged_by: who, acknowledged_at_ms: now(), receipt: 'queued', escalation: null });
      tell(alarm, 'acknowledged', who, '');
      setTimeout(() => {
        alarm.wearer = { told_ms: now(), confirmed_ms: null };
        tell(alarm, 'told', null, '');
      }, TOLD_MS);
      setTimeout(() => {
        alarm.receipt = 'delivered';
        alarm.wearer = { ...alarm.wearer, confirmed_ms: now() };
        tell(alarm, 'confirmed', null, '');
      }, CONFIRMED_MS);
      return 200;
    },
    shelve(alarm, { minutes, reason }, who) {
      if (alarm.grade === 'P1') return 'a P1 is never shelved';
      Object.assign(alarm, { state: 'shelved', shelved: { by: who, until_ms: now() + minutes * 60_000, reason } });
      tell(alarm, 'shelved', who, `for ${minutes} minutes: ${reason}`);
      return 200;
    },
    unshelve(alarm, _body, who) {
      Object.assign(alarm, { state: alarm.acknowledged_by === null ? 'unacknowledged' : 'acknowledged', shelved: null });
      tell(alarm, 'unshelved', who, '');
      return 200;
    },
    lower(alarm, { grade, reason }, who) {
      alarm.grade = grade;
      tell(alarm, 'lowered', who, `to ${grade}: ${reason}`);
      return 200;
    },
    note(alarm, { text }, who) {
      tell(alarm, 'noted', who, text);
      return 200;
    },
    close(alarm, { outcome, note }, who) {
      if (alarm.state === 'unacknowledged') return 'acknowledge it first';
      Object.assign(alarm, { state: 'closed', closed: { by: who, at_ms: now(), outcome, note } });
      tell(alarm, 'closed', who, '');
      alarms.delete(alarm.id);
      return 200;
    },
  };

  /** Answers a deed: [status, body]. */
  function act(deed, body, who) {
    const alarm = alarms.get(body.id);
    if (alarm === undefined || DEEDS[deed] === undefined) return [404, { error: 'there is no such alarm' }];
    const result = DEEDS[deed](alarm, body, who);
    return typeof result === 'string' ? [422, { error: result }] : [result, alarm];
  }

  function escalate() {
    for (const alarm of alarms.values()) {
      if (alarm.state !== 'unacknowledged' || !alarm.escalation?.next_ms || alarm.escalation.next_ms > now()) continue;
      const step = alarm.escalation.step + 1;
      const targets = ['supervisor', 'force incident manager'].slice(0, step);
      alarm.escalation = { step, since_ms: now(), next_ms: step < 2 ? now() + 20_000 : null, targets };
      tell(alarm, 'escalated', null, `${targets.at(-1)}`);
    }
  }

  const list = () => [...alarms.values()];
  return { raise, act, escalate, list, past: () => past, story: (id) => stories.get(id), touch: (alarm) => tell(alarm, 'cancelled', null, '') };
}

/** A night of 12 hours as the performance report tells it, invented. */
export function report(from_ms, until_ms, random) {
  const SLOT_MS = 600_000;
  const slots = [];
  for (let at = from_ms; at < until_ms; at += SLOT_MS) {
    const flood = random() > 0.96 ? 9 : 0;
    const [kaur, demo] = [Math.floor(random() * 2.4) + flood, Math.floor(random() * 1.6)];
    slots.push({ from_ms: at, alarms: kaur + demo, by_operator: { 'a.kaur': kaur, demo }, unanswered: 0 });
  }
  const floods = slots.filter(({ alarms }) => alarms >= 10).map((slot) => ({ from_ms: slot.from_ms, until_ms: slot.from_ms + SLOT_MS, alarms: slot.alarms }));
  const rule = (id, raised, wrong) => ({ id, version: '3', raised, genuine: raised - wrong - 1, false: wrong, test: 1, exercise: 0, precision: (raised - wrong - 1) / Math.max(1, raised - 1) });
  const per = slots.reduce((sum, { alarms }) => sum + alarms, 0) / Math.max(1, slots.length) / 2;
  return {
    from_ms,
    until_ms,
    slots,
    time_to_acknowledge_ms: { count: 61, p50: 4_200, p90: 11_800, p99: 38_000, max: 41_000 },
    by_grade: { P1: { count: 9, p50: 2_900, p90: 6_100, p99: 9_300 }, P2: { count: 31, p50: 4_600, p90: 12_000, p99: 31_000 }, P3: { count: 21, p50: 9_800, p90: 30_000, p99: 41_000 } },
    floods,
    rules: [rule('R1', 9, 1), rule('R2', 24, 9), rule('R4', 7, 0), rule('R8', 17, 4), rule('R12', 4, 2)],
    verdict: {
      per_operator_per_10min: Math.round(per * 100) / 100,
      level: per < 1 ? 'acceptable' : per < 2 ? 'manageable' : 'excessive',
      sentence: `${per.toFixed(2)} alarms per operator in ten minutes, below the goal of one (EEMUA 191)`,
    },
  };
}
