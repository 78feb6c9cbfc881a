import { equalConstantTime, hmacSha256 } from '../core/bytes.ts';
import { addMs } from '../core/clock.ts';
import { uuidFrom } from '../core/ids.ts';
import { Problem } from '../core/problem.ts';
import { withTransaction } from '../db/index.ts';
import { deriveKeyText } from '../keys/index.ts';
import { balanceOf, type IssuedKey } from './account.ts';
import type { GatewayDeps } from './deps.ts';

/** What a payer signs to open its credit, EIP-4361; `nonce` and `issuedAt` come back with the signature. */
export type CreditChallenge = { message: string; nonce: string; issuedAt: Date; expiresAt: Date };

export type CreditClaim = {
  /** CAIP-10, for example `eip155:8453:0xabc...`. */
  payer: string;
  nonce: string;
  issuedAt: Date;
  signature: `0x${string}`;
};

type ChallengeDeps = Pick<GatewayDeps, 'settings' | 'clock' | 'keySecrets'>;

const VALID_MS = 10 * 60 * 1000;
/** How far the clock of the gateway that asked may be ahead of ours. */
const SKEW_MS = 60 * 1000;
const PAYER = /^eip155:([1-9][0-9]{0,17}):(0x[0-9a-f]{40})$/;
const SCOPES = ['example', 'invoke'] as const;

/**
 * The message by which a payer shows that money which reached us without buying anything was its own: a payment
 * that came before its request, or after its call was let go. Nothing is stored.
 */
export function challengeCredit(deps: ChallengeDeps, payer: string): CreditChallenge {
  const [secret] = deps.keySecrets;
  // Whole seconds, as the message spells them.
  const issuedAt = new Date(Math.floor(deps.clock.now().getTime() / 1000) * 1000);
  return spell(deps, payer, { issuedAt, nonce: nonceOf(secret, payer, issuedAt) });
}

/** Opens a payer's credit with a key. The same signature again is given the same key, and spends nothing. */
export async function claimCredit(
  deps: GatewayDeps,
  claim: CreditClaim,
  signal: AbortSignal,
): Promise<IssuedKey> {
  const payer = claim.payer.toLowerCase();
  const secret = deps.keySecrets.find((each) =>
    equalConstantTime(claim.nonce, nonceOf(each, payer, claim.issuedAt)),
  );
  const age = deps.clock.now().getTime() - claim.issuedAt.getTime();
  if (!secret || age > VALID_MS || age < -SKEW_MS)
    throw refuse('The message is not one of ours, or is older than ten minutes.');
  const { message } = spell(deps, payer, claim);
  if (!(await isSigned(deps, { payer, message, signature: claim.signature }, signal))) {
    throw refuse("The signature is not the payer's over this message.");
  }
  const accountId = uuidFrom('payer', payer);
  const balance = await balanceOf(deps, accountId);
  if (balance === 0n) throw new Problem('not-found', { detail: 'There is no credit of this payer here.' });
  const keyText = deriveKeyText(secret, `credit:${payer}:${claim.nonce}`);
  await withTransaction(deps.sql, (tx) =>
    deps.keys.issue(tx, { keyText, accountId, scopes: SCOPES, label: 'credit' }),
  );
  return { keyText, balance, scopes: SCOPES, publisherId: undefined };
}

async function isSigned(
  deps: GatewayDeps,
  input: { payer: string; message: string; signature: `0x${string}` },
  signal: AbortSignal,
): Promise<boolean> {
  for (const rail of deps.rails) {
    const verdict = await rail.isSignedBy?.(input, signal);
    if (verdict !== undefined) return verdict;
  }
  throw refuse('This gateway takes no payments on that network.');
}

function spell(
  deps: Pick<GatewayDeps, 'settings'>,
  payer: string,
  { nonce, issuedAt }: Pick<CreditClaim, 'nonce' | 'issuedAt'>,
): CreditChallenge {
  const [, chainId, address] = PAYER.exec(payer) ?? [];
  if (!chainId || !address) throw refuse('payer is a CAIP-10 account, for example eip155:8453:0xabc...');
  const expiresAt = addMs(issuedAt, VALID_MS);
  const { host, origin } = new URL(deps.settings.publicUrl);
  const message = [
    `${host} wants you to sign in with your Ethereum account:`,
    address,
    '',
    'Open the credit that payments of this account left here.',
    '',
    `URI: ${origin}/v1/credit`,
    'Version: 1',
    `Chain ID: ${chainId}`,
    `Nonce: ${nonce}`,
    `Issued At: ${issuedAt.toISOString()}`,
    `Expiration Time: ${expiresAt.toISOString()}`,
  ].join('\n');
  return { message, nonce, issuedAt, expiresAt };
}

function nonceOf(secret: Buffer, payer: string, issuedAt: Date): string {
  return hmacSha256(secret, 'credit', payer.toLowerCase(), issuedAt.toISOString())
    .toString('hex')
    .slice(0, 32);
}

function refuse(detail: string): Problem {
  return new Problem('malformed-request', { detail, isUncharged: true });
}
