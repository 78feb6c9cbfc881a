import type { RpcId } from './json-rpc.ts';

/** The requests under way at this gateway, by the session and the id under which their client knows them. */
export type Running = {
  /** Notes a request until the returned function is called. `cancel` aborts when its client takes it back. */
  start(sessionId: string | undefined, id: RpcId): { cancel: AbortController; finish(): void };
  /** False when no such request runs here. */
  cancel(sessionId: string | undefined, id: RpcId): boolean;
};

/** Without a session a request's id is not known to be its client's, so nothing is cancelled by it. */
export function createRunning(): Running {
  const running = new Map<string, AbortController>();
  const keyOf = (sessionId: string, id: RpcId) => `${sessionId} ${typeof id} ${id}`;
  return {
    start(sessionId, id) {
      const cancel = new AbortController();
      if (sessionId === undefined) return { cancel, finish: () => {} };
      const key = keyOf(sessionId, id);
      running.set(key, cancel);
      return {
        cancel,
        finish() {
          if (running.get(key) === cancel) running.delete(key);
        },
      };
    },
    cancel(sessionId, id) {
      const cancel = sessionId === undefined ? undefined : running.get(keyOf(sessionId, id));
      cancel?.abort();
      return cancel !== undefined;
    },
  };
}
