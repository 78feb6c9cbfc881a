import { setTimeout as sleep } from 'node:timers/promises';
import { type GatewayStart, type StormGateway, startStormGateway } from './gateway.ts';

/** Places for gateways, each of which may be empty for a while after a kill. */
export type Fleet = {
  /** The gateway at this place; the next one that lives while it is being started again. */
  near(place: number): StormGateway | undefined;
  at(place: number): StormGateway | undefined;
  /** How many there are at this moment. */
  living(): number;
  /** SIGKILL, and another one in its place after a while. */
  kill(place: number, downMs: number): Promise<void>;
  /** SIGTERM, and another one in its place after a while. */
  end(place: number, downMs: number): Promise<void>;
  /** SIGTERM to all, and others in their places; answers what these and all before them said that ended badly. */
  renew(): Promise<string[]>;
  /** What gateways said that ended although nobody told them to; others stand in their places. */
  deaths: readonly string[];
  close(): Promise<void>;
};

/** Starting one takes both cores for seconds: not for longer than it takes to try again. */
const RESTARTS_MAX = 5;

export async function startFleet(count: number, start: (place: number) => GatewayStart): Promise<Fleet> {
  const places: (StormGateway | undefined)[] = Array.from({ length: count }, () => undefined);
  let isClosing = false;
  const deaths: string[] = [];
  const unclean: string[] = [];
  const stop = async (gateway: StormGateway) => {
    const said = await gateway.stop();
    if (said !== undefined) unclean.push(said);
  };
  const settle = (place: number, gateway: StormGateway) => {
    places[place] = gateway;
    void gateway.died.then(async (said) => {
      deaths.push(said);
      if (places[place] !== gateway) return;
      places[place] = undefined;
      if (!isClosing) await fill(place).catch((cause: unknown) => deaths.push(String(cause)));
    });
  };
  const fill = async (place: number) => {
    for (let tries = 1; ; tries += 1) {
      try {
        const gateway = await startStormGateway(start(place));
        if (isClosing) return await gateway.kill();
        settle(place, gateway);
        return;
      } catch (cause) {
        // Postgres may be down at this very moment, as it may be for anybody's gateway.
        if (tries === RESTARTS_MAX || isClosing) throw cause;
        await sleep(500);
      }
    }
  };
  const close = async () => {
    isClosing = true;
    await Promise.all(places.map((gateway) => gateway?.kill()));
  };
  try {
    // The first one alone: it makes what the others find.
    settle(0, await startStormGateway(start(0)));
    await Promise.all(
      places.slice(1).map(async (_, index) => {
        settle(index + 1, await startStormGateway(start(index + 1)));
      }),
    );
  } catch (cause) {
    await close();
    throw cause;
  }
  const replace = async (place: number, downMs: number, end: (gateway: StormGateway) => Promise<void>) => {
    const gateway = places[place];
    if (!gateway) return;
    places[place] = undefined;
    await end(gateway);
    await sleep(downMs);
    if (!isClosing) await fill(place);
  };
  return {
    deaths,
    at: (place) => places[place],
    living: () => places.filter((gateway) => gateway !== undefined).length,
    near(place) {
      const order = [...places.slice(place), ...places.slice(0, place)];
      return order.find((gateway) => gateway !== undefined);
    },
    kill: (place, downMs) => replace(place, downMs, (gateway) => gateway.kill()),
    end: (place, downMs) => replace(place, downMs, stop),
    async renew() {
      const before = places.splice(0, count, ...Array.from({ length: count }, () => undefined));
      await Promise.all(before.map(async (gateway) => gateway && stop(gateway)));
      await Promise.all(places.map((_, place) => fill(place)));
      return unclean;
    },
    close,
  };
}
