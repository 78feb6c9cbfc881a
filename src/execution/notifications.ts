import type { Json } from '../core/canonical-json.ts';
import type { ServerEvents } from './exchange.ts';
import type { ServerNotification } from './json-rpc.ts';

/** Passes on what a server says besides its answer, as much as is reasonable. */
export type Notifications = {
  /** From now on it is told what belongs to a request, and progress only under the token given with it. */
  listen(progressToken: Json | undefined): void;
  mute(): void;
  hear(notification: ServerNotification, bytes: number): void;
};

/** More than this nobody reads; the output budget ends what goes on forever. */
const NOTIFICATIONS_MAX = 1000;
const NOTIFICATION_BYTES_MAX = 64 * 1024;
const NOTIFIED_BYTES_MAX = 1024 * 1024;

/**
 * What exists only within one conversation, or is untrue here: lists are what they were when the version was
 * published, and a jail has no later.
 */
const KEPT_BACK = /^notifications\/(?:cancelled|initialized|tasks\/.*|.*list_changed)$/;

/** A client may have several requests under way: progress under a token of another one would be a lie. */
export function createNotifications(events: ServerEvents | undefined): Notifications {
  let hearing: { token: Json | undefined } | undefined;
  let count = 0;
  let bytesHeard = 0;
  return {
    listen: (token) => {
      hearing = { token };
    },
    mute: () => {
      hearing = undefined;
    },
    hear({ method, params }, bytes) {
      if (events === undefined || hearing === undefined) return;
      if (!method.startsWith('notifications/') || KEPT_BACK.test(method)) return;
      if (method === 'notifications/progress' && !isOurs(params.progressToken, hearing.token)) return;
      if (count >= NOTIFICATIONS_MAX || bytes > NOTIFICATION_BYTES_MAX) return;
      if (bytesHeard + bytes > NOTIFIED_BYTES_MAX) return;
      count += 1;
      bytesHeard += bytes;
      try {
        events.notify({ method, params });
      } catch {
        // Whoever listens is gone, which ends the call by its signal; the server must not be blamed for it.
        hearing = undefined;
      }
    },
  };
}

function isOurs(token: Json | undefined, ours: Json | undefined): boolean {
  return (typeof token === 'string' || typeof token === 'number') && token === ours;
}
