import { describe, expect, it } from 'vitest';
import { gridReference, project, toGrid } from '../src/osgrid';

describe('National Grid', () => {
  it('projects the worked example of the Ordnance Survey guide (Caister water tower)', () => {
    const { east_m, north_m } = project({ lat: 52 + 39 / 60 + 27.2531 / 3600, lon: 1 + 43 / 60 + 4.5177 / 3600 });
    expect(east_m).toBeCloseTo(651_409.903, 2);
    expect(north_m).toBeCloseTo(313_177.27, 2);
  });

  it('shifts a satellite position to within 10 m of the OSTN15 test point at St Mary\'s, Scilly', () => {
    const { east_m, north_m } = toGrid({ lat: 49.922_263_937_3, lon: -6.299_777_520_14 });
    expect(Math.hypot(east_m - 91_492.146, north_m - 11_318.804)).toBeLessThan(10);
  });

  it('names squares by their letters', () => {
    expect(gridReference({ lat: 53.7997, lon: -1.5478 })).toMatch(/^SE 29\d\d 33\d\d$/);
    expect(gridReference({ lat: 51.4778, lon: -0.0014 })).toMatch(/^TQ 38\d\d 77\d\d$/);
    expect(gridReference({ lat: 60.155, lon: -1.145 })).toMatch(/^HU/);
    expect(gridReference({ lat: 49.9223, lon: -6.2998 })).toMatch(/^SV/);
  });

  it('has no reference for places outside Great Britain', () => {
    expect(gridReference({ lat: 48.85, lon: 2.35 })).toBeNull();
    expect(gridReference({ lat: -27.2, lon: 153 })).toBeNull();
  });
});
