/** Lets so many of one name work at once; the others wait for their turn. */
export type Turns = {
  /** Rejects when `signal` aborts before its turn has come. */
  take<T>(name: string, signal: AbortSignal, work: () => Promise<T>): Promise<T>;
};

type Line = { working: number; waiting: (() => void)[] };

export function createTurns(atOnceMax: number): Turns {
  // One entry for each name that somebody works or waits under.
  const lines = new Map<string, Line>();
  function leave(name: string, line: Line): void {
    const next = line.waiting.shift();
    // The place goes on to who waits longest.
    if (next) next();
    else line.working -= 1;
    if (line.working === 0) lines.delete(name);
  }
  return {
    async take(name, signal, work) {
      const line = lines.get(name) ?? { working: 0, waiting: [] };
      lines.set(name, line);
      if (line.working < atOnceMax) line.working += 1;
      else await waitIn(line, signal);
      try {
        return await work();
      } finally {
        leave(name, line);
      }
    },
  };
}

function waitIn(line: Line, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const enter = () => {
      signal.removeEventListener('abort', giveUp);
      resolve();
    };
    const giveUp = () => {
      line.waiting.splice(line.waiting.indexOf(enter), 1);
      reject(signal.reason);
    };
    if (signal.aborted) return reject(signal.reason);
    signal.addEventListener('abort', giveUp, { once: true });
    line.waiting.push(enter);
  });
}
