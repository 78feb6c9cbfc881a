import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  Bolt11Invoice,
  Event_PaymentFailed,
  Event_PaymentSent,
  Result_Bolt11InvoiceParseOrSemanticErrorZ_OK,
  Result_C3Tuple_ThirtyTwoBytesRecipientOnionFieldsRouteParametersZNoneZ_OK,
  Retry,
  UtilMethods,
} from 'lightningdevkit';
import { readAddress } from '../../src/payments/rails/lightning/embedded/address.ts';
import { createAgent } from '../../src/payments/rails/lightning/embedded/agent.ts';
import { readBalanceMsat } from '../../src/payments/rails/lightning/embedded/channels.ts';
import { toHex, unwrap } from '../../src/payments/rails/lightning/embedded/ldk.ts';
import { openNode } from '../../src/payments/rails/lightning/embedded/node.ts';
import { createRemoteChain } from '../../src/payments/rails/lightning/embedded/remote-chain.ts';
import { createPayer } from '../../src/payments/rails/lightning/embedded/send.ts';

/** A payer that does what no honest wallet would: pays again, too much, too little, too late. */
export type BadPayer = {
  /** Sends this much to the invoice as a payment of its own. */
  send(invoice: string, amountMsat: bigint): Promise<'paid' | 'refused'>;
  balance(): bigint;
  close(): Promise<void>;
};

/** A node in this process with a channel to the node of `gatewayFolder`. */
export async function startBadPayer(gatewayFolder: string): Promise<BadPayer> {
  const folder = await mkdtemp(join(tmpdir(), 'millicent-payer-'));
  const remote = createRemoteChain(() => readAddress(gatewayFolder));
  const nowSeconds = () => Math.floor(Date.now() / 1000);
  const fail = (cause: unknown) => {
    throw cause;
  };
  const node = await openNode({ folder, chain: remote, nowSeconds, fail });
  const payer = createPayer({ node, clock: { now: () => new Date() } });
  const agent = createAgent({ node, payer, remote, gatewayFolder, token: 'unused' });
  await agent.ready;
  const waiting = new Map<string, (outcome: 'paid' | 'refused') => void>();
  node.onEvent((event) => {
    if (event instanceof Event_PaymentFailed) waiting.get(toHex(event.payment_id))?.('refused');
    if (event instanceof Event_PaymentSent && 'some' in event.payment_id) {
      const { some } = event.payment_id;
      if (some instanceof Uint8Array) waiting.get(toHex(some))?.('paid');
    }
  });
  return {
    send: (text, amountMsat) =>
      new Promise((resolve, reject) => {
        const id = new Uint8Array(randomBytes(32));
        const parsed = Bolt11Invoice.constructor_from_str(text);
        const invoice = unwrap(parsed, Result_Bolt11InvoiceParseOrSemanticErrorZ_OK, 'an invoice');
        const parameters = unwrap(
          UtilMethods.constructor_payment_parameters_from_invoice(invoice),
          Result_C3Tuple_ThirtyTwoBytesRecipientOnionFieldsRouteParametersZNoneZ_OK,
          'the way of a payment',
        );
        const route = parameters.get_c();
        route.set_final_value_msat(amountMsat);
        waiting.set(toHex(id), resolve);
        const once = Retry.constructor_attempts(0);
        const hash = parameters.get_a();
        const sent = node.parts.manager.send_payment(hash, parameters.get_b(), id, route, once);
        if (!sent.is_ok()) reject(new Error('the payment could not be sent'));
        void node.commit();
      }),
    balance: () => readBalanceMsat(node),
    close: async () => {
      agent.close();
      remote.close();
      node.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
