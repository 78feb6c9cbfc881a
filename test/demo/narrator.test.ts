import { expect, test } from 'vitest';
import { createNarrator } from '../../scripts/demo/narrator.ts';

function record(options: { isTerminal: boolean }) {
  let text = '';
  const narrator = createNarrator({ ...options, write: (part) => (text += part) });
  return { narrator, text: () => text };
}

test('what does not go to a terminal has no escape codes and few lines of progress', () => {
  const { narrator, text } = record({ isTerminal: false });
  narrator.step('Work');
  narrator.checked('done');
  const progress = narrator.progress('calls', 300);
  for (let count = 0; count < 300; count += 1) progress.advance();
  progress.done();
  expect(text()).not.toContain('\u001b');
  expect(
    text()
      .split('\n')
      .filter((line) => line.includes('of 300')),
  ).toHaveLength(6);
  expect(text()).toContain('300 of 300');
});

test('steps are numbered, and the decimal points of amounts in a table stand in a line', () => {
  const { narrator, text } = record({ isTerminal: false });
  narrator.step('One');
  narrator.step('Two');
  narrator.table(
    ['tool', 'price'],
    [
      ['a', '$0.5025'],
      ['long name', '$12.00'],
      ['b', '$3'],
    ],
  );
  expect(text()).toContain(' 2  Two');
  const lines = text().split('\n').slice(-5, -1);
  expect(lines.map((line) => line.trim())).toEqual([
    'tool           price',
    'a            $0.5025',
    'long name   $12.00',
    'b            $3',
  ]);
});

test('a failure while waiting is passed on, and its line is cleared', async () => {
  const { narrator, text } = record({ isTerminal: true });
  await expect(narrator.waiting('starting', Promise.reject(new Error('no')))).rejects.toThrow('no');
  expect(text().endsWith('\r\u001b[2K')).toBe(true);
});
