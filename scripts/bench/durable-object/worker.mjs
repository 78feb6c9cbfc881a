import { DurableObject } from 'cloudflare:workers';

const PRICE_MCENTS = 100;
const BEARER = /^Bearer (\S+)$/;

/** Every key's balance in the one object's SQLite; its answers wait until what they say is stored. */
export class Ledger extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.sql = ctx.storage.sql;
    this.sql.exec(`CREATE TABLE IF NOT EXISTS account (
      key_hash TEXT PRIMARY KEY, balance INTEGER NOT NULL, charges INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID`);
  }

  mint(keyHash, balance) {
    this.sql.exec('INSERT INTO account (key_hash, balance) VALUES (?, ?)', keyHash, balance);
  }

  /** What is left; undefined when nothing was taken. One statement is one transaction. */
  debit(keyHash, amount) {
    const rows = this.sql.exec(
      `UPDATE account SET balance = balance - ?1, charges = charges + 1
      WHERE key_hash = ?2 AND balance >= ?1 RETURNING balance`,
      ...[amount, keyHash],
    );
    return rows.toArray()[0]?.balance;
  }

  books() {
    const sums =
      'SELECT coalesce(sum(charges), 0) AS charges, coalesce(sum(balance), 0) AS balance FROM account';
    return this.sql.exec(sums).one();
  }
}

export default {
  async fetch(request, env) {
    const ledger = env.LEDGER.getByName('ledger');
    const { pathname } = new URL(request.url);
    if (pathname === '/v1/example') return answerExample(request, ledger);
    // What follows is the bench's own: no caller of a template may mint.
    if (pathname === '/books') return Response.json(await ledger.books());
    if (pathname !== '/mint') return Response.json({ ok: false }, { status: 404 });
    const { key, balance } = await request.json();
    await ledger.mint(await hashKey(key), balance);
    return Response.json({ ok: true });
  },
};

async function answerExample(request, ledger) {
  const key = BEARER.exec(request.headers.get('authorization') ?? '')?.[1];
  if (key === undefined) return Response.json({ ok: false }, { status: 401 });
  const balance = await ledger.debit(await hashKey(key), PRICE_MCENTS);
  if (balance === undefined) return Response.json({ ok: false }, { status: 402 });
  return Response.json({
    ok: true,
    message: 'Hello agent: this call was paid for and delivered.',
    charged_mcents: PRICE_MCENTS,
    receipt_id: crypto.randomUUID(),
    balance_mcents: balance,
  });
}

async function hashKey(key) {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(key)));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
