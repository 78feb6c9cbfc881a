import { type Uuid, uuidFrom } from '../../../src/core/ids.ts';
import type { Ending } from '../../e2e/rail-faults/storm/audit.ts';
import type { TestGateway } from '../../harness/gateway.ts';
import type { Storm } from '../storm.ts';
import { isCredited } from './rails.ts';
import { tell, type Violation } from './violation.ts';

/** How often each payer asks for its credit with one signature, all at once and of all gateways. */
const ASKED = 4;
const PATIENCE_MS = 20_000;

/** What should be on an account, and what the ledger has there, in millicents. */
type Credit = { account: Uuid; expected: bigint; balance: bigint };

/**
 * Money that bought nothing is on its payer's account once, however often and wherever it was asked back: by the
 * payment itself while the storm went on, and now by the payer's signature.
 */
export async function auditCredit(
  storm: Storm,
  { auditor, endings }: { auditor: TestGateway; endings: readonly Ending[] },
): Promise<Violation[]> {
  const expected = await addUp(storm, { auditor, endings });
  const before = await readCredits(storm, expected);
  const opened = await openCredits(storm, { auditor, expected });
  const after = await readCredits(storm, expected);
  const spell = ({ account, ...credit }: Credit) =>
    `${account}: ${credit.balance}, and ${credit.expected} was paid for nothing`;
  return [
    ...tell('credit-sum', before.filter(isWrong), spell),
    ...tell('credit-sum', after.filter(isWrong), (credit) => `once it was asked for, ${spell(credit)}`),
    ...tell('credit-opened-wrongly', opened, (said) => said),
  ];
}

const isWrong = ({ balance, expected }: Credit) => balance !== expected;

/** By account, what its payments were that bought nothing. A key that was to be filled is audited with its calls. */
async function addUp(
  storm: Storm,
  { auditor, endings }: { auditor: TestGateway; endings: readonly Ending[] },
): Promise<Map<Uuid, bigint>> {
  const sums = new Map<Uuid, bigint>();
  const { model, counts } = storm;
  const filled = new Set(model.accounts.map(({ id }) => id));
  for (const ending of endings) {
    const account = await findAccount(storm, { auditor, ending });
    if (account && !filled.has(account))
      sums.set(account, (sums.get(account) ?? 0n) + BigInt(ending.attempt.price));
  }
  counts.add('accounts with credit', sums.size);
  return sums;
}

/** Whose credit a payment became. */
async function findAccount(
  storm: Storm,
  { auditor, ending }: { auditor: TestGateway; ending: Ending },
): Promise<Uuid | undefined> {
  const { attempt, body } = ending;
  if (isCredited(storm, ending)) return attempt.payer && uuidFrom('payer', attempt.payer);
  if (typeof body?.refund_key !== 'string') return undefined;
  return (await auditor.deps.http.keys.resolve(body.refund_key))?.accountId;
}

async function readCredits({ world }: Storm, expected: ReadonlyMap<Uuid, bigint>): Promise<Credit[]> {
  const rows = await world.postgres.sql<{ id: Uuid; balance: bigint }[]>`
    SELECT id, balance FROM ledger_payer WHERE id = ANY(${[...expected.keys()]}::uuid[])`;
  const balances = new Map(rows.map(({ id, balance }) => [id, balance]));
  return [...expected].map(([account, sum]) => ({
    account,
    expected: sum,
    balance: balances.get(account) ?? 0n,
  }));
}

/** Asks for the credit of every payer that can sign, and as somebody else; answers what was told otherwise than it is. */
async function openCredits(
  storm: Storm,
  input: { auditor: TestGateway; expected: ReadonlyMap<Uuid, bigint> },
): Promise<string[]> {
  const wrong: string[] = [];
  const owners = storm.wallets.flatMap(({ payer }) => payer.credit ?? []);
  for (const [index, owner] of owners.entries()) {
    const account = uuidFrom('payer', owner.payer);
    const sum = input.expected.get(account) ?? 0n;
    const answers = await askAtOnce(storm, owner);
    const texts = new Set(answers.map(({ key }) => key));
    const told = answers[0]?.key && (await input.auditor.deps.http.keys.resolve(answers[0].key));
    const isRight =
      sum === 0n
        ? answers.every(({ status }) => status === 404)
        : texts.size === 1 &&
          answers.every(({ status, balance }) => status === 200 && BigInt(balance ?? -1) === sum) &&
          (told || undefined)?.accountId === account;
    storm.counts.add(`credit asked for: ${sum === 0n ? 'none' : 'some'}`);
    if (!isRight) wrong.push(`${owner.payer}: ${sum} expected, told ${JSON.stringify(answers)}`);
    const other = owners[(index + 1) % owners.length] ?? owner;
    const forged = await askAtOnce(storm, { payer: owner.payer, sign: other.sign });
    if (forged.some(({ status }) => status === 200)) wrong.push(`${owner.payer}: given to ${other.payer}`);
  }
  return wrong;
}

type Told = { status: number; key: string | undefined; balance: number | undefined };

async function askAtOnce(
  { world, wire }: Storm,
  owner: { payer: string; sign(text: string): Promise<string> },
) {
  const urlOf = (place: number) => world.fleet.near(place)?.url ?? '';
  const asked = { payer: owner.payer };
  const options = { patienceMs: PATIENCE_MS };
  const challenge = await wire.post(`${urlOf(0)}/v1/credit/challenge`, asked, options);
  const { message, nonce, issued_at } = JSON.parse(challenge.text) as Record<string, string>;
  const claim = { ...asked, nonce, issued_at, signature: await owner.sign(message ?? '') };
  return Promise.all(
    Array.from({ length: ASKED }, async (_, place): Promise<Told> => {
      const { status, text } = await wire.post(`${urlOf(place)}/v1/credit`, claim, options);
      const { key, balance_mcents: balance } = JSON.parse(text) as { key?: string; balance_mcents?: number };
      return { status, key, balance };
    }),
  );
}
