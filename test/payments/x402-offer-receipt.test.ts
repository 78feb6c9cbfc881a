import { decodePaymentResponseHeader } from '@x402/core/http';
import {
  extractReceiptFromResponse,
  extractReceiptPayload,
  isJWSSignedReceipt,
  type SignedReceipt,
  verifyReceiptSignatureJWS,
} from '@x402/extensions/offer-receipt';
import { describe, expect, it } from 'vitest';
import { silentLog } from '../../src/core/log.ts';
import type { Form } from '../../src/payments/form.ts';
import type { PaymentReceiptInput } from '../../src/payments/wire.ts';
import { createX402Wire } from '../../src/payments/wires/x402/index.ts';
import { createReceiptSigner, newReceiptKeyPem } from '../../src/provenance/index.ts';
import { verifyReceipt } from '../../src/provenance/receipts/verify.ts';

const signer = createReceiptSigner({
  issuer: 'https://market.example:8443/base',
  privateKey: newReceiptKeyPem(),
  retiredPublicKeys: [newReceiptKeyPem()],
});
const networks = [{ chainId: 84532, token: `0x${'22'.repeat(20)}` as const }];
const wire = createX402Wire({ log: silentLog, networks, signStatement: signer.signStatement });

const form: Form = {
  kind: 'eip3009',
  network: 'eip155:84532',
  asset: `0x${'22'.repeat(20)}`,
  from: `0x${'11'.repeat(20)}`,
  to: `0x${'33'.repeat(20)}`,
  value: 2_500n,
  validAfter: 0n,
  validBefore: 2_000_000_000n,
  nonce: `0x${'44'.repeat(32)}`,
  signature: `0x${'55'.repeat(65)}`,
};
const paid: PaymentReceiptInput = {
  ...{ form, payer: `eip155:84532:${form.from}`, rail: 'evm', reference: `0x${'ab'.repeat(32)}` },
  ...{
    settledAt: new Date('2026-01-02T03:04:05.678Z'),
    resourceUrl: 'https://market.example/invoke/acme%2Fx',
  },
};
const paidByV1 = { header: (name: string) => (name === 'x-payment' ? 'anything' : undefined) };

const [jwk] = signer.jwks().keys;

function receiptOf(headers: [name: string, value: string][]): SignedReceipt {
  const receipt = extractReceiptFromResponse(new Response(null, { headers }));
  if (!receipt) throw new Error(`no receipt in ${JSON.stringify(headers)}`);
  return receipt;
}

describe('the offer-receipt extension of x402', () => {
  it.each([
    ['version 2', undefined],
    ['version 1', paidByV1],
  ])('gives a receipt that the stock library reads and verifies, by %s', async (_, carried) => {
    const receipt = receiptOf(wire.receipt({ ...paid, carried }));
    expect(isJWSSignedReceipt(receipt)).toBe(true);
    // The specification's fields, and no payload beside the JWS (section 3.1.1).
    expect(Object.keys(receipt).sort()).toEqual(['format', 'signature']);
    const expected = {
      ...{ version: 1, network: 'eip155:84532', resourceUrl: paid.resourceUrl, payer: form.from },
      issuedAt: Math.floor(paid.settledAt.getTime() / 1000),
    };
    expect(extractReceiptPayload(receipt)).toEqual(expected);
    if (!isJWSSignedReceipt(receipt) || !jwk) throw new Error('not a JWS');
    expect(await verifyReceiptSignatureJWS(receipt, jwk)).toEqual(expected);
    const [head, payload, signature] = receipt.signature.split('.');
    const other = Buffer.from(JSON.stringify({ ...expected, payer: paid.reference })).toString('base64url');
    const forged = { ...receipt, signature: `${head}.${other}.${signature}` };
    expect(payload).not.toBe(other);
    await expect(verifyReceiptSignatureJWS(forged, jwk)).rejects.toThrow();
  });

  it('names its key by a DID URL of the address, under which the document has it and the retired ones', () => {
    const receipt = receiptOf(wire.receipt(paid));
    const [head = ''] = String(receipt.signature).split('.');
    const did = 'did:web:market.example%3A8443:base';
    expect(JSON.parse(Buffer.from(head, 'base64url').toString())).toEqual({
      alg: 'EdDSA',
      kid: `${did}#${signer.kid}`,
    });
    const { keys } = signer.jwks();
    expect(keys).toHaveLength(2);
    expect(signer.didDocument()).toMatchObject({
      id: did,
      verificationMethod: keys.map(({ kid, x }) => ({
        ...{ id: `${did}#${kid}`, controller: did, type: 'JsonWebKey2020' },
        publicKeyJwk: { kty: 'OKP', crv: 'Ed25519', x },
      })),
      assertionMethod: [`${did}#${signer.kid}`],
    });
  });

  it('is the same each time the same answer is given', () => {
    expect(wire.receipt(paid)).toEqual(wire.receipt(paid));
  });

  it('passes for no receipt of ours', async () => {
    const receipt = receiptOf(wire.receipt(paid));
    expect((await verifyReceipt(String(receipt.signature), signer.jwks())).kind).toBe('invalid');
  });

  it('is left out where nobody signs or it is not known what was bought; the rest is as ever', () => {
    const bare = createX402Wire({ log: silentLog, networks });
    const { resourceUrl: _, ...before } = paid;
    for (const headers of [bare.receipt(paid), wire.receipt(before)]) {
      const [[name, value] = ['', '']] = headers;
      expect(name).toBe('PAYMENT-RESPONSE');
      expect(decodePaymentResponseHeader(value)).toEqual({
        ...{ success: true, transaction: paid.reference, network: 'eip155:84532' },
        ...{ payer: form.from, amount: '2500' },
      });
    }
  });

  it('keeps the headers of an answer small', () => {
    const resourceUrl = `https://gateway.example/invoke/${'n'.repeat(200)}`;
    const [[, value] = ['', '']] = wire.receipt({ ...paid, resourceUrl });
    expect(value.length).toBeLessThan(2_400);
  });
});
