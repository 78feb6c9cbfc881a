import {
  type ChannelDetails,
  Event_FundingGenerationReady,
  Option_u64Z_Some,
  Result_ChannelIdAPIErrorZ_OK,
} from 'lightningdevkit';
import { fromHex, toHex, unwrap } from './ldk.ts';
import type { LightningNode } from './node.ts';

const MSAT_PER_SAT = 1_000n;

/** What is ours in all channels, the reserve included and payments under way not. */
export function readBalanceMsat(node: LightningNode): bigint {
  return node.parts.manager.list_channels().reduce((sum, channel) => {
    const reserve = channel.get_unspendable_punishment_reserve();
    const reserveSats = reserve instanceof Option_u64Z_Some ? reserve.some : 0n;
    return sum + channel.get_outbound_capacity_msat() + reserveSats * MSAT_PER_SAT;
  }, 0n);
}

/** Channels that a payment can take now: their peers are connected. */
export function countUsable(node: LightningNode): number {
  return node.parts.manager.list_usable_channels().length;
}

/** The payment hashes of everything that is on its way to us in a channel. */
export function listInboundHashes(node: LightningNode): Set<string> {
  const htlcs = node.parts.manager.list_channels().flatMap((channel) => channel.get_pending_inbound_htlcs());
  return new Set(htlcs.map((htlc) => toHex(htlc.get_payment_hash())));
}

export function listChannelsWith(node: LightningNode, peerId: string): ChannelDetails[] {
  return node.parts.manager.list_channels_with_counterparty(fromHex(peerId));
}

export type OpenInput = {
  peerId: string;
  sats: bigint;
  /** What the peer owns of it from the start. */
  pushMsat: bigint;
  fund(script: Uint8Array, sats: bigint): Promise<Uint8Array>;
};

/** Proposes a channel and hands over its signed funding; the peer must be connected. */
export function openChannels(node: LightningNode): (input: OpenInput) => void {
  const funders = new Map<string, OpenInput['fund']>();
  node.onEvent((event) => {
    if (!(event instanceof Event_FundingGenerationReady)) return;
    const { temporary_channel_id, counterparty_node_id, output_script, channel_value_satoshis } = event;
    const fund = funders.get(toHex(counterparty_node_id));
    fund?.(output_script, channel_value_satoshis).then((transaction) =>
      node.later(() => {
        node.parts.manager.funding_transaction_generated(
          temporary_channel_id,
          counterparty_node_id,
          transaction,
        );
      }),
    );
  });
  return ({ peerId, sats, pushMsat, fund }) => {
    funders.set(peerId, fund);
    const result = node.parts.manager.create_channel(fromHex(peerId), sats, pushMsat, 1n, null, null);
    unwrap(result, Result_ChannelIdAPIErrorZ_OK, 'a channel');
    void node.commit();
  };
}
