/**
 * Marker and label pictures, drawn with a canvas: no sprite server is ever asked.
 *
 * A marker says five things without colour: kind (drop / pointed box), heading (its tip),
 * readiness (solid, dot, ring), freshness (whole / dashed outline) and mode (plain / hatched).
 * **Anything but `actual` is hatched and its label carries a tag**, so it cannot pass for real.
 */
import type { Mode, Unit } from '../types';
import type { Readiness } from '../words';
import { drawChip } from './icon_chip';
import { drawCluster, type ClusterSpec } from './icon_cluster';
import type { Palette } from './palette';

/** Pictures are drawn at twice their size on the screen, for sharp edges on dense displays. */
export const PIXEL_RATIO = 2;

const MARKER_PX = 40;

export interface MarkerSpec {
  kind: Unit['kind'];
  readiness: Readiness;
  actual: boolean;
  heading: boolean;
  stale: boolean;
}

/** A picture, and for one that is stretched to a text: which parts stretch and where the text goes. */
export interface Picture {
  image: ImageData;
  fit?: {
    stretchX: [number, number][];
    stretchY: [number, number][];
    content: [number, number, number, number];
  };
}

/** Image names carry their whole description, so that a missing picture can be drawn on demand. */
export const markerName = (spec: MarkerSpec): string => `marker ${JSON.stringify(spec)}`;
export const chipName = (mode: Mode): string => `chip ${mode}`;

export function drawByName(name: string, palette: Palette): Picture | null {
  const space = name.indexOf(' ');
  const [family, spec] = [name.slice(0, space), name.slice(space + 1)];
  if (family === 'marker') return { image: drawMarker(JSON.parse(spec) as MarkerSpec, palette) };
  if (family === 'blank') return { image: drawBlank(JSON.parse(spec) as { width_px: number; height_px: number }) };
  if (family === 'chip') return drawChip(spec as Mode, palette);
  if (family === 'cluster') return { image: drawCluster(JSON.parse(spec) as ClusterSpec, palette) };
  return null;
}

export function canvas(width_px: number, height_px: number): CanvasRenderingContext2D {
  const element = document.createElement('canvas');
  element.width = Math.ceil(width_px * PIXEL_RATIO);
  element.height = Math.ceil(height_px * PIXEL_RATIO);
  const context = element.getContext('2d', { willReadFrequently: true });
  if (context === null) throw new Error('this browser cannot draw: no 2D canvas');
  context.scale(PIXEL_RATIO, PIXEL_RATIO);
  return context;
}

export const pixels = (context: CanvasRenderingContext2D): ImageData =>
  context.getImageData(0, 0, context.canvas.width, context.canvas.height);

/** Body outline around (0, 0), pointing north. */
function body(spec: MarkerSpec): Path2D {
  const path = new Path2D();
  if (spec.kind === 'officer' && spec.heading) {
    // A drop: the two tangents from the tip, 15.5 px ahead, to a circle of 8.5 px.
    const tangent = Math.acos(8.5 / 15.5);
    path.moveTo(0, -15.5);
    path.arc(0, 0, 8.5, tangent - Math.PI / 2, 1.5 * Math.PI - tangent);
    path.closePath();
  } else if (spec.kind === 'officer') {
    path.arc(0, 0, 8.5, 0, 2 * Math.PI);
  } else if (spec.heading) {
    path.moveTo(0, -13);
    path.lineTo(8, -5);
    path.lineTo(8, 7.5);
    path.arcTo(8, 10, 5.5, 10, 2.5);
    path.lineTo(-5.5, 10);
    path.arcTo(-8, 10, -8, 7.5, 2.5);
    path.lineTo(-8, -5);
    path.closePath();
  } else {
    path.roundRect(-8.5, -8.5, 17, 17, 3.5);
  }
  return path;
}

export function hatch(context: CanvasRenderingContext2D, within: Path2D, colour: string): void {
  context.save();
  context.clip(within);
  context.strokeStyle = colour;
  context.lineWidth = 2;
  context.beginPath();
  for (let offset = -30; offset <= 30; offset += 5.5) {
    context.moveTo(offset - 16, 16);
    context.lineTo(offset + 16, -16);
  }
  context.stroke();
  context.restore();
}

function drawMarker(spec: MarkerSpec, palette: Palette): ImageData {
  const context = canvas(MARKER_PX, MARKER_PX);
  context.translate(MARKER_PX / 2, MARKER_PX / 2);
  context.lineJoin = 'round';
  const colour = palette.readiness[spec.readiness];
  const shape = body(spec);
  context.strokeStyle = palette.casing;
  context.lineWidth = 5;
  context.stroke(shape);
  context.fillStyle = spec.stale ? palette.casing : colour;
  context.fill(shape);
  if (!spec.actual) hatch(context, shape, spec.stale ? palette.staleHatch : palette.hatch);
  context.strokeStyle = colour;
  context.lineWidth = 1.8;
  context.setLineDash(spec.stale ? [3, 2.4] : []);
  context.stroke(shape);
  drawReadiness(context, spec, palette);
  return pixels(context);
}

function drawReadiness(context: CanvasRenderingContext2D, spec: MarkerSpec, palette: Palette): void {
  if (spec.readiness === 'available') return;
  const ringed = spec.readiness !== 'engaged';
  context.setLineDash([]);
  context.beginPath();
  context.arc(0, 0, ringed ? 4.6 : 3.4, 0, 2 * Math.PI);
  context.fillStyle = spec.stale ? palette.readiness[spec.readiness] : palette.mark;
  context.fill();
}

/** An invisible picture: it only keeps labels off the markers (style.ts, layer `bodies`). */
export const BLANK_MARKER = 'blank {"width_px":22,"height_px":22}';
/** The room of an alarm button with its label: 60 px to the top and bottom of the unit. */
export const BLANK_ALARM = 'blank {"width_px":220,"height_px":124}';

function drawBlank(size: { width_px: number; height_px: number }): ImageData {
  return pixels(canvas(size.width_px, size.height_px));
}
