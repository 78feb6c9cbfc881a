import { createClient, type Hex, http } from 'viem';
import { mnemonicToAccount } from 'viem/accounts';
import { Actions } from 'viem/tempo';
import { tempoModerato } from 'viem/tempo/chains';
import type { Tempo } from '../../../harness/tempo.ts';

const ISSUER = mnemonicToAccount('test test test test test test test test test test test junk');

/** A further TIP-20 dollar, of which somebody holds some. */
export async function createToken(tempo: Tempo, given: { holder: Hex; units: bigint }): Promise<Hex> {
  const client = issuerOf(tempo);
  const { token } = await Actions.token.createSync(client, { name: 'Other', symbol: 'OTH', currency: 'USD' });
  for (const role of ['issuer', 'pause'] as const) {
    await Actions.token.grantRolesSync(client, { token, roles: [role], to: ISSUER.address });
  }
  await Actions.token.mintSync(client, { token, to: given.holder, amount: given.units });
  return token;
}

export async function pauseToken(tempo: Tempo, token: Hex): Promise<void> {
  await Actions.token.pauseSync(issuerOf(tempo), { token });
}

function issuerOf(tempo: Tempo) {
  const chain = { ...tempoModerato, rpcUrls: { default: { http: [tempo.rpcUrl] as const } } };
  return createClient({
    account: ISSUER,
    chain,
    transport: http(tempo.rpcUrl),
    pollingInterval: 20,
    cacheTime: 0,
  });
}
