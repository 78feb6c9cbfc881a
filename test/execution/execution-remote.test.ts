import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { newUuid } from '../../src/core/ids.ts';
import { Problem } from '../../src/core/problem.ts';
import {
  createNoBackend,
  DEFAULT_LIMITS,
  type Exchanged,
  type RemoteServers,
  type ServerRef,
} from '../../src/execution/index.ts';
import { createQueue, type Queue } from '../../src/execution/queue.ts';
import { never, testExecution } from './harness.ts';

const server: ServerRef = {
  ...{ kind: 'remote', serverId: newUuid(), endpoint: 'https://example.com/mcp' },
  limits: DEFAULT_LIMITS,
};
const face = { capabilities: { tools: {} }, info: { name: 'far', version: '1' } };
const tool = (name: string) => ({ name, inputSchema: { type: 'object' } });

/** The answers of an endpoint; what reaches it is the adapter's matter and tested there. */
function publishedAt(
  answer: (cursor: unknown) => Exchanged,
  greet: RemoteServers['greet'] = async () => face,
) {
  return testExecution(createNoBackend('There is none.'), {
    remote: {
      greet,
      exchange: async ({ request }) => answer(request.params.cursor),
      findOutage: () => undefined,
      close: async () => {},
    },
  });
}

it("a publisher's own server is read page by page, with the checks of a hosted one", async () => {
  const execution = publishedAt((cursor) => ({
    kind: 'result',
    result:
      cursor === undefined ? { tools: [tool('a')], nextCursor: 'b' } : { tools: [tool(String(cursor))] },
    runMs: 1,
  }));
  expect(await execution.inspect({ server }, never)).toEqual({
    kind: 'listed',
    tools: [tool('a'), tool('b')],
    face,
  });
});

it.each<[string, Exchanged, RegExp]>([
  ['lists a tool twice', { kind: 'result', result: { tools: [tool('a'), tool('a')] }, runMs: 1 }, /twice/],
  [
    'refuses tools/list',
    { kind: 'error', code: -32601, message: 'no tools here', runMs: 1 },
    /no tools here/,
  ],
  ['cannot be reached', { kind: 'failed', reason: 'unreachable', detail: 'No route.', runMs: 1 }, /No route/],
])('one that %s is refused with the reason', async (_, answer, detail) => {
  const inspection = await publishedAt(() => answer).inspect({ server }, never);
  expect(inspection).toMatchObject({ kind: 'refused', detail: expect.stringMatching(detail) });
});

it('one that is no MCP server is refused, and what fails with us is thrown', async () => {
  const list = (): Exchanged => ({ kind: 'result', result: { tools: [tool('a')] }, runMs: 1 });
  const stranger = publishedAt(list, () =>
    Promise.reject(new Problem('tool-failed', { detail: 'It is a shop.' })),
  );
  expect(await stranger.inspect({ server }, never)).toEqual({
    kind: 'refused',
    detail: 'It is a shop.',
    stderr: '',
  });
  const ours = publishedAt(list, () =>
    Promise.reject(new Problem('unavailable', { detail: 'We are full.' })),
  );
  await expect(ours.inspect({ server }, never)).rejects.toMatchObject({ type: 'unavailable' });
});

it('whoever would wait longer than ten seconds is refused at once and told when to come again', async () => {
  let now = 0;
  const clock = { ...systemClock, now: () => new Date(now) };
  const queue = createQueue({ concurrencyMax: 1, queueMax: 100, clock });
  const enter = async () => {
    const admission = await queue.enter(never);
    if (admission.kind !== 'entered') throw new Error('not admitted');
    return admission;
  };
  for (let turn = 0; turn < 60; turn += 1) {
    const admission = await enter();
    now += 6_000;
    admission.leave();
  }
  const inside = await enter();
  const first = enter();
  await expect(enter()).rejects.toMatchObject({
    message: 'The wait for a free place would be too long.',
    options: { retryAfterSeconds: 12 },
  });
  inside.leave();
  (await first).leave();
  expect(queue.inside()).toBe(0);
});

describe('a queue of several publishers', () => {
  const settings = { concurrencyMax: 8, queueMax: 8, clock: systemClock };
  const fill = async (queue: Queue, publisher: string, count: number) => {
    const entered: (() => void)[] = [];
    const waiting: Promise<unknown>[] = [];
    for (let turn = 0; turn < count; turn += 1) {
      const entering = queue.enter(never, publisher).then((admission) => {
        if (admission.kind === 'entered') entered.push(admission.leave);
        return admission.kind;
      });
      waiting.push(entering.catch((error: unknown) => error));
    }
    await new Promise((resolve) => setImmediate(resolve));
    return { entered, waiting };
  };

  it('one publisher, however slow its servers are, leaves places to the others', async () => {
    const queue = createQueue(settings);
    const slow = await fill(queue, 'slow', 14);
    expect(slow.entered).toHaveLength(6);
    const quick = await fill(queue, 'quick', 2);
    expect(quick.entered).toHaveLength(2);
    queue.close();
  });

  it('a full queue makes room for whoever waits less, and places go by turns', async () => {
    const queue = createQueue(settings);
    const many = await fill(queue, 'many', 14);
    expect(queue.findRefusal('few')).toBeUndefined();
    const few = await fill(queue, 'few', 4);
    expect(few.entered).toHaveLength(2);
    await expect(many.waiting.at(-1)).resolves.toMatchObject({ type: 'unavailable' });
    many.entered[0]?.();
    await expect.poll(() => few.entered.length).toBe(3);
    expect(queue.inside()).toBe(8);
    queue.close();
    await Promise.all([...many.waiting, ...few.waiting]);
  });

  it('one alone waits in the whole of it', async () => {
    const queue = createQueue(settings);
    const alone = await fill(queue, 'alone', 15);
    await expect(alone.waiting.at(-1)).resolves.toMatchObject({
      message: 'Too many calls are running already.',
    });
    // Whoever only looks is told the same, and takes nobody's place.
    expect(queue.findRefusal('alone')).toMatchObject({ message: 'Too many calls are running already.' });
    expect(queue.findRefusal('another')).toBeUndefined();
    alone.entered[0]?.();
    await expect.poll(() => alone.entered.length).toBe(7);
    queue.close();
    await Promise.all(alone.waiting);
  });
});
