import type { Log } from '../../src/core/log.ts';
import { type Anvil, startAnvil } from './anvil.ts';
import { type Lightning, startLightning } from './lightning.ts';
import { type StripeServer, startStripe } from './stripe.ts';
import { startTempo, type Tempo } from './tempo.ts';

/** Everything money moves on, as far as one machine can have it: two chains, Lightning, and a Stripe. */
export type Rails = {
  anvil: Anvil;
  tempo: Tempo;
  lightning: Lightning;
  stripe: StripeServer;
  /** What makes a gateway use them. */
  environment: Record<string, string>;
  close(): Promise<void>;
};

export type RailsOptions = {
  log: Log;
  /** Where the Lightning nodes keep their channels. */
  dataDir: string;
  /** A block at least this often; only with transactions when left out. */
  blockTimeSeconds?: number;
};

/** What a bitcoin is worth where nobody trades it: a satoshi is a tenth of a cent. */
const DOLLARS_PER_BITCOIN = 100_000;

/** Starts them side by side; they end with this process, however that ends. */
export async function startRails(options: RailsOptions): Promise<Rails> {
  const { log, dataDir, blockTimeSeconds } = options;
  const chain = { log, ...(blockTimeSeconds === undefined ? {} : { blockTimeSeconds }) };
  const starting = [
    startAnvil(chain),
    startTempo(chain),
    startLightning({ dataDir, log }),
    startStripe(),
  ] as const;
  try {
    const [anvil, tempo, lightning, stripe] = await Promise.all(starting);
    const parts = { anvil, tempo, lightning, stripe };
    return { ...parts, environment: toEnvironment(parts), close: () => closeAll(starting) };
  } catch (cause) {
    await closeAll(starting);
    throw cause;
  }
}

/** What makes a gateway use one of them, for whoever starts only some. */
export const railEnvironment = {
  evm: (anvil: Anvil) => ({
    EVM_RPC_URL: anvil.rpcUrl,
    EVM_CHAIN_ID: String(anvil.chainId),
    EVM_TOKEN: anvil.token,
    EVM_TOKEN_NAME: anvil.tokenName,
    EVM_TOKEN_VERSION: anvil.tokenVersion,
    EVM_PAY_TO: anvil.payTo,
    EVM_WALLET_KEY: anvil.gatewayWalletKey,
  }),
  tempo: (tempo: Tempo) => ({
    TEMPO_RPC_URL: tempo.rpcUrl,
    TEMPO_CHAIN_ID: String(tempo.chainId),
    TEMPO_CURRENCY: tempo.currency,
    TEMPO_RECIPIENT: tempo.recipient,
  }),
  lightning: ({ provider }: Pick<Lightning, 'provider'>) => ({
    LIGHTNING_PROVIDER: 'embedded',
    LIGHTNING_EMBEDDED_URL: provider.url,
    LIGHTNING_EMBEDDED_TOKEN: provider.token,
    LIGHTNING_RATE: `fixed:${DOLLARS_PER_BITCOIN}`,
  }),
  stripe: (stripe: StripeServer) => ({
    STRIPE_SECRET_KEY: stripe.secretKey,
    STRIPE_NETWORK_ID: stripe.networkId,
    STRIPE_WEBHOOK_SECRETS: stripe.webhookSecret,
    STRIPE_API_BASE: stripe.apiBase,
  }),
};

function toEnvironment(
  rails: Pick<Rails, 'anvil' | 'tempo' | 'lightning' | 'stripe'>,
): Record<string, string> {
  return {
    ...railEnvironment.evm(rails.anvil),
    ...railEnvironment.tempo(rails.tempo),
    ...railEnvironment.lightning(rails.lightning),
    ...railEnvironment.stripe(rails.stripe),
  };
}

/** Also those that come up after another one failed. */
async function closeAll(starting: readonly Promise<{ close(): Promise<void> }>[]): Promise<void> {
  const started = await Promise.allSettled(starting);
  await Promise.all(started.map((each) => (each.status === 'fulfilled' ? each.value.close() : undefined)));
}
