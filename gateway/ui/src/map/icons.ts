/**
 * Marker and label pictures, drawn with a canvas: no glyph or sprite server is ever asked.
 *
 * A marker says five things without colour: kind (drop / pointed box), heading (its tip),
 * readiness (solid, dot, ring), freshness (whole / dashed outline) and mode (plain / hatched).
 * **Anything but `actual` is hatched and its label carries a tag**, so it cannot pass for real.
 */
import type { Mode, Unit } from '../types';
import { modeInWords, type Readiness } from '../words';
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

export interface LabelSpec {
  callsign: string;
  mode: Mode;
}

/** Image names carry their whole description, so that a missing picture can be drawn on demand. */
export const markerName = (spec: MarkerSpec): string => `marker ${JSON.stringify(spec)}`;
export const labelName = (spec: LabelSpec): string => `label ${JSON.stringify(spec)}`;

export function drawByName(name: string, palette: Palette): ImageData | null {
  const space = name.indexOf(' ');
  const [family, spec] = [name.slice(0, space), name.slice(space + 1)];
  if (family === 'marker') return drawMarker(JSON.parse(spec) as MarkerSpec, palette);
  if (family === 'label') return drawLabel(JSON.parse(spec) as LabelSpec, palette);
  if (family === 'blank') return drawBlank(JSON.parse(spec) as { width_px: number; height_px: number });
  return null;
}

function canvas(width_px: number, height_px: number): CanvasRenderingContext2D {
  const element = document.createElement('canvas');
  element.width = Math.ceil(width_px * PIXEL_RATIO);
  element.height = Math.ceil(height_px * PIXEL_RATIO);
  const context = element.getContext('2d', { willReadFrequently: true });
  if (context === null) throw new Error('this browser cannot draw: no 2D canvas');
  context.scale(PIXEL_RATIO, PIXEL_RATIO);
  return context;
}

const pixels = (context: CanvasRenderingContext2D): ImageData =>
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

function hatch(context: CanvasRenderingContext2D, within: Path2D, colour: string): void {
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

const LABEL_FONT = '600 11.5px "Inter Variable", system-ui, sans-serif';
const TAG_FONT = '700 9px "Inter Variable", system-ui, sans-serif';
const LABEL_PX = 18;
/** Longer callsigns are cut with an ellipsis on the map; the lists show them whole. */
const CALLSIGN_CHARS_MAX = 18;

const tagOf = (mode: Mode): string => (mode === 'exercise' ? 'EX' : modeInWords(mode).toUpperCase());

function drawLabel(spec: LabelSpec, palette: Palette): ImageData {
  const text =
    spec.callsign.length > CALLSIGN_CHARS_MAX ? `${spec.callsign.slice(0, CALLSIGN_CHARS_MAX - 1)}…` : spec.callsign;
  const tag = spec.mode === 'actual' ? '' : tagOf(spec.mode);
  const measure = canvas(1, 1);
  measure.font = TAG_FONT;
  const tag_px = tag === '' ? 0 : Math.ceil(measure.measureText(tag).width) + 7;
  measure.font = LABEL_FONT;
  const text_px = Math.ceil(measure.measureText(text).width);
  const width_px = tag_px + text_px + 10;

  const context = canvas(width_px + 2, LABEL_PX + 2);
  context.translate(1, 1);
  const chip = new Path2D();
  chip.roundRect(0.5, 0.5, width_px - 1, LABEL_PX - 1, 4);
  context.fillStyle = palette.label;
  context.fill(chip);
  if (tag !== '') {
    context.save();
    context.clip(chip);
    context.fillStyle = palette.notActual;
    context.fillRect(0, 0, tag_px, LABEL_PX);
    context.restore();
    context.font = TAG_FONT;
    context.fillStyle = palette.notActualText;
    context.textBaseline = 'middle';
    context.fillText(tag, 4, LABEL_PX / 2 + 0.5);
  }
  context.strokeStyle = palette.labelEdge;
  context.lineWidth = 1;
  context.stroke(chip);
  context.font = LABEL_FONT;
  context.fillStyle = palette.text;
  context.textBaseline = 'middle';
  context.fillText(text, tag_px + 5, LABEL_PX / 2 + 0.5);
  return pixels(context);
}

/** An invisible picture: it only keeps labels off the markers (style.ts, layer `bodies`). */
export const BLANK_MARKER = 'blank {"width_px":22,"height_px":22}';
/** The room of an alarm button with its label: 60 px to the top and bottom of the unit. */
export const BLANK_ALARM = 'blank {"width_px":220,"height_px":124}';

function drawBlank(size: { width_px: number; height_px: number }): ImageData {
  return pixels(canvas(size.width_px, size.height_px));
}
