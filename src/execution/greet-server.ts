import type { Eras } from './eras.ts';
import type { ClientFace } from './exchange.ts';
import type { Break } from './json-rpc.ts';
import type { McpSession } from './mcp-session.ts';

export type GreetInput = {
  codeSha256: string;
  client: ClientFace | undefined;
  /** Also where the server is known to need no handshake. */
  mustGreet: boolean;
  runTimeoutMs: number;
};

/** A server of the older era answers what it does not know, or ignores it. */
const PROBE_MS_MAX = 2_000;

/**
 * Shakes hands in the era of the client where the server speaks it. `isProbe` of a break: the server may only not
 * have borne a question of the newer era, and is worth another jail.
 */
export async function greetServer(
  eras: Eras,
  session: McpSession,
  input: GreetInput,
): Promise<{ broken: Break; isProbe: boolean } | undefined> {
  const { codeSha256, runTimeoutMs } = input;
  const { era, isSure } = eras.choose(codeSha256, input.client);
  if (era === 'stateless' && isSure && !input.mustGreet) {
    session.skipGreeting();
    return undefined;
  }
  const isProbe = era === 'stateless' && !isSure;
  const giveUp = () => session.end('timeout', 'The server did not answer server/discover.');
  const timer = isProbe ? setTimeout(giveUp, Math.min(PROBE_MS_MAX, runTimeoutMs / 2)) : undefined;
  const greeting = await session.greet(era);
  clearTimeout(timer);
  if (greeting.kind === 'broken') {
    if (isProbe && greeting.reason !== 'cancelled') eras.learn(codeSha256, 'stateless', false);
    return { broken: greeting, isProbe };
  }
  eras.learn(codeSha256, greeting.era, true);
  if (greeting.era !== era) eras.learn(codeSha256, era, false);
  return undefined;
}
