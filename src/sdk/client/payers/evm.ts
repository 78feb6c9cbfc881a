import { x402Client, x402HTTPClient } from '@x402/core/client';
import { decodePaymentRequiredHeader } from '@x402/core/http';
import { PaymentRequiredV2Schema } from '@x402/core/schemas';
import type { PaymentRequired, PaymentRequirements } from '@x402/core/types';
import { ExactEvmScheme } from '@x402/evm/exact/client';
import { byAmount, type Payable, type Payer, toMillicentsRoundedUp } from '../payer.ts';

/** Signs typed data; every local account of viem does. */
export type EvmAccount = ConstructorParameters<typeof ExactEvmScheme>[0];

/** A token that is worth a dollar a piece. */
export type DollarToken = {
  /** CAIP-2, for example `eip155:8453`. */
  network: `${string}:${string}`;
  address: `0x${string}`;
  decimals: number;
};

export type EvmPayerOptions = {
  account: EvmAccount;
  /** Nothing else is ever signed for. */
  tokens: readonly DollarToken[];
  /** How long a signed authorization may stay valid at most. */
  validSecondsMax?: number;
};

const VALID_SECONDS_MAX = 3_600;

/** Pays by x402 version 2, scheme `exact`, with EIP-3009 authorizations: it signs, the server moves the money. */
export function evmPayer({ account, tokens, validSecondsMax = VALID_SECONDS_MAX }: EvmPayerOptions): Payer {
  return {
    rail: 'evm',
    async list({ headers }) {
      const required = readRequired(headers.get('payment-required'));
      if (!required) return [];
      return required.accepts
        .flatMap((accepted) => {
          const token = tokens.find((candidate) => isFor(accepted, candidate));
          const isSignable = token && isEip3009(accepted) && accepted.maxTimeoutSeconds <= validSecondsMax;
          return isSignable ? [toPayable(account, required, accepted, token)] : [];
        })
        .sort(byAmount);
    },
  };
}

function readRequired(header: string | null): PaymentRequired | undefined {
  if (header === null) return undefined;
  try {
    const required = decodePaymentRequiredHeader(header);
    return PaymentRequiredV2Schema.safeParse(required).success ? required : undefined;
  } catch {
    // Not base64 or not JSON: another way to pay may still be readable.
    return undefined;
  }
}

function isFor(accepted: PaymentRequirements, token: DollarToken): boolean {
  return accepted.network === token.network && accepted.asset.toLowerCase() === token.address.toLowerCase();
}

function isEip3009(accepted: PaymentRequirements): boolean {
  const method = accepted.extra?.assetTransferMethod ?? 'eip3009';
  return accepted.scheme === 'exact' && method === 'eip3009' && /^[0-9]{1,40}$/.test(accepted.amount);
}

function toPayable(
  account: EvmAccount,
  required: PaymentRequired,
  accepted: PaymentRequirements,
  token: DollarToken,
): Payable {
  const units = BigInt(accepted.amount);
  return {
    rail: 'evm',
    units,
    unit: `${token.network}/erc20:${token.address.toLowerCase()}`,
    mcents: toMillicentsRoundedUp(units, token.decimals),
    reference: undefined,
    movesMoney: false,
    async pay() {
      // Its own controls know default tokens only; the amount has been judged by ours.
      const client = new x402Client()
        .register(token.network, new ExactEvmScheme(account))
        .setSpendControls(false);
      const payload = await client.createPaymentPayload({ ...required, accepts: [accepted] });
      const [header] = Object.entries(new x402HTTPClient(client).encodePaymentSignatureHeader(payload));
      if (!header) throw new Error('the x402 client made no header');
      return { name: header[0], value: header[1] };
    },
  };
}
