/**
 * The sign of several units in one place. **It looks like its worst unit**: a waiting alarm makes it
 * red with a diamond, an answered one outlines it in red, stale units dash it, engaged ones tint it.
 * One that is not actual hatches its rim.
 */
import { RANK } from './features';
import { canvas, hatch, pixels } from './icons';
import type { Palette } from './palette';

export interface ClusterSpec {
  /** `RANK` of the worst unit inside. */
  worst: number;
  mock: 0 | 1;
  /** A hundred units or more: the count needs more room. */
  many: 0 | 1;
}

const SIZE_PX = [44, 54] as const;

function rimOf(worst: number, palette: Palette): string {
  if (worst >= RANK.answered) return palette.alarm;
  if (worst === RANK.stale) return palette.readiness.unavailable;
  return worst === RANK.engaged ? palette.readiness.engaged : palette.readiness.available;
}

export function drawCluster({ worst, mock, many }: ClusterSpec, palette: Palette): ImageData {
  const size_px = SIZE_PX[many];
  const context = canvas(size_px, size_px);
  context.translate(size_px / 2, size_px / 2);
  const radius_px = size_px / 2 - 5;
  const disc = new Path2D();
  disc.arc(0, 0, radius_px, 0, 2 * Math.PI);
  context.strokeStyle = palette.casing;
  context.lineWidth = 8;
  context.stroke(disc);
  const rim = rimOf(worst, palette);
  context.fillStyle = rim;
  context.fill(disc);
  if (mock === 1) hatch(context, disc, palette.hatch);
  const face = new Path2D();
  face.arc(0, 0, radius_px - 4.5, 0, 2 * Math.PI);
  context.fillStyle = worst === RANK.waiting ? palette.alarm : palette.cluster;
  context.fill(face);
  context.setLineDash(worst === RANK.stale ? [4, 3] : []);
  context.strokeStyle = rim;
  context.lineWidth = 1.5;
  context.stroke(disc);
  if (worst >= RANK.answered) drawDiamond(context, radius_px, worst === RANK.waiting, palette);
  return pixels(context);
}

function drawDiamond(context: CanvasRenderingContext2D, radius_px: number, isWaiting: boolean, palette: Palette): void {
  context.setLineDash([]);
  context.translate(radius_px * 0.72, -radius_px * 0.72);
  context.rotate(Math.PI / 4);
  context.fillStyle = isWaiting ? '#ffffff' : palette.casing;
  context.strokeStyle = palette.alarm;
  context.lineWidth = 2.5;
  context.beginPath();
  context.rect(-4.5, -4.5, 9, 9);
  context.fill();
  context.stroke();
}
