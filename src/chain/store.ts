import { bucketOf, uuidFrom } from '../core/ids.ts';
import { invariant } from '../core/invariant.ts';
import type { Queryable, Sql, Tx } from '../db/index.ts';
import type { chainTransaction } from './schema.ts';

export type Wallet = { chainId: number; address: `0x${string}` };

export type StoredTransaction = Pick<
  typeof chainTransaction.$inferSelect,
  'nonce' | 'ref' | 'hash' | 'raw' | 'state' | 'earlierHashes' | 'blockNumber' | 'blockHash'
> & {
  /** How long ago it was signed, as it is now. */
  waitedMs: number;
};

export type StoredReceipt = {
  state: 'mined' | 'reverted';
  gasUsed: bigint;
  effectiveGasPrice: bigint;
  parentFee: bigint;
  blockNumber: bigint;
  blockHash: string;
};

/**
 * Locks the wallet's row until the transaction ends and answers its next nonce. `chainCount` is the chain's
 * own count: it starts a new row, and it wins when the wallet was used elsewhere meanwhile.
 */
export async function lockNextNonce(tx: Tx, wallet: Wallet, chainCount: number): Promise<bigint> {
  await tx`
    INSERT INTO chain_wallet (chain_id, address, next_nonce)
    VALUES (${wallet.chainId}, ${wallet.address}, ${chainCount})
    ON CONFLICT DO NOTHING`;
  const [row] = await tx<{ nextNonce: bigint }[]>`
    SELECT next_nonce FROM chain_wallet
    WHERE chain_id = ${wallet.chainId} AND address = ${wallet.address}
    FOR UPDATE`;
  invariant(row, 'a wallet row was deleted');
  return row.nextNonce > BigInt(chainCount) ? row.nextNonce : BigInt(chainCount);
}

/** What `lockNextNonce` would answer now; another sender may take it before it is locked. */
export async function readNextNonce(sql: Sql, wallet: Wallet, chainCount: number): Promise<bigint> {
  const [row] = await sql<{ nextNonce: bigint }[]>`
    SELECT next_nonce FROM chain_wallet WHERE chain_id = ${wallet.chainId} AND address = ${wallet.address}`;
  const next = row?.nextNonce ?? 0n;
  return next > BigInt(chainCount) ? next : BigInt(chainCount);
}

/** Stores a signed transaction and moves the wallet past its nonce; the caller holds the wallet's lock. */
export async function insertSigned(
  tx: Tx,
  wallet: Wallet,
  signed: { ref: string; nonce: bigint; hash: string; raw: Buffer },
): Promise<StoredTransaction> {
  await tx`
    INSERT INTO chain_transaction (bucket, chain_id, wallet, nonce, ref, hash, raw, state)
    VALUES (${bucketOfWallet(wallet)}, ${wallet.chainId}, ${wallet.address}, ${signed.nonce}, ${signed.ref},
      ${signed.hash}, ${signed.raw}, 'signed')`;
  await tx`
    UPDATE chain_wallet SET next_nonce = ${signed.nonce + 1n}
    WHERE chain_id = ${wallet.chainId} AND address = ${wallet.address}`;
  const unmined = { state: 'signed', blockNumber: null, blockHash: null } as const;
  return { ...signed, ...unmined, earlierHashes: [], waitedMs: 0 };
}

/**
 * Puts a transaction with higher fees in the place of what was signed before. Undefined when somebody else did
 * so first, or it is over: what the caller signed is then never broadcast.
 */
export async function replaceSigned(
  sql: Sql,
  wallet: Wallet,
  former: StoredTransaction,
  signed: { hash: string; raw: Buffer },
): Promise<StoredTransaction | undefined> {
  const rows = await sql`
    UPDATE chain_transaction SET raw = ${signed.raw}, hash = ${signed.hash},
      earlier_hashes = array_append(earlier_hashes, hash), signed_at = now()
    WHERE bucket = ${bucketOfWallet(wallet)} AND chain_id = ${wallet.chainId} AND wallet = ${wallet.address}
      AND nonce = ${former.nonce} AND hash = ${former.hash} AND state <> 'dropped'
    RETURNING nonce`;
  if (rows.length === 0) return undefined;
  return { ...former, ...signed, earlierHashes: [...former.earlierHashes, former.hash], waitedMs: 0 };
}

/** The transaction of a ref, unless it was dropped: then a new one may take its place. */
export async function findByRef(
  db: Queryable,
  wallet: Wallet,
  ref: string,
): Promise<StoredTransaction | undefined> {
  const [row] = await db<StoredTransaction[]>`
    SELECT nonce, ref, hash, raw, state, earlier_hashes, block_number, block_hash,
      (extract(epoch FROM now() - signed_at) * 1000)::float8 AS waited_ms
    FROM chain_transaction
    WHERE bucket = ${bucketOfWallet(wallet)} AND chain_id = ${wallet.chainId} AND wallet = ${wallet.address}
      AND ref = ${ref} AND state <> 'dropped'`;
  return row;
}

/** Our transaction with a given nonce. */
export async function findByNonce(
  db: Queryable,
  wallet: Wallet,
  nonce: number,
): Promise<StoredTransaction | undefined> {
  const [row] = await db<StoredTransaction[]>`
    SELECT nonce, ref, hash, raw, state, earlier_hashes, block_number, block_hash,
      (extract(epoch FROM now() - signed_at) * 1000)::float8 AS waited_ms
    FROM chain_transaction
    WHERE bucket = ${bucketOfWallet(wallet)} AND chain_id = ${wallet.chainId} AND wallet = ${wallet.address}
      AND nonce = ${nonce} AND state <> 'dropped'`;
  return row;
}

/**
 * What the chain still owes us, lowest nonce first: transactions without a receipt, and those whose nonce
 * the chain does not count (any more): a reorganisation took them out of their block.
 */
export async function listUnfinished(
  sql: Sql,
  wallet: Wallet,
  input: { chainCount: number; rowsMax: number },
): Promise<StoredTransaction[]> {
  return sql<StoredTransaction[]>`
    SELECT nonce, ref, hash, raw, state, earlier_hashes, block_number, block_hash,
      (extract(epoch FROM now() - signed_at) * 1000)::float8 AS waited_ms
    FROM chain_transaction
    WHERE bucket = ${bucketOfWallet(wallet)} AND chain_id = ${wallet.chainId} AND wallet = ${wallet.address}
      AND (state = 'signed' OR (nonce >= ${input.chainCount} AND state <> 'dropped'))
    ORDER BY nonce LIMIT ${input.rowsMax}`;
}

/** Writes down how a transaction ended; the first to do so wins, and the chain tells all the same. */
export async function recordReceipt(
  sql: Sql,
  wallet: Wallet,
  nonce: bigint,
  receipt: StoredReceipt,
): Promise<void> {
  await sql`
    UPDATE chain_transaction SET state = ${receipt.state}, gas_used = ${receipt.gasUsed},
      effective_gas_price = ${receipt.effectiveGasPrice}, parent_fee = ${receipt.parentFee},
      block_number = ${receipt.blockNumber}, block_hash = ${receipt.blockHash}, mined_at = now()
    WHERE bucket = ${bucketOfWallet(wallet)} AND chain_id = ${wallet.chainId} AND wallet = ${wallet.address}
      AND nonce = ${nonce} AND state = 'signed'`;
}

/** How many transactions whose ref begins so cost gas and did nothing, lately. */
export async function countReverted(
  sql: Queryable,
  wallet: Wallet,
  input: { refPrefix: string; withinMs: number },
): Promise<bigint> {
  const [row] = await sql<{ count: bigint }[]>`
    SELECT count(*) AS count FROM chain_transaction
    WHERE bucket = ${bucketOfWallet(wallet)} AND chain_id = ${wallet.chainId} AND wallet = ${wallet.address}
      AND state = 'reverted' AND mined_at > now() - ${input.withinMs} * interval '1 millisecond'
      AND starts_with(ref, ${input.refPrefix})`;
  return row?.count ?? 0n;
}

/** Gives a transaction up, as it was read, whose nonce another one has used for good. */
export async function recordDropped(
  sql: Sql,
  wallet: Wallet,
  { nonce, hash, state, blockHash }: StoredTransaction,
): Promise<void> {
  await sql`
    UPDATE chain_transaction SET state = 'dropped', gas_used = NULL, effective_gas_price = NULL, parent_fee = NULL,
      block_number = NULL, block_hash = NULL, mined_at = NULL
    WHERE bucket = ${bucketOfWallet(wallet)} AND chain_id = ${wallet.chainId} AND wallet = ${wallet.address}
      AND nonce = ${nonce} AND hash = ${hash} AND state = ${state} AND block_hash IS NOT DISTINCT FROM ${blockHash}`;
}

function bucketOfWallet(wallet: Wallet): number {
  return bucketOf(uuidFrom('chain-wallet', String(wallet.chainId), wallet.address));
}
