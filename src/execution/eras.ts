import type { ClientFace } from './exchange.ts';
import { type Era, eraOf } from './handshake.ts';

/** Remembers which eras of MCP servers speak, so that a call need not find it out again. */
export type Eras = {
  /** How to begin with this code for this client; `isSure` when the server is known to speak that era. */
  choose(codeSha256: string, client: ClientFace | undefined): { era: Era; isSure: boolean };
  learn(codeSha256: string, era: Era, isSpoken: boolean): void;
};

type Known = Partial<Record<Era, boolean>>;

const SERVERS_MAX = 4096;

/** What it remembers is a hint: a wrong one costs a round trip and nothing else. */
export function createEras(): Eras {
  const servers = new Map<string, Known>();
  return {
    choose(codeSha256, client) {
      const known = servers.get(codeSha256) ?? {};
      const wanted = eraOf(client);
      const era = known[wanted] === false ? otherThan(wanted) : wanted;
      return { era, isSure: known[era] === true };
    },
    learn(codeSha256, era, isSpoken) {
      const known = servers.get(codeSha256);
      if (known?.[era] === isSpoken) return;
      servers.delete(codeSha256);
      servers.set(codeSha256, { ...known, [era]: isSpoken });
      const [oldest] = servers.keys();
      if (servers.size > SERVERS_MAX && oldest !== undefined) servers.delete(oldest);
    },
  };
}

function otherThan(era: Era): Era {
  return era === 'stateless' ? 'initialize' : 'stateless';
}
