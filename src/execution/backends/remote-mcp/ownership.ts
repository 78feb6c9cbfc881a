import type { Dispatcher } from 'undici';
import { deriveKey, equalConstantTime, hmacSha256 } from '../../../core/bytes.ts';
import { invariant } from '../../../core/invariant.ts';
import type { Resolve } from './connector.ts';
import { type AddressPolicy, readEndpoint } from './endpoint-address.ts';
import { explainFailure } from './explain.ts';
import { createLeash, type Leash } from './leash.ts';
import { createPools } from './pools.ts';
import { send } from './send.ts';

/** What the origin of an endpoint is to serve: `body` as text at `url`. */
export type Challenge = { url: string; body: string };

export type Proof = { kind: 'proven' } | { kind: 'unproven'; detail: string };

/** Proves that whoever registers an endpoint can decide what its origin answers. Nothing is stored. */
export type Ownership = {
  challengeFor(publisherId: string, endpointUrl: string): Challenge;
  prove(input: { publisherId: string; endpointUrl: string }, signal: AbortSignal): Promise<Proof>;
  close(): Promise<void>;
};

export type OwnershipDeps = AddressPolicy & {
  /** The deployment's master secrets: what an earlier one asked for still proves. */
  secrets: readonly Uint8Array[];
  resolve?: Resolve;
  ca?: string;
};

const PATH = '/.well-known/millicent-challenge/';
const BODY_BYTES_MAX = 4 * 1024;
const TIMEOUT_MS = 5_000;
const CONNECT_TIMEOUT_MS = 3_000;
const CONNECTIONS_MAX = 4;
const ORIGINS_MAX = 64;

export function createOwnership(deps: OwnershipDeps): Ownership {
  const keys = deps.secrets.map((secret) => deriveKey(secret, 'endpoint-ownership'));
  const pools = createPools({
    ...deps,
    ...{ connectionsMax: CONNECTIONS_MAX, originsMax: ORIGINS_MAX, connectTimeoutMs: CONNECT_TIMEOUT_MS },
    ...{ resolve: deps.resolve, ca: deps.ca },
  });
  const fetchText = async (origin: string, path: string, signal: AbortSignal) => {
    const leash = createLeash(signal, TIMEOUT_MS);
    try {
      return await getText(pools.of(origin), path, leash);
    } finally {
      leash.release();
    }
  };
  return {
    challengeFor(publisherId, endpointUrl) {
      const [key] = keys;
      invariant(key !== undefined, 'challenges need a master secret');
      return toChallenge(key, publisherId, new URL(endpointUrl).origin);
    },
    async prove({ publisherId, endpointUrl }, signal) {
      const reading = readEndpoint(endpointUrl, deps);
      if (reading.kind === 'refused') return { kind: 'unproven', detail: reading.detail };
      const { origin } = reading.url;
      let detail = '';
      for (const key of keys) {
        const { url, body } = toChallenge(key, publisherId, origin);
        const answer = await fetchText(origin, new URL(url).pathname, signal);
        if (answer.kind === 'text' && equalConstantTime(answer.text.trim(), body)) return { kind: 'proven' };
        detail ||= answer.kind === 'text' ? `${url} answers with another text.` : `${url}: ${answer.detail}`;
      }
      return { kind: 'unproven', detail };
    },
    close: () => pools.close(),
  };
}

/** Path and text come from different HMACs: a server that echoes what it is asked for proves nothing. */
function toChallenge(key: Buffer, publisherId: string, origin: string): Challenge {
  const derive = (what: string) => hmacSha256(key, [what, publisherId, origin].join('\0')).toString('hex');
  return {
    url: `${origin}${PATH}${derive('path').slice(0, 32)}`,
    body: `millicent-challenge=${derive('body')}`,
  };
}

type Text = { kind: 'text'; text: string } | { kind: 'failed'; detail: string };

function getText(pool: Dispatcher, path: string, leash: Leash): Promise<Text> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let refusal: string | undefined;
    const budget = { bytesMax: BODY_BYTES_MAX, received: 0, decoded: 0 };
    const headers = { 'accept-encoding': 'identity', 'user-agent': 'millicent' };
    const stop = send(pool, { method: 'GET', path, headers }, budget, {
      onHead({ status }) {
        if (status !== 200) refusal = `answers HTTP ${status}, and not 200 (redirects are not followed).`;
      },
      onData: (chunk) => chunks.push(chunk),
      onEnd() {
        resolve(
          refusal === undefined ? { kind: 'text', text: Buffer.concat(chunks).toString() } : fail(refusal),
        );
      },
      onFailure: (failure) => resolve(fail(refusal ?? explainFailure(failure, BODY_BYTES_MAX).detail)),
    });
    leash.onEnd(({ detail }) => {
      stop();
      resolve(fail(detail));
    });
  });
}

function fail(detail: string): Text {
  return { kind: 'failed', detail };
}
