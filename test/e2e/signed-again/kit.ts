import { expect } from 'vitest';
import type { TestGateway } from '../../harness/gateway.ts';
import { waitUntil } from '../../harness/process.ts';
import {
  expectTrueBooks,
  type FaultLab,
  hookRuns,
  type RunHooks,
  readClaims,
  startFaultLab,
  withHeaders,
} from '../fault-lab.ts';
import { type Agent, createAgent, jsonBody, publishEcho } from '../fixtures.ts';

export const PRICE_UNITS = 500n;
export const SIGNUP_UNITS = 100_000n;
export const OWNED = 10_000_000n;

/** One thing an agent asks for, and has paid for once. */
export type Asked = { agent: Agent; path: string; request: RequestInit };

/** Two gateways on one database, and who signs again for what it has paid for. */
export type Scene = {
  lab: FaultLab;
  gateways: [TestGateway, TestGateway];
  tool: { call: string; id: string };
  hooks: RunHooks;
  newCall(path?: string): Promise<Asked>;
  newSignup(): Promise<Asked>;
  /** A new payment for it. */
  sign(asked: Asked): Promise<RequestInit>;
  /** Sends a payment and goes away once its claim stands so. */
  leaveAt(asked: Asked, state: string, at?: TestGateway): Promise<void>;
  /** A call that was delivered, and whose answer reached nobody. */
  leaveCall(path?: string): Promise<Asked>;
  /** The same of a key: its rail answered too late. */
  leaveSignup(): Promise<Asked>;
  /** One payment has moved, whatever else was signed. */
  expectPaidOnce(asked: Asked, units?: bigint): Promise<void>;
  rest(): Promise<void>;
  close(): Promise<void>;
};

export async function openScene(): Promise<Scene> {
  const lab = await startFaultLab();
  const hooks: RunHooks = { runs: [] };
  const change = ({ http }: TestGateway['deps']) => {
    hookRuns(http, hooks);
    http.settings = { ...http.settings, settleTimeoutMs: 1_500, outcomeWaitMs: 4_000 };
  };
  const gateways: [TestGateway, TestGateway] = [await lab.start({ change }), await lab.start({ change })];
  const tool = await publishEcho(gateways[0]);
  let calls = 0;
  const firstClaim = async ({ agent }: Asked) => (await readClaims(lab, agent))[0];
  const scene: Scene = {
    ...{ lab, gateways, tool, hooks },
    async newCall(path = tool.call) {
      calls += 1;
      const request = jsonBody({ tool: 'random', arguments: { label: `call ${calls}` } });
      return { agent: await createAgent(lab.anvil), path, request };
    },
    async newSignup() {
      return {
        agent: await createAgent(lab.anvil),
        path: '/v1/signup',
        request: jsonBody({ label: 'again' }),
      };
    },
    async sign({ agent, path, request }) {
      return withHeaders(request, await agent.sign(await gateways[0].fetch(path, request)));
    },
    async leaveAt(asked, state, at = gateways[0]) {
      const client = new AbortController();
      const paid = await scene.sign(asked);
      const left = at.fetch(asked.path, { ...paid, signal: client.signal }).catch(() => {});
      await waitUntil(async () =>
        (await readClaims(lab, asked.agent)).some((claim) => claim.state === state),
      );
      client.abort();
      await left;
      await waitUntil(async () =>
        (await readClaims(lab, asked.agent)).some((claim) => claim.answerState === 'lost'),
      );
    },
    async leaveCall(path) {
      const asked = await scene.newCall(path);
      const { open } = holdRuns(hooks);
      await scene.leaveAt(asked, 'running');
      open();
      await waitUntil(async () => (await firstClaim(asked))?.state === 'delivered');
      return asked;
    },
    async leaveSignup() {
      const asked = await scene.newSignup();
      const paid = await scene.sign(asked);
      await lab.anvil.rpc('evm_setAutomine', [false]);
      expect((await gateways[0].fetch(asked.path, paid)).status).toBe(503);
      await scene.rest();
      return asked;
    },
    async expectPaidOnce({ agent }, units = PRICE_UNITS) {
      const claims = await readClaims(lab, agent);
      expect(claims.filter(({ reference }) => reference !== null)).toHaveLength(1);
      expect(OWNED - (await agent.owns())).toBe(units);
    },
    async rest() {
      hooks.before = undefined;
      hooks.after = undefined;
      await lab.anvil.rpc('evm_mine');
      await lab.anvil.rpc('evm_setAutomine', [true]);
    },
    async close() {
      await expectTrueBooks(lab, gateways[1]);
      await lab.close();
    },
  };
  return scene;
}

/** Every run waits until it is told to go on. */
export function holdRuns(hooks: RunHooks): { open(): void } {
  let open = () => {};
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  hooks.before = () => gate;
  return {
    open() {
      hooks.before = undefined;
      open();
    },
  };
}

export const credentialOf = ({ headers }: RequestInit) => new Headers(headers).get('payment-signature') ?? '';

/** The request with the payment alone, as it is read on its chain. */
export function withoutEcho(request: RequestInit, paid: RequestInit): RequestInit {
  const header = Buffer.from(credentialOf(paid), 'base64').toString();
  const { extensions: _, ...payment } = JSON.parse(header) as Record<string, unknown>;
  return withHeaders(request, {
    'PAYMENT-SIGNATURE': Buffer.from(JSON.stringify(payment)).toString('base64'),
  });
}
