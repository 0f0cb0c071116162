import { describe, expect, it } from 'vitest';
import { barScale, EEMUA, wordsY } from '../src/pages/scales';

describe('the words beside the lines of a chart', () => {
  it.each([0, 6, 11, 60, 400])('do not cover each other where the highest bar is %d', (worst) => {
    const scale = barScale([worst], 110);
    const words = wordsY(EEMUA.map(({ at }) => scale.y(at)));
    words.slice(1).forEach((y, index) => expect((words[index] ?? 0) - y).toBeGreaterThanOrEqual(12));
  });

  it('stand at their lines where there is room', () => {
    expect(wordsY([100, 60, 10])).toEqual([100, 60, 10]);
  });
});
