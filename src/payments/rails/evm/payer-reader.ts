import { concatHex, encodeFunctionData, type Hex, hexToBigInt, slice } from 'viem';
import { getCode } from 'viem/actions';
import type { ChainClient } from '../../../chain/index.ts';
import { invariant } from '../../../core/invariant.ts';
import type { Eip3009Form } from '../../form.ts';
import { readPayer } from './standing.ts';
import { tokenAbi } from './token.ts';

/** How a payer and an authorization stand now. */
export type PayerFacts = { isUsed: boolean; balance: bigint; hasCode: boolean };

/** Reads them. Throws when the chain cannot say. */
export type PayerReader = (form: Eip3009Form, signal: AbortSignal) => Promise<PayerFacts>;

/** A node that fails at it this often in a row, and answers plain calls, does not run such programs. */
const FAILURES_MAX = 3;

/**
 * One call instead of three, and all of it of one block: a program that no account holds asks the token twice
 * and looks for code at the payer. A node that does not run such programs is asked by three calls from then on.
 */
export function createPayerReader(client: ChainClient): PayerReader {
  let failures = 0;
  return async (form, signal) => {
    if (failures >= FAILURES_MAX) return readApart(client, form, signal);
    try {
      const facts = await readAtOnce(client, form, signal);
      failures = 0;
      return facts;
    } catch {
      // Whatever it was, three plain calls answer the same or throw the reason.
      const facts = await readApart(client, form, signal);
      failures += 1;
      return facts;
    }
  };
}

async function readAtOnce(client: ChainClient, form: Eip3009Form, signal: AbortSignal): Promise<PayerFacts> {
  const data = toProgram(form);
  const answer = await client.within(signal).request({ method: 'eth_call', params: [{ data }, 'latest'] });
  const [isUsed, balance, codeSize, isAnswered] = [0, 32, 64, 96].map((at) =>
    hexToBigInt(slice(answer, at, at + 32, { strict: true })),
  );
  invariant(isAnswered === 1n && balance !== undefined, 'the token did not answer');
  return { isUsed: isUsed !== 0n, balance, hasCode: codeSize !== 0n };
}

/** Where the two questions begin behind the program, and how long they are. */
const PROGRAM_BYTES = 108;
const STATE_BYTES = 68;
const BALANCE_BYTES = 36;

/** The program and, behind it, what it asks: it copies that to memory, calls, and returns four words. */
function toProgram(form: Eip3009Form): Hex {
  const { asset, from, nonce } = form;
  return concatHex([
    // CODECOPY(0, end of the program, both questions)
    `0x60${byte(STATE_BYTES + BALANCE_BYTES)}60${byte(PROGRAM_BYTES)}600039`,
    // STATICCALL(token, authorizationState) into the first word of the answer
    `0x6020608060${byte(STATE_BYTES)}600073${asset.slice(2)}5afa`,
    // STATICCALL(token, balanceOf) into the second one
    `0x602060a060${byte(BALANCE_BYTES)}60${byte(STATE_BYTES)}73${asset.slice(2)}5afa`,
    // EXTCODESIZE(payer) into the third one
    `0x73${from.slice(2)}3b60c052`,
    // both calls worked and the last one answered a word: the fourth one
    '0x163d6020141660e052',
    // RETURN the four
    '0x60806080f3',
    `0x${STATE_SELECTOR}${from.slice(2).padStart(64, '0')}${nonce.slice(2)}`,
    `0x${BALANCE_SELECTOR}${from.slice(2).padStart(64, '0')}`,
  ]);
}

function byte(value: number): string {
  return value.toString(16).padStart(2, '0');
}

const ZERO_ADDRESS: Hex = `0x${'00'.repeat(20)}`;
const ZERO_WORD: Hex = `0x${'00'.repeat(32)}`;
const STATE_SELECTOR = encodeFunctionData({
  ...{ abi: tokenAbi, functionName: 'authorizationState', args: [ZERO_ADDRESS, ZERO_WORD] },
}).slice(2, 10);
const BALANCE_SELECTOR = encodeFunctionData({
  ...{ abi: tokenAbi, functionName: 'balanceOf', args: [ZERO_ADDRESS] },
}).slice(2, 10);

async function readApart(client: ChainClient, form: Eip3009Form, signal: AbortSignal): Promise<PayerFacts> {
  const [payer, code] = await Promise.all([
    readPayer(client, form, {}, signal),
    getCode(client.within(signal), { address: form.from }),
  ]);
  return { ...payer, hasCode: code !== undefined };
}
