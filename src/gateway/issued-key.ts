import { deriveKeyText } from '../keys/index.ts';
import type { Claim } from '../payments/index.ts';
import type { GatewayDeps } from './deps.ts';

/** What a payment opened: a key it bought, or the credit of one that bought nothing. */
export type IssuedFor = 'signup' | 'refund';

/** The key to issue for a claim. It is derived and never stored, so a retry can be given it again. */
export function deriveIssuedKey(
  deps: Pick<GatewayDeps, 'keySecrets'>,
  claim: Claim,
  what: IssuedFor,
): string {
  const [current] = deps.keySecrets;
  return deriveKeyText(current, `${what}:${claim.claimKey}`);
}

/** The key that was issued for a claim, under whichever secret that was; undefined once it is not valid. */
export async function findIssuedKey(
  deps: Pick<GatewayDeps, 'keySecrets' | 'keys'>,
  claim: Claim,
  what: IssuedFor,
): Promise<string | undefined> {
  for (const secret of deps.keySecrets) {
    const text = deriveKeyText(secret, `${what}:${claim.claimKey}`);
    if (await deps.keys.resolve(text)) return text;
  }
  return undefined;
}
