import { z } from 'zod';
import { type Millicents, millicents, toWireNumber } from '../core/money.ts';
import { Problem } from '../core/problem.ts';

/** What calls of one server cost from some moment on; the newest list of a server applies. */
export type PriceList = {
  model: 'free' | 'per_call';
  /** For every tool without a price of its own. */
  amount: Millicents;
  tools: ReadonlyMap<string, Millicents>;
  free: FreeAllowances;
  /** When a payer's money is moved, where its rail leaves the choice. */
  settle: SettlePolicy;
};

/** Before the run is for tools that cost much to run: a failed call is then credit, and not simply free. */
export type SettlePolicy = 'after-run' | 'before-run';
export const SETTLE_POLICIES = ['after-run', 'before-run'] as const satisfies readonly SettlePolicy[];

/** Calls of one tool that an account need not pay for: its first ones ever, and so many a day (UTC). */
export type FreeAllowance = { first?: number | undefined; perDay?: number | undefined };

export type FreeAllowances = {
  /** For every tool without an allowance of its own; each tool is counted by itself. */
  each: FreeAllowance | undefined;
  tools: ReadonlyMap<string, FreeAllowance>;
};

/** $100: a mistyped price should not become a sale. */
export const PRICE_MCENTS_MAX = 10_000_000;

const NAMED_TOOLS_MAX = 10;
const FREE_CALLS_MAX = 1_000_000;

const price = z.int().min(0).max(PRICE_MCENTS_MAX);
const storedTools = z.record(z.string(), price);
const freeCalls = z.int().min(0).max(FREE_CALLS_MAX).optional();

/** One tool's allowance as the publish JSON spells it. */
export const allowanceSchema = z.strictObject({ first: freeCalls, per_day: freeCalls });
const storedFree = allowanceSchema.extend({ tools: z.record(z.string(), allowanceSchema).optional() });

/** The price of one call, for a tool that the server has. */
export function priceOf(list: PriceList, toolName: string): Millicents {
  return list.tools.get(toolName) ?? list.amount;
}

/** What is free of a tool that the server has; undefined when nothing is. */
export function freeAllowanceOf(list: PriceList, toolName: string): FreeAllowance | undefined {
  const { first = 0, perDay = 0 } = list.free.tools.get(toolName) ?? list.free.each ?? {};
  return priceOf(list, toolName) === 0n || first + perDay === 0 ? undefined : { first, perDay };
}

/** Refuses prices for tools that the code does not offer: a typing error there would sell at the wrong price. */
export function refuseUnknownTools(list: PriceList, toolNames: readonly string[]): void {
  const named = [
    ...[...list.tools.keys()].map((name) => ({ name, field: 'pricing.tools' })),
    ...[...list.free.tools.keys()].map((name) => ({ name, field: 'pricing.free.tools' })),
  ];
  for (const { name, field } of named) {
    if (toolNames.includes(name)) continue;
    const offered = toolNames.slice(0, NAMED_TOOLS_MAX).map((tool) => JSON.stringify(tool));
    throw new Problem('invalid-arguments', {
      detail: `${field}: your code offers no tool ${JSON.stringify(name)}. It offers ${offered.join(', ')}${
        toolNames.length > NAMED_TOOLS_MAX ? ', ...' : ''
      }.`,
      members: { field },
    });
  }
}

type AllowanceJson = { first?: number; per_day?: number };
export type FreeJson = AllowanceJson & { tools?: Record<string, AllowanceJson> };

/** The list in the publish JSON's spelling, which is also how it is stored. */
export function toPricingJson(list: PriceList): {
  model: PriceList['model'];
  amount_mcents: number;
  tools: Record<string, number>;
  free?: FreeJson;
  settle?: SettlePolicy;
} {
  const tools = [...list.tools].map(([name, amount]) => [name, toWireNumber(amount)] as const);
  const free = toFreeJson(list.free);
  return {
    ...{ model: list.model, amount_mcents: toWireNumber(list.amount), tools: Object.fromEntries(tools) },
    ...(free && { free }),
    ...(list.settle === 'before-run' && { settle: list.settle }),
  };
}

function toFreeJson({ each, tools }: FreeAllowances): FreeJson | undefined {
  if (!each && tools.size === 0) return undefined;
  const named = [...tools].map(([name, allowance]) => [name, toAllowanceJson(allowance)] as const);
  return { ...toAllowanceJson(each ?? {}), ...(tools.size > 0 && { tools: Object.fromEntries(named) }) };
}

function toAllowanceJson({ first, perDay }: FreeAllowance): AllowanceJson {
  return {
    ...(first === undefined ? {} : { first }),
    ...(perDay === undefined ? {} : { per_day: perDay }),
  };
}

/** The list that a row or a checked submission spells. */
export function readPriceList(stored: {
  model: PriceList['model'];
  amount: bigint | number;
  tools: unknown;
  free: unknown;
  settle?: SettlePolicy | undefined;
}): PriceList {
  const tools = Object.entries(storedTools.parse(stored.tools));
  return {
    model: stored.model,
    amount: millicents(stored.amount),
    tools: new Map(tools.map(([name, amount]) => [name, millicents(amount)])),
    free: readFree(stored.free),
    settle: stored.settle ?? 'after-run',
  };
}

function readFree(stored: unknown): FreeAllowances {
  if (stored === null || stored === undefined) return { each: undefined, tools: new Map() };
  const { tools = {}, ...each } = storedFree.parse(stored);
  return {
    each: each.first === undefined && each.per_day === undefined ? undefined : readAllowance(each),
    tools: new Map(Object.entries(tools).map(([name, allowance]) => [name, readAllowance(allowance)])),
  };
}

function readAllowance({ first, per_day: perDay }: z.infer<typeof allowanceSchema>): FreeAllowance {
  return {
    ...(first === undefined ? {} : { first }),
    ...(perDay === undefined ? {} : { perDay }),
  };
}
