import type { RpcAnswer, RpcId } from './json-rpc.ts';
import type { McpDeps } from './request.ts';

type Shared = Pick<McpDeps, 'siblings' | 'asks' | 'running'>;
type Answered = { id: RpcId; answer: RpcAnswer };
type Cancelled = { sessionId: string | undefined; requestId: RpcId };

const ANSWERED = 'mcp-answered';
const CANCELLED = 'mcp-cancelled';

/**
 * What a client says of a request that another worker of this machine has under way: it comes on a connection of its
 * own, and that may be anybody's. Workers run the same program, so what one tells has the shape it is read in.
 */
export function shareSessions({ siblings, asks, running }: Shared): void {
  siblings.hear(ANSWERED, (said) => {
    const { id, answer } = said as Answered;
    asks.settle(id, answer);
  });
  siblings.hear(CANCELLED, (said) => {
    const { sessionId, requestId } = said as Cancelled;
    running.cancel(sessionId, requestId);
  });
}

/** The answer to what a server asked, for whichever worker asked it. */
export function tellAnswer({ asks, siblings }: Shared, { id, answer }: Answered): void {
  if (!asks.settle(id, answer)) siblings.tell(ANSWERED, { id, answer });
}

/** A request is taken back, at whichever worker runs it. */
export function tellCancelled({ running, siblings }: Shared, { sessionId, requestId }: Cancelled): void {
  if (sessionId === undefined || running.cancel(sessionId, requestId)) return;
  siblings.tell(CANCELLED, { sessionId, requestId });
}
