/** The ground under a callsign. */
import type { Mode } from '../types';
import { modeInWords } from '../words';
import { canvas, PIXEL_RATIO, pixels, type Picture } from './icons';
import type { Palette } from './palette';

const TAG_FONT = '700 9px "Inter Variable", system-ui, sans-serif';
const CHIP_PX = 18;
/** Room at each end of a callsign. */
const END_PX = 5;

const tagOf = (mode: Mode): string =>
  mode === 'actual' ? '' : mode === 'exercise' ? 'EX' : modeInWords(mode).toUpperCase();

/**
 * The ground under a callsign, one picture per mode. The map stretches it to the text, so that a
 * thousand units need no thousand pictures in graphics memory.
 */
export function drawChip(mode: Mode, palette: Palette): Picture {
  const tag = tagOf(mode);
  const measure = canvas(1, 1);
  measure.font = TAG_FONT;
  const tag_px = tag === '' ? 0 : Math.ceil(measure.measureText(tag).width) + 7;
  const width_px = tag_px + END_PX + 6 + END_PX;

  const context = canvas(width_px, CHIP_PX);
  const chip = new Path2D();
  chip.roundRect(0.5, 0.5, width_px - 1, CHIP_PX - 1, 4);
  context.fillStyle = palette.label;
  context.fill(chip);
  if (tag !== '') {
    context.save();
    context.clip(chip);
    context.fillStyle = palette.notActual;
    context.fillRect(0, 0, tag_px, CHIP_PX);
    context.restore();
    context.font = TAG_FONT;
    context.fillStyle = palette.notActualText;
    context.textBaseline = 'middle';
    context.fillText(tag, 4, CHIP_PX / 2 + 0.5);
  }
  context.strokeStyle = palette.labelEdge;
  context.lineWidth = 1;
  context.stroke(chip);
  const [left, right] = [tag_px + END_PX, width_px - END_PX];
  return {
    image: pixels(context),
    fit: {
      stretchX: [[left * PIXEL_RATIO, right * PIXEL_RATIO]],
      stretchY: [[8 * PIXEL_RATIO, 10 * PIXEL_RATIO]],
      content: [left, 2, right, CHIP_PX - 2].map((edge) => edge * PIXEL_RATIO) as [number, number, number, number],
    },
  };
}
