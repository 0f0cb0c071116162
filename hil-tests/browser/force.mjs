// The force of the claims against the real gateway: one gateway, one fleet, the people on duty. Started by whoever needs it first.
import { Gateway } from './gateway.mjs';

export const UNITS = 24;
/** What a person may type into a roster or a shift list, and what must never be more than text. */
export const HOSTILE = {
  callsign: '<img src=x onerror=globalThis.pwned=1>',
  officer: '"><script>globalThis.pwned=2</script>',
  vehicle: "';globalThis.pwned=3;//",
  role: '<style>*{display:none}</style>',
  full_name: '<b onmouseover=globalThis.pwned=4>Ann</b>',
};
/** Whoever is called by HOSTILE.callsign. */
export const HOSTILE_DEVICE = 'pc-0011';
/** Long enough, and neither the name nor a first password. */
export const PASSWORD = 'correct horse battery';

let force = null;

/** The gateway with its fleet; the same one for every claim of a run. */
export async function theForce(binaries) {
  force ??= (async () => {
    const officers = Array.from({ length: (UNITS * 3) / 4 }, (_, number) => `pc-${String(number + 1).padStart(4, '0')}`);
    const roster = Object.fromEntries(officers.map((device, number) => [device, `PC ${2201 + number}`]));
    const gateway = await Gateway.start(binaries, { roster: { ...roster, [HOSTILE_DEVICE]: HOSTILE.callsign } });
    gateway.muster(UNITS);
    // Whose button is pressed is on duty and heard: what happens otherwise is claimed elsewhere.
    for (const device of officers) gateway.order(`stay ${device}`);
    return gateway;
  })();
  return force;
}
