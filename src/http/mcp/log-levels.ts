import type { LogLevel } from '../../execution/index.ts';

const LEVELS = ['debug', 'info', 'notice', 'warning', 'error', 'critical', 'alert', 'emergency'] as const;

/** How much the clients of sessions want to read of what servers log. */
export type LogLevels = {
  set(sessionId: string, level: LogLevel): void;
  get(sessionId: string): LogLevel | undefined;
};

/**
 * The one thing a client says that its session id cannot hold, as ids are sealed before it is said. It is kept in
 * memory at this gateway for the last `sessionsMax` that said it; where it is forgotten, servers log as they do
 * by themselves.
 */
export function createLogLevels(deps: { sessionsMax: number }): LogLevels {
  const levels = new Map<string, LogLevel>();
  return {
    set(sessionId, level) {
      levels.delete(sessionId);
      levels.set(sessionId, level);
      if (levels.size <= deps.sessionsMax) return;
      const [oldest] = levels.keys();
      if (oldest !== undefined) levels.delete(oldest);
    },
    get: (sessionId) => levels.get(sessionId),
  };
}

export function readLogLevel(value: unknown): LogLevel | undefined {
  return LEVELS.find((level) => level === value);
}

/** Whether a message of this level is wanted by who asked for `wanted` and what is worse. */
export function isLoggedAt(wanted: LogLevel, level: unknown): boolean {
  return LEVELS.indexOf(readLogLevel(level) ?? 'emergency') >= LEVELS.indexOf(wanted);
}
