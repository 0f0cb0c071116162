import { render } from 'svelte/server';
import { describe, expect, it } from 'vitest';
import type { Disclosed, DisclosureReport, LookReport, LookRow, Shown } from '../src/api/watch';
import DisclosureTable from '../src/pages/DisclosureTable.svelte';
import LookTable from '../src/pages/LookTable.svelte';

const verification = { lines: 1, broken: null };
const shown: Shown = { at_ms: 1, event: 'units', row: {} };
const look = (n: number, versions = 0): LookRow => ({
  n, operator: 'demo', from: '::1', what: 'units', at_ms: 1, subjects: ['a'], fields: [], precision: 'exact', shown: Array<Shown>(versions).fill(shown),
});
const looks = (count: number, is_cut = false): LookReport => ({ purpose: '', looks: Array.from({ length: count }, (_, n) => look(n)), is_cut, verification });
const disclosed = (n: number): Disclosed => ({
  n, at_ms: 1, is_again: false, to: 'tak', kind: 'tak', address: 'x', count: 1, fields: [], precision_m: 0, marking: 'none',
});
const disclosures = (count: number, is_cut = false): DisclosureReport => ({
  purpose: '', disclosures: Array.from({ length: count }, (_, n) => disclosed(n)), is_cut, verification,
});

describe('an answer out of the access record', () => {
  it('says how many looks are not drawn', () => {
    expect(render(LookTable, { props: { report: looks(2_310) } }).body).toContain('500 of 2,310 drawn');
    expect(render(LookTable, { props: { report: looks(3, true) } }).body).toContain('the gateway found more than it lists');
    expect(render(LookTable, { props: { report: looks(500) } }).body).not.toContain('drawn');
  });

  it('says of which past time a look was, and of none if the present was shown', () => {
    const from_ms = new Date(2026, 10, 22, 1, 0).getTime();
    const body = (of: LookRow['of']) => render(LookTable, { props: { report: { ...looks(0), looks: [{ ...look(1), ...(of ? { of } : {}) }] } } }).body;
    expect(body({ from_ms, until_ms: from_ms + 3_600_000 })).toContain('Of the past: Sun 22 Nov 01:00:00 to 02:00:00');
    expect(body(undefined)).not.toContain('Of the past');
  });

  it('says who wore the device that was looked at, and in words if nobody is known', () => {
    const body = (worn: LookReport['worn'], worn_is_cut = false) => render(LookTable, { props: { report: { ...looks(1), ...(worn ? { worn } : {}), worn_is_cut } } }).body;
    expect(body([{ unit: 'met/pc-1', officer: 'PC <b>1234</b>', from_ms: 1, until_ms: 2 }])).toContain('was worn by PC &lt;b>1234&lt;/b>');
    expect(body([])).toContain('Nobody is known');
    expect(body([], true)).toContain('than the gateway knows');
    expect(body(undefined)).not.toContain('worn');
  });

  it('says how many versions of one look are not drawn', () => {
    const report = (versions: number): LookReport => ({ ...looks(0), looks: [look(1, versions)] });
    expect(render(LookTable, { props: { report: report(201) } }).body).toContain('200 of 201 drawn');
    expect(render(LookTable, { props: { report: report(200) } }).body).not.toContain('drawn');
  });

  it('says how many disclosures are not drawn', () => {
    expect(render(DisclosureTable, { props: { report: disclosures(501) } }).body).toContain('500 of 501 drawn');
    expect(render(DisclosureTable, { props: { report: disclosures(3, true) } }).body).toContain('the gateway found more than it lists');
    expect(render(DisclosureTable, { props: { report: disclosures(500) } }).body).not.toContain('drawn');
  });
});
