import { listOwnedServers, type OwnedServer } from '../catalog/index.ts';
import { isUuid, type Uuid } from '../core/ids.ts';
import { Problem } from '../core/problem.ts';
import { inTransaction, type Queryable } from '../db/index.ts';
import { type BookedSales, sumBookedSales } from '../ledger/index.ts';
import type { SalePosition, SoldReceipt } from '../provenance/index.ts';
import type { GatewayDeps } from './deps.ts';

type SalesDeps = Pick<GatewayDeps, 'sql' | 'receipts'>;

/** A page of what one server of a publisher sold, by lane and number. */
export type SalesPage = { server: OwnedServer; sales: SoldReceipt[] };

/** What the books say of one server's sales, and how far its receipts were counted at that moment. */
export type SalesSummary = {
  server: OwnedServer;
  /** Sales of which the publisher got a share, and their amounts: from the journal, not from receipts. */
  count: bigint;
  net: bigint;
  fees: bigint;
  lanes: { lane: string; lastSeq: bigint }[];
};

/** The sales of a publisher's own server; someone else's is not found. */
export async function listSales(
  deps: SalesDeps,
  input: { publisherId: Uuid | undefined; idOrName: string; after: SalePosition; salesMax: number },
): Promise<SalesPage> {
  const { idOrName, after, salesMax } = input;
  const [server] = await ownServers(deps.sql, input.publisherId, idOrName);
  if (!server) throw notFound();
  const sales = await deps.receipts.listSales({ toolId: server.id, after, salesMax });
  return { server, sales };
}

/** What a publisher earned by server, in one snapshot: receipts beyond its lanes were sold later. */
export async function summarizeSales(
  deps: SalesDeps,
  input: { publisherId: Uuid | undefined; idOrName: string | undefined },
): Promise<SalesSummary[]> {
  const { publisherId, idOrName } = input;
  return inTransaction(deps.sql, 'isolation level repeatable read read only', async (tx) => {
    const servers = await ownServers(tx, publisherId, idOrName);
    if (servers.length === 0 && idOrName !== undefined) throw notFound();
    if (publisherId === undefined || servers.length === 0) return [];
    const booked = await sumBookedSales(tx, publisherId);
    const lanes = await deps.receipts.listLanes(
      tx,
      servers.map(({ id }) => id),
    );
    return servers.map((server) => ({
      server,
      ...sumOf(server, booked),
      lanes: lanes.filter(({ toolId }) => toolId === server.id),
    }));
  });
}

async function ownServers(
  sql: Queryable,
  publisherId: Uuid | undefined,
  idOrName: string | undefined,
): Promise<OwnedServer[]> {
  if (publisherId === undefined) return [];
  const servers = await listOwnedServers(sql, publisherId);
  if (idOrName === undefined) return servers;
  const by = isUuid(idOrName) ? 'id' : 'name';
  return servers.filter((server) => server[by] === idOrName);
}

function sumOf(
  server: OwnedServer,
  booked: readonly BookedSales[],
): { count: bigint; net: bigint; fees: bigint } {
  const sums = { count: 0n, net: 0n, fees: 0n };
  for (const { subject, count, net, fees } of booked) {
    if (!server.versionIds.includes(subject)) continue;
    sums.count += count;
    sums.net += net;
    sums.fees += fees;
  }
  return sums;
}

function notFound(): Problem {
  return new Problem('not-found', { detail: 'You have no server with this id or name.', isUncharged: true });
}
