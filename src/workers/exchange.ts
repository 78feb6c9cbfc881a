import type { Fleet } from './fleet.ts';
import type { FromWorker } from './messages.ts';

/** Passes on what workers say to and ask of each other. */
export function createExchange(fleet: Pick<Fleet, 'ready' | 'find'>) {
  return {
    pass(worker: number, message: FromWorker): void {
      switch (message.kind) {
        case 'said':
        case 'asked':
          for (const other of fleet.ready()) {
            if (other === worker) continue;
            fleet.find(other)?.send(message.kind === 'asked' ? { ...message, from: worker } : message);
          }
          return;
        case 'answered':
          fleet.find(message.to)?.send(message);
          return;
        default:
      }
    },
  };
}
