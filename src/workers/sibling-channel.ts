import { setTimeout as sleep } from 'node:timers/promises';
import type { Siblings } from '../core/siblings.ts';
import type { FromWorker, ToWorker } from './messages.ts';

const ANSWER_MS = 1_000;
/** Questions that wait at once; one more is answered by nobody. */
const ASKING_MAX = 64;

export type SiblingChannel = {
  count: number;
  send(message: FromWorker): void;
  listen(listener: (message: ToWorker) => void): void;
};

/** Talks to the other workers through the supervisor, which passes everything on. */
export function createSiblings({ count, send, listen }: SiblingChannel): Siblings {
  const listeners = new Map<string, (said: unknown) => void>();
  const answers = new Map<string, () => Promise<unknown>>();
  const asking = new Map<number, (answer: unknown) => void>();
  let lastId = 0;
  const reply = async ({ id, topic, from }: Extract<ToWorker, { kind: 'asked' }>) => {
    const answer = answers.get(topic);
    // Without an answer of ours the other one's time runs out, which is as good.
    if (answer) send({ kind: 'answered', id, to: from, answer: await answer() });
  };
  listen((message) => {
    if (message.kind === 'said') listeners.get(message.topic)?.(message.said);
    else if (message.kind === 'asked') reply(message).catch(() => {});
    else if (message.kind === 'answered') asking.get(message.id)?.(message.answer);
  });
  return {
    count,
    tell: (topic, said) => send({ kind: 'said', topic, said }),
    hear: (topic, listener) => listeners.set(topic, listener),
    answer: (topic, answer) => answers.set(topic, answer),
    async ask(topic) {
      if (asking.size >= ASKING_MAX) return [];
      lastId += 1;
      const id = lastId;
      const given: unknown[] = [];
      const timeout = new AbortController();
      const all = new Promise<void>((resolve) => {
        asking.set(id, (answer) => {
          given.push(answer);
          if (given.length === count - 1) resolve();
        });
      });
      send({ kind: 'asked', id, topic, from: 0 });
      await Promise.race([all, sleep(ANSWER_MS, undefined, { signal: timeout.signal }).catch(() => {})]);
      timeout.abort();
      asking.delete(id);
      return given;
    },
  };
}
