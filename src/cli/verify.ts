import { z } from 'zod';
import {
  BUNDLE_FORMAT,
  type ReceiptTrust,
  RefutedError,
  type Trust,
  tellReason,
  verifyBundle,
  verifyIssuedReceipt,
} from '../provenance/index.ts';
import { type Command, type CommandInput, textOf, UsageError } from './command.ts';
import { checkChain } from './verify/chain.ts';
import { readContracts } from './verify/contracts.ts';
import { createRpc, downloadJson } from './verify/http.ts';
import { readBlockHashes, readVkeys, readWitnesses } from './verify/keys.ts';
import { type Conclusion, report } from './verify/report.ts';
import { fetchVkeys, hashCode, readJsonFile, readSubject, type Subject } from './verify/subject.ts';

const several = { type: 'string', multiple: true } as const;
const one = { type: 'string' } as const;
const flag = { type: 'boolean', default: false } as const;
const JWKS_BYTES_MAX = 1024 * 1024;

export const verifyCommand: Command = {
  options: {
    ...{ code: one, rpc: one, jwks: one, vkey: several, witness: several, contract: several },
    ...{ 'block-hash': several, offline: flag, json: flag },
  },
  optionTexts: [
    ['--code <archive|folder>', 'the code at hand, which must be the code that was published'],
    ['--vkey <vkey>', "the log's key from elsewhere; may be given several times"],
    ['--witness <vkey>', 'a witness that must have cosigned; may be given several times'],
    ['--contract <chain>:<address>', 'the contract the log is anchored in; may be given several times'],
    ['--block-hash <hash>', 'a block known to be part of the chain; may be given several times'],
    ['--rpc <url>', 'a node of the chain, which is asked whether it says the same'],
    ['--jwks <file>', 'for a receipt: the keys of who issued it; the gateway is asked when left out'],
    ['--offline', 'ask nobody'],
    ['--json', 'the verdict as JSON'],
  ],
  async run(input) {
    const isOffline = input.values.offline === true;
    if (isOffline && textOf(input, 'rpc') !== undefined)
      throw new UsageError('--offline and --rpc exclude each other.');
    const subject = await readSubject(input, isOffline);
    return report(await verify(input, subject, isOffline), {
      isJson: input.values.json === true,
      print: input.print,
    });
  },
};

const kindSchema = z.union([
  z.looseObject({ format: z.string() }).transform(() => 'bundle' as const),
  z.looseObject({ jws: z.string() }).transform(() => 'receipt' as const),
]);

async function verify(
  input: CommandInput,
  subject: Subject | undefined,
  isOffline: boolean,
): Promise<Conclusion> {
  if (!subject) return { kind: 'invalid', reason: 'the file is not JSON, or longer than any bundle' };
  const kind = kindSchema.safeParse(subject.document);
  if (!kind.success) {
    return {
      kind: 'invalid',
      reason: `it is neither a bundle (${BUNDLE_FORMAT}) nor what GET /receipts/{id} answers`,
    };
  }
  const asked = subject.version ? 'bundle' : subject.receiptId && 'receipt';
  if (asked && kind.data !== asked) {
    return {
      kind: 'invalid',
      reason: `the gateway was asked for a ${asked}, and answered with a ${kind.data}`,
    };
  }
  refuseIdle(input, kind.data);
  return kind.data === 'bundle' ? verifyBundleOf(input, subject) : verifyReceiptOf(input, subject, isOffline);
}

/** What would be asked for in vain: who pins a witness is not told VERIFIED without it. */
const IDLE = {
  bundle: ['jwks'],
  receipt: ['code', 'rpc', 'witness', 'contract', 'block-hash'],
} as const;

function refuseIdle({ values }: CommandInput, kind: keyof typeof IDLE): void {
  const idle = IDLE[kind].find((name) => values[name] !== undefined);
  if (idle !== undefined) throw new UsageError(`--${idle} checks nothing of a ${kind}.`);
}

async function verifyBundleOf(input: CommandInput, subject: Subject): Promise<Conclusion> {
  const verdict = verifyBundle(subject.document, await readTrust(input, subject));
  if (verdict.kind === 'invalid') return verdict;
  const { bundle, leaf, checked, trusted, notChecked } = verdict;
  const findings = { checked, trusted, notChecked };
  const rpcUrl = textOf(input, 'rpc');
  if (rpcUrl !== undefined) {
    const reason = await refusalOf(() => checkChain(bundle, createRpc(rpcUrl, input.signal), findings));
    if (reason !== undefined) return { kind: 'invalid', reason };
  }
  const subjectText = leaf.kind === 'publish' ? `${leaf.tool} ${leaf.version}` : `a ${leaf.kind} leaf`;
  return {
    kind: 'valid',
    what: `${subjectText}: leaf ${bundle.leafIndex} of ${bundle.log.origin}`,
    ...findings,
  };
}

/** The reason for which the chain does not bear a bundle out; that it cannot be asked is thrown on. */
async function refusalOf(run: () => Promise<void>): Promise<string | undefined> {
  try {
    await run();
    return undefined;
  } catch (cause) {
    if (cause instanceof RefutedError) return tellReason(cause);
    throw cause;
  }
}

async function readTrust(input: CommandInput, { version }: Subject): Promise<Trust> {
  const code = textOf(input, 'code');
  const witnesses = readWitnesses(input, 'witness').map(({ vkey }) => vkey);
  const vkeys = readVkeys(input, 'vkey');
  const blockHashes = readBlockHashes(input);
  const asked = version && !vkeys ? await fetchVkeys(input, '/log') : undefined;
  return {
    ...{
      vkeys: vkeys ?? asked,
      vkeysFrom: asked && `which ${input.url} served`,
      witnesses,
      blockHashes,
      version,
    },
    contracts: readContracts(input),
    codeSha256: code === undefined ? undefined : await hashCode(code),
    now: new Date(),
  };
}

const jwksSchema = z.looseObject({ keys: z.array(z.looseObject({ kty: z.string() })).max(1_000) });

async function verifyReceiptOf(
  input: CommandInput,
  { document, receiptId }: Subject,
  isOffline: boolean,
): Promise<Conclusion> {
  const verdict = await verifyIssuedReceipt(document, await readReceiptTrust(input, isOffline));
  if (verdict.kind === 'invalid') return verdict;
  const { receipt, checked, trusted, notChecked } = verdict;
  if (receiptId !== undefined && receipt.jti !== receiptId) {
    return { kind: 'invalid', reason: `the gateway answered with another receipt, ${receipt.jti}` };
  }
  return { kind: 'valid', what: `receipt ${receipt.jti} of ${receipt.iss}`, checked, trusted, notChecked };
}

async function readReceiptTrust(input: CommandInput, isOffline: boolean): Promise<ReceiptTrust> {
  const [jwksPath, given] = [textOf(input, 'jwks'), readVkeys(input, 'vkey')];
  if (isOffline && jwksPath === undefined) {
    throw new UsageError(
      '--offline needs --jwks, the keys of who issued the receipt (/.well-known/jwks.json).',
    );
  }
  const served = `which ${input.url} served`;
  const jwksUrl = `${input.url}/.well-known/jwks.json`;
  const keys =
    jwksPath === undefined
      ? await downloadJson(jwksUrl, { bytesMax: JWKS_BYTES_MAX, signal: input.signal })
      : await readJsonFile(jwksPath);
  const jwks = jwksSchema.safeParse(keys);
  if (!jwks.success) throw new UsageError(`${jwksPath ?? jwksUrl} is not a set of keys (RFC 7517).`);
  const isAsked = given === undefined && !isOffline;
  return {
    ...{ jwks: jwks.data, jwksFrom: jwksPath === undefined ? served : undefined, now: new Date() },
    vkeys: isAsked ? await fetchVkeys(input, '/log/receipts') : given,
    vkeysFrom: isAsked ? served : undefined,
  };
}
