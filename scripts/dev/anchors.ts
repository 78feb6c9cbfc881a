import { type Hex, numberToHex, parseEther } from 'viem';
import { generatePrivateKey, privateKeyToAddress } from 'viem/accounts';
import { deployVersionAnchor } from '../anchor/deploy.ts';
import type { Anvil } from './anvil.ts';

/** Where the roots of a development's logs are anchored. */
export type DevAnchors = {
  origin: string;
  chainId: number;
  rpcUrl: string;
  /** The contracts of the two logs. */
  versions: Hex;
  receipts: Hex;
  /** What makes a gateway use them. */
  environment: Record<string, string>;
};

/** A development's logs keep their name whatever port it listens on. */
const ORIGIN = 'millicent.localhost';
const EVERY_SECONDS = 1;

/** Puts a contract for each log on the development chain, with a wallet of its own to anchor from. */
export async function deployAnchors(anvil: Anvil, origin = ORIGIN): Promise<DevAnchors> {
  const { rpcUrl, chainId } = anvil;
  const [deployerKey, walletKey] = [generatePrivateKey(), generatePrivateKey()];
  const [deployer, anchorer] = [privateKeyToAddress(deployerKey), privateKeyToAddress(walletKey)];
  for (const address of [deployer, anchorer])
    await anvil.rpc('anvil_setBalance', [address, numberToHex(parseEther('100'))]);
  const deploy = (name: string) =>
    deployVersionAnchor({ ...{ rpcUrl, deployerKey, anchorer }, origin: name, owner: deployer });
  const { address: versions } = await deploy(origin);
  const { address: receipts } = await deploy(`${origin}/receipts`);
  return {
    ...{ origin, chainId, rpcUrl, versions, receipts },
    environment: {
      LOG_ORIGIN: origin,
      ANCHORS: JSON.stringify([{ chainId, rpcUrl, versions, receipts, walletKey }]),
      ANCHOR_EVERY_SECONDS: String(EVERY_SECONDS),
    },
  };
}
