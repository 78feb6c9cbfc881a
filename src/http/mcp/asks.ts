import { takeRandomText } from '../../core/bytes.ts';
import type { JsonObject, RpcAnswer, RpcId } from './json-rpc.ts';

type Asking = { method: string; params: JsonObject };

/** What servers asked of clients and wait for, at this gateway. */
export type Asks = {
  /** Sends a question under an id that nobody guesses, and waits for the answer to it. */
  ask(question: Asking, send: (message: JsonObject) => void, signal: AbortSignal): Promise<RpcAnswer>;
  /** The answer that a client posted; what nobody waits for is dropped, and false. */
  settle(id: RpcId, answer: RpcAnswer): boolean;
};

const ID_BYTES = 18;

/**
 * The client's answer comes in a request of its own (MCP 2025-11-25, "Streamable HTTP"): its id is all that joins the
 * two, and whoever knows it was asked. It has to come to this gateway; several of them behind one address need
 * requests of one `Mcp-Session-Id` to go to the same.
 */
export function createAsks(deps: { waitingMax: number }): Asks {
  const waiting = new Map<RpcId, (answer: RpcAnswer) => void>();
  return {
    ask({ method, params }, send, signal) {
      if (signal.aborted) return Promise.resolve(refused('The call is over.'));
      if (waiting.size >= deps.waitingMax)
        return Promise.resolve(refused('Too many clients are being asked.'));
      const id = `ask-${takeRandomText(ID_BYTES)}`;
      return new Promise((resolve) => {
        const finish = (answer: RpcAnswer) => {
          waiting.delete(id);
          signal.removeEventListener('abort', giveUp);
          resolve(answer);
        };
        const giveUp = () => finish(refused('The client did not answer in time.'));
        signal.addEventListener('abort', giveUp, { once: true });
        waiting.set(id, finish);
        send({ jsonrpc: '2.0', id, method, params });
      });
    },
    settle(id, answer) {
      const finish = waiting.get(id);
      finish?.(answer);
      return finish !== undefined;
    },
  };
}

function refused(message: string): RpcAnswer {
  return { error: { code: -32000, message } };
}
