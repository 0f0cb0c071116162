// DEVELOPMENT AID, NEVER SHIPPED: the past hour of the invented town, in frames of ten seconds, with
// one unit whose records were lost for a while and one whose came by the backlog.

const STEP_MS = 10_000;
const FRAMES_A_PAGE = 90;
const copy = (unit) => ({ ...unit, position: unit.position === null ? null : { ...unit.position } });

/** Runs the town from `from_ms` to `until_ms` and keeps what it reported. */
export function pastHour(world, from_ms, until_ms) {
  const frames = [{ at_ms: from_ms, units: world.units.map(copy) }];
  const [lossy, late] = [world.units[2], world.units[3]];
  const lost = { from_ms: until_ms - 11 * 60_000, until_ms: until_ms - 7 * 60_000, kind: 'lost' };
  const filled = { from_ms: until_ms - 13 * 60_000, until_ms: until_ms - 6 * 60_000, kind: 'backlog' };
  lossy.gaps = [lost];
  late.gaps = [filled];
  const within = (gap, at_ms) => at_ms >= gap.from_ms && at_ms < gap.until_ms;
  for (let at_ms = from_ms + STEP_MS; at_ms <= until_ms; at_ms += STEP_MS) {
    const changed = world.step(at_ms).filter((unit) => unit !== lossy || !within(lost, at_ms));
    frames.push({
      at_ms,
      units: changed.map((unit) => {
        const frame = copy(unit);
        if (unit === late && within(filled, at_ms)) frame.position.history = true;
        return frame;
      }),
    });
  }

  const keep = (at_ms) => {
    const last = frames.at(-1);
    if (at_ms - last.at_ms < STEP_MS) return;
    frames.push({ at_ms, units: world.units.map(copy) });
    if (frames.length > 1_000) frames.shift();
  };

  function replay(query) {
    const [from, until] = [Number(query.get('from_ms')), Number(query.get('until_ms'))];
    const begin = Number(query.get('cursor') ?? 0);
    const wanted = frames.filter((frame) => frame.at_ms >= from - STEP_MS && frame.at_ms <= until);
    const page = wanted.slice(begin, begin + FRAMES_A_PAGE);
    if (begin === 0 && page.length > 0) page[0] = { at_ms: page[0].at_ms, units: unitsAt(page[0].at_ms) };
    const next = begin + FRAMES_A_PAGE < wanted.length ? String(begin + FRAMES_A_PAGE) : null;
    return { frames: page, next };
  }

  function unitsAt(at_ms) {
    const units = new Map();
    for (const frame of frames) if (frame.at_ms <= at_ms) for (const unit of frame.units) units.set(unit.id, unit);
    return [...units.values()];
  }

  function track(query) {
    const [id, from, until] = [query.get('unit'), Number(query.get('from_ms')), Number(query.get('until_ms'))];
    const points = [];
    for (const { at_ms, units } of frames) {
      const unit = at_ms >= from && at_ms <= until ? units.find((each) => each.id === id) : undefined;
      if (!unit?.position || points.at(-1)?.at_ms === unit.position.received_at_ms) continue;
      const { lon, lat, accuracy_m, speed_mps, course_deg, received_at_ms, history } = unit.position;
      points.push({ at_ms: received_at_ms, lon, lat, accuracy_m, speed_mps, course_deg, backlog: history });
    }
    const gaps = world.units.find((unit) => unit.id === id)?.gaps ?? [];
    return { points, gaps, next: null };
  }

  return { replay, unitsAt, track, keep };
}
