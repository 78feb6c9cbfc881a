import { evm, stripe, tempo } from 'mppx/client';
import { createClient, http } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { tempoModerato } from 'viem/tempo/chains';

/** The wallets of mppx's command line in the tests; its own would ask faucets of the world. */
const { EVM_KEY, TEMPO_KEY, TEMPO_RPC_URL, STRIPE_API_BASE, STRIPE_AGENT_KEY } = process.env;

const tempoAccount = privateKeyToAccount(TEMPO_KEY);
const chain = { ...tempoModerato, rpcUrls: { default: { http: [TEMPO_RPC_URL] } } };

async function createToken({ amount, currency, expiresAt, networkId, paymentMethod }) {
  const response = await fetch(`${STRIPE_API_BASE}/v1/test_helpers/shared_payment/granted_tokens`, {
    method: 'POST',
    headers: { authorization: `Bearer ${STRIPE_AGENT_KEY}` },
    body: new URLSearchParams({
      payment_method: paymentMethod,
      'usage_limits[currency]': currency,
      'usage_limits[max_amount]': amount,
      'usage_limits[expires_at]': String(expiresAt),
      'seller_details[network_id]': networkId,
    }),
  });
  const token = await response.json();
  if (!response.ok) throw new Error(token.error.message);
  return token.id;
}

export default {
  methods: [
    evm.charge({
      account: privateKeyToAccount(EVM_KEY),
      currencies: [evm.assets.baseSepolia.USDC],
      maxAmount: '1',
    }),
    tempo.charge({
      account: tempoAccount,
      getClient: () =>
        createClient({ account: tempoAccount, chain, transport: http(TEMPO_RPC_URL), pollingInterval: 20 }),
    }),
    stripe.charge({ paymentMethod: 'pm_card_visa', createToken }),
  ],
};
