import { expect, test } from 'vitest';
import { HEAD_BYTES_MAX, readHead } from '../../src/workers/head.ts';
import { createRestarts } from '../../src/workers/restarts.ts';
import { chooseOwner } from '../../src/workers/steer.ts';
import { createWatch } from '../../src/workers/watch.ts';

const KEYS = Array.from({ length: 3_000 }, (_, i) => `mcp_${i}`);

test('a lost worker leaves its keys to all others, and no other key moves', () => {
  const before = new Map(KEYS.map((key) => [key, chooseOwner(key, [1, 2, 3, 4])]));
  const heirs = new Map<number | undefined, number>();
  for (const key of KEYS) {
    const after = chooseOwner(key, [4, 1, 2]);
    if (before.get(key) !== 3) expect(after).toBe(before.get(key));
    else heirs.set(after, (heirs.get(after) ?? 0) + 1);
  }
  expect([...heirs.keys()].sort()).toEqual([1, 2, 4]);
  // 750 keys in three parts: far from a chance's doing.
  for (const count of heirs.values()) expect(count).toBeGreaterThan(180);
});

test('keys are spread evenly, and without a worker there is no owner', () => {
  const owners = KEYS.map((key) => chooseOwner(key, [1, 2, 3]));
  for (const worker of [1, 2, 3]) {
    expect(owners.filter((owner) => owner === worker).length).toBeGreaterThan(850);
  }
  expect(chooseOwner('mcp_1', [])).toBeUndefined();
});

const head = (...lines: string[]) => Buffer.from(`POST /v1/example HTTP/1.1\r\n${lines.join('\r\n')}\r\n`);

test('a key is found in either header, whatever the case, as soon as its line is whole', () => {
  const key = 'mcp_ab12';
  expect(readHead(head(`authorization: bearer ${key}`))).toEqual({ kind: 'key', key });
  expect(readHead(head('host: a', `X-API-KEY:${key} `, 'accept: */*'))).toEqual({ kind: 'key', key });
  expect(readHead(Buffer.from('GET / HTTP/1.1\r\nAuthorization: Bearer mcp_ab'))).toEqual({
    kind: 'unfinished',
  });
});

test('a key in a body or behind another credential steers nobody', () => {
  const body = Buffer.concat([head('host: a', ''), Buffer.from('\r\nx-api-key: mcp_ab12\r\n')]);
  expect(readHead(body)).toEqual({ kind: 'stranger' });
  expect(readHead(head('authorization: L402 abc:def', ''))).toEqual({ kind: 'stranger' });
});

test('without a key the MCP session decides, once the head is whole', () => {
  const session = 'mcp-session-id: m1.abc';
  expect(readHead(head(session))).toEqual({ kind: 'unfinished' });
  expect(readHead(head(session, ''))).toEqual({ kind: 'session', key: 'm1.abc' });
  expect(readHead(head(session, 'x-api-key: mcp_1', ''))).toEqual({ kind: 'key', key: 'mcp_1' });
});

test('a head without end is looked at no further than a head may be long', () => {
  expect(readHead(Buffer.alloc(HEAD_BYTES_MAX - 1, 'a'))).toEqual({ kind: 'unfinished' });
  expect(readHead(Buffer.alloc(HEAD_BYTES_MAX, 'a'))).toEqual({ kind: 'stranger' });
});

test('a worker that cannot live is started ever more seldom, and one that lived at once', () => {
  let now = 0;
  const restarts = createRestarts(() => now);
  const delays = Array.from({ length: 12 }, () => restarts.next(1));
  expect(delays.slice(0, 3)).toEqual([50, 100, 200]);
  expect(delays.at(-1)).toBe(30_000);
  restarts.noteReady(1);
  now += 60_000;
  expect(restarts.next(1)).toBe(50);
  expect(restarts.next(2)).toBe(50);
  expect(restarts.count()).toBe(14);
});

test('a worker that leaves five questions unanswered stands still, one that answers late is back, and twenty are the end', () => {
  const seen: string[] = [];
  const note = (what: string) => () => {
    seen.push(what);
  };
  const watch = createWatch({
    ...{ ask: note('ask'), noteStill: note('still'), noteAwake: note('awake'), giveUp: note('end') },
  });
  const look = (rounds: number) => {
    seen.length = 0;
    for (let i = 0; i < rounds; i += 1) watch.look();
    return seen.join(' ');
  };
  // Nothing more is asked of one that has not answered: its channel is not to fill.
  expect(look(5)).toBe('ask');
  watch.noteAnswer();
  expect(look(6)).toBe('ask still');
  watch.noteAnswer();
  expect(seen.at(-1)).toBe('awake');
  expect(look(20)).toBe('ask still');
  expect(look(10)).toBe('end');
});
