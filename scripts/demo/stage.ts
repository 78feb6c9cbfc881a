import type { Chain } from './chain.ts';
import type { DevInfo } from './gateway.ts';
import type { CallAnswer } from './http.ts';
import type { Narrator } from './narrator.ts';
import type { SampleServer } from './sample-servers.ts';

/** What every step of the demo works with. */
export type Stage = { narrator: Narrator; info: DevInfo; chain: Chain };

/** A sample server once the gateway lists it. */
export type Listed = SampleServer & { id: string; codeHash: string; logIndex: number; tools: string[] };

/** One call as it is sent: everything a request hash covers, and what it should cost. */
export type Call = {
  server: string;
  tool: string;
  arguments: Record<string, unknown>;
  priceMcents: number;
};

/** A call and the answer it got. */
export type Delivered = { call: Call; answer: CallAnswer };

export function invokeUrl({ info }: Pick<Stage, 'info'>, server: string): string {
  return `${info.url}/invoke/${encodeURIComponent(server)}`;
}

export function toBody({ tool, arguments: args }: Call): {
  tool: string;
  arguments: Record<string, unknown>;
} {
  return { tool, arguments: args };
}
