import { z } from 'zod';
import { type Millicents, millicents, toWireNumber } from '../core/money.ts';
import { Problem } from '../core/problem.ts';

/** What calls of one server cost from some moment on; the newest list of a server applies. */
export type PriceList = {
  model: 'free' | 'per_call';
  /** For every tool without a price of its own. */
  amount: Millicents;
  tools: ReadonlyMap<string, Millicents>;
};

/** $100: a mistyped price should not become a sale. */
export const PRICE_MCENTS_MAX = 10_000_000;

const NAMED_TOOLS_MAX = 10;

const price = z.int().min(0).max(PRICE_MCENTS_MAX);
const storedTools = z.record(z.string(), price);

/** The price of one call, for a tool that the server has. */
export function priceOf(list: PriceList, toolName: string): Millicents {
  return list.tools.get(toolName) ?? list.amount;
}

/** Refuses prices for tools that the code does not offer: a typing error there would sell at the wrong price. */
export function refuseUnknownTools(list: PriceList, toolNames: readonly string[]): void {
  for (const name of list.tools.keys()) {
    if (toolNames.includes(name)) continue;
    const offered = toolNames.slice(0, NAMED_TOOLS_MAX).map((tool) => JSON.stringify(tool));
    throw new Problem('invalid-arguments', {
      detail: `pricing.tools: your code offers no tool ${JSON.stringify(name)}. It offers ${offered.join(', ')}${
        toolNames.length > NAMED_TOOLS_MAX ? ', ...' : ''
      }.`,
      members: { field: 'pricing.tools' },
    });
  }
}

/** The list in the publish JSON's spelling, which is also how it is stored. */
export function toPricingJson(list: PriceList): {
  model: PriceList['model'];
  amount_mcents: number;
  tools: Record<string, number>;
} {
  const tools = [...list.tools].map(([name, amount]) => [name, toWireNumber(amount)] as const);
  return { model: list.model, amount_mcents: toWireNumber(list.amount), tools: Object.fromEntries(tools) };
}

/** The list that a row or a checked submission spells. */
export function readPriceList(stored: {
  model: PriceList['model'];
  amount: bigint | number;
  tools: unknown;
}): PriceList {
  const tools = Object.entries(storedTools.parse(stored.tools));
  return {
    model: stored.model,
    amount: millicents(stored.amount),
    tools: new Map(tools.map(([name, amount]) => [name, millicents(amount)])),
  };
}
