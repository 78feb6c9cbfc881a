import { expect, test } from 'vitest';
import { createUploads } from '../../src/http/uploads.ts';

const bounds = { bytesMax: 100, publisherBytesMax: 60, publisherCountMax: 2 };

/** A publication under way that took so many bytes. */
function hold(uploads: ReturnType<typeof createUploads>, publisher: string, bytes: number) {
  let end = () => {};
  const published = uploads.run(publisher, async (take) => {
    take(bytes);
    await new Promise<void>((resolve) => {
      end = resolve;
    });
  });
  return { published, end: () => end() };
}

test('publications of one publisher hold so much and no more, and give it back', async () => {
  const uploads = createUploads(bounds);
  const first = hold(uploads, 'a', 40);
  await expect(hold(uploads, 'a', 40).published).rejects.toMatchObject({ type: 'too-many-requests' });
  const second = hold(uploads, 'a', 20);
  await expect(hold(uploads, 'a', 0).published).rejects.toMatchObject({ type: 'too-many-requests' });
  first.end();
  await first.published;
  const third = hold(uploads, 'a', 40);
  third.end();
  second.end();
  await Promise.all([second.published, third.published]);
});

test('publications of all publishers hold so much and no more', async () => {
  const uploads = createUploads(bounds);
  const held = ['a', 'b'].map((publisher) => hold(uploads, publisher, 50));
  await expect(hold(uploads, 'c', 1).published).rejects.toMatchObject({ type: 'unavailable' });
  for (const { end } of held) end();
  await Promise.all(held.map(({ published }) => published));
  const later = hold(uploads, 'c', 60);
  later.end();
  await later.published;
});
