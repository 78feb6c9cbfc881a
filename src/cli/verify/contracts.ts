import { type CommandInput, textsOf, UsageError } from '../command.ts';

export type GivenContract = { chainId: number; address: string };

/** `--contract <chain id>:<address>`, as often as it was given; undefined when it was not. */
export function readContracts(input: Pick<CommandInput, 'values'>): GivenContract[] | undefined {
  const given = textsOf(input, 'contract').map((text) => {
    const [, chainId, address] = /^([1-9][0-9]{0,14}):(0x[0-9a-fA-F]{40})$/.exec(text) ?? [];
    if (chainId === undefined || address === undefined) {
      throw new UsageError(`--contract "${text}" is not <chain id>:<address>`);
    }
    return { chainId: Number(chainId), address: address.toLowerCase() };
  });
  return given.length === 0 ? undefined : given;
}
